//! What the command line prints: results to stdout, messages to stderr.

use std::{
    fmt::Write as _,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    sync::OnceLock,
};

/// The flags with which a printed command leads to the same server.
static LEAD: OnceLock<String> = OnceLock::new();

/// Says which flags printed commands begin with.
pub(super) fn lead_with(flags: String) {
    LEAD.get_or_init(|| flags);
}

/// A command as a person can give it.
pub(super) fn command(rest: &str) -> String {
    format!("cendriix{} {rest}", LEAD.get().map_or("", String::as_str))
}

/// Prints a line of the result. A reader that went away is no error.
pub(super) fn line(text: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{text}"));
}

/// Prints a message that is no result.
pub(super) fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Prints why the command failed.
pub(super) fn error(text: &str) {
    note(&format!("error: {}", plain(text)));
}

/// Whether a person sees the result.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether a person sees the result and can answer.
pub(super) fn is_dialogue() -> bool {
    io::stdout().is_terminal() && io::stdin().is_terminal()
}

/// Prints a line that may have our own colours in it; of others' text it holds only what [`plain`] leaves.
pub(super) fn told(text: &str) {
    line(text.trim_end());
}

/// Asks the person at the terminal for a line; `None` when they close it.
pub(super) async fn ask(question: &str) -> Option<String> {
    let question = question.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        drop(write!(io::stdout().lock(), "{question}"));
        drop(io::stdout().lock().flush());
        let mut answer = String::new();
        match io::stdin().lock().read_line(&mut answer) {
            Ok(1..) => Some(answer),
            Ok(0) | Err(_) => None,
        }
    });
    asked.await.ok().flatten()
}

/// Colours, where a person sees them and wants them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint(bool);

impl Paint {
    pub(super) const BOLD: &str = "1";
    pub(super) const DIM: &str = "2";
    pub(super) const RED: &str = "31";
    pub(super) const GREEN: &str = "32";
    pub(super) const CYAN: &str = "36";

    /// Colours of what goes to stdout; none where it is no terminal or `NO_COLOR` is set.
    pub(super) fn of_stdout() -> Self {
        Self(is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()))
    }

    /// A text in a colour; the empty one is none.
    pub(super) fn with(self, colour: &str, text: &str) -> String {
        if self.0 && !colour.is_empty() {
            format!("\u{1b}[{colour}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A table with a heading, its columns as wide as they need to be.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = heading.iter().map(|title| title.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        line(padded.join("  ").trim_end());
    };
    print(&mut heading.iter().copied());
    for row in rows {
        print(&mut row.iter().map(String::as_str));
    }
}

/// Text of others, without what could steer the terminal or make text read otherwise than it is: control
/// characters become spaces, invisible ones and those that turn the direction of writing their numbers.
pub(super) fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => shown.push('\n'),
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => {
                write!(shown, "<U+{:04X}>", u32::from(letter)).ok();
            }
            letter if letter.is_control() => shown.push(' '),
            letter => shown.push(letter),
        }
    }
    shown
}

/// The same on one line.
pub(super) fn plain_line(text: &str) -> String {
    plain(text).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_neither_steers_the_terminal_nor_reads_otherwise_than_it_is() {
        assert_eq!(plain("a\u{1b}[2Jb\u{9b}c\nd"), "a [2Jb c\nd");
        assert_eq!(plain("if \u{202e}x"), "if <U+202E>x");
        assert_eq!(plain_line("a\nb"), "a b");
    }
}
