//! What is looked for in the lines that a diff adds.

use super::{Finding, Severity, diff::File, finding, secrets};
use crate::model_router::engine::words::{counted, has_ending};

/// A line with more characters is long.
const WIDTH_MAX: usize = 200;

/// Code that is left behind when something was looked for, by the ending of its file.
const LEFT_BEHIND: &[(&[&str], &[&str])] = &[
    (&["rs"], &["dbg!(", "todo!("]),
    (&["cjs", "js", "jsx", "mjs", "ts", "tsx", "vue"], &["console.debug(", "console.log(", "debugger;"]),
    (&["py"], &["breakpoint()", "import pdb", "pdb.set_trace("]),
    (&["rb"], &["binding.irb", "binding.pry", "byebug"]),
    (&["php"], &["print_r(", "var_dump("]),
    (&["go"], &["spew.Dump("]),
    (&["java", "kt"], &[".printStackTrace()"]),
    (&["bash", "sh"], &["set -x"]),
];

/// Notes that something is still to be done.
const NOTES: [&str; 4] = ["FIXME", "HACK", "TODO", "XXX"];

/// What is seen in the added lines of a file; what may occur often is told once.
pub(super) fn findings(file: &File<'_>) -> Vec<Finding> {
    let path = file.path.as_str();
    let mut findings = Vec::new();
    let mut white = Often::default();
    let mut long = Often::default();
    let is_text = has_ending(path, &["lock", "markdown", "md", "svg"]);
    for (number, line) in &file.added {
        let mut push = |severity, message: &str| {
            findings.push(finding(severity, path, Some(*number), message));
        };
        if ["<<<<<<< ", ">>>>>>> ", "||||||| "].iter().any(|marker| line.starts_with(marker)) {
            push(Severity::Blocking, "a conflict marker is left in it");
        }
        if let Some(secret) = secrets::found(line) {
            push(Severity::Blocking, &format!("looks like {secret}; keep it out of the repository"));
        }
        if let Some(code) = left_behind(path, line) {
            push(Severity::Warning, &format!("`{code}` looks left over from debugging"));
        }
        if let Some(note) = note(line) {
            push(Severity::Info, &format!("a note that something is still to be done: {note}"));
        }
        white.count(*number, !is_text && line.trim_end_matches('\r').ends_with([' ', '\t']));
        long.count(*number, !is_text && line.chars().count() > WIDTH_MAX);
    }
    findings.extend(white.told(path, "in white space at the end"));
    findings.extend(long.told(path, &format!("with more than {WIDTH_MAX} characters")));
    findings
}

/// Something that lines of a file have in common.
#[derive(Default)]
struct Often {
    first: Option<u32>,
    number: usize,
}

impl Often {
    fn count(&mut self, line: u32, is_so: bool) {
        if is_so {
            self.first.get_or_insert(line);
            self.number += 1;
        }
    }

    fn told(&self, path: &str, what: &str) -> Option<Finding> {
        let message = format!("{} {what}", counted(self.number, "line"));
        self.first.map(|first| finding(Severity::Info, path, Some(first), &message))
    }
}

fn left_behind(path: &str, line: &str) -> Option<&'static str> {
    let code = line.trim_start();
    if ["#", "//", "*"].iter().any(|comment| code.starts_with(comment)) {
        return None;
    }
    let (_, codes) = LEFT_BEHIND.iter().find(|(endings, _)| has_ending(path, endings))?;
    codes.iter().copied().find(|left| code.contains(left))
}

fn note(line: &str) -> Option<&'static str> {
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.find_map(|word| NOTES.into_iter().find(|note| word == *note))
}
