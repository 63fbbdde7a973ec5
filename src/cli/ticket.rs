//! A ticket as a file: Markdown, perhaps with a few lines of settings in front.

use std::path::Path;

use super::Failure;

/// The largest ticket, in bytes.
const BYTES_MAX: u64 = 256 << 10;
/// The longest title, in characters.
const TITLE_MAX: usize = 300;
/// The longest name of a project, in bytes.
const PROJECT_MAX: usize = 64;

/// What a ticket says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) title: String,
    pub(super) body: String,
    /// The project whose repository is worked on.
    pub(super) project: String,
    /// The workflow to run, by its id or name.
    pub(super) workflow: Option<String>,
    /// The model to ask first.
    pub(super) model: Option<String>,
}

/// Reads a ticket.
pub(super) fn read(path: &Path) -> Result<Ticket, Failure> {
    let named = path.display();
    let wrong = |said: &str| Failure::with(2, format!("{named} {said}"));
    let length =
        std::fs::metadata(path).map_err(|error| Failure::with(2, format!("cannot read {named}: {error}")))?;
    if !length.is_file() {
        return Err(wrong("is no file; give the path of a Markdown file"));
    }
    if length.len() > BYTES_MAX {
        return Err(wrong(&format!("has {} bytes; a ticket has at most {BYTES_MAX}", length.len())));
    }
    let bytes =
        std::fs::read(path).map_err(|error| Failure::with(2, format!("cannot read {named}: {error}")))?;
    let text = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let text = text.ok_or_else(|| wrong("is no text in UTF-8; a ticket is a Markdown file"))?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    parse(&text, &stem).map_err(|said| wrong(&said))
}

/// Takes a ticket apart; `stem` is the file's name without its ending.
fn parse(text: &str, stem: &str) -> Result<Ticket, String> {
    let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n");
    let (settings, body) = front_matter(&text);
    let mut ticket = Ticket { project: plain(stem), ..Ticket::default() };
    for line in settings.lines().filter(|line| !line.trim().is_empty()) {
        let (key, value) =
            line.split_once(':').ok_or_else(|| format!("has the setting {line:?}; write `key: value`"))?;
        let value = value.trim().trim_matches('"').to_owned();
        match key.trim() {
            "project" => ticket.project = value,
            "workflow" => ticket.workflow = Some(value),
            "model" => ticket.model = Some(value),
            other => return Err(format!("has the setting {other:?}; there are project, workflow and model")),
        }
    }
    if body.trim().is_empty() {
        return Err("is empty; say what is to be done".to_owned());
    }
    let heading = body.lines().find_map(|line| line.strip_prefix("# ")).map(str::trim);
    let first = || body.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or(stem);
    let title = heading.filter(|heading| !heading.is_empty()).unwrap_or_else(first);
    ticket.title = title.trim_start_matches('#').trim().chars().take(TITLE_MAX).collect();
    if ticket.title.is_empty() {
        stem.clone_into(&mut ticket.title);
    }
    body.clone_into(&mut ticket.body);
    Ok(ticket)
}

/// The settings in front of a text, and the text.
fn front_matter(text: &str) -> (&str, &str) {
    let parted = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n"));
    parted.unwrap_or(("", text))
}

/// A name for a project.
fn plain(stem: &str) -> String {
    let letters = stem.chars().map(|letter| letter.to_ascii_lowercase());
    let letters: String =
        letters.map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect();
    let mut name = letters.trim_matches('-').to_owned();
    name.truncate(PROJECT_MAX);
    if name.is_empty() { "default".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_has_a_title_a_body_and_perhaps_settings() {
        let ticket =
            parse("---\nproject: words\nmodel: \"m\"\n---\nHi.\n\n# Count words\n\nDo.\n", "x").unwrap();
        assert_eq!((ticket.title.as_str(), ticket.project.as_str()), ("Count words", "words"));
        assert_eq!(
            (ticket.model.as_deref(), ticket.body.as_str()),
            (Some("m"), "Hi.\n\n# Count words\n\nDo.\n")
        );
        let ticket = parse("\u{feff}\r\nFix it\r\nnow", "Fix It_Now!").unwrap();
        assert_eq!((ticket.title.as_str(), ticket.project.as_str()), ("Fix it", "fix-it-now"));
    }

    #[test]
    fn what_is_wrong_with_a_ticket_is_said() {
        assert!(parse(" \n\n", "x").unwrap_err().contains("empty"));
        assert!(parse("---\nprojekt: a\n---\nx", "x").unwrap_err().contains("projekt"));
        assert!(parse("---\nnonsense\n---\nx", "x").unwrap_err().contains("key: value"));
    }
}
