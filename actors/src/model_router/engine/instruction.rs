//! What a ticket asks for literally, so that it can be done without understanding the rest.

use super::words::{counted, joined};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Instruction {
    Write { path: String, content: String, is_executable: bool },
    Edit { path: String, change: Change },
    Patch(String),
    Delete(String),
    Run(String),
    MakeExecutable(String),
}

/// How the content of a file becomes another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Whole lines are looked for at the beginnings of lines first.
    Replace {
        old: String,
        new: String,
        every: bool,
        is_lines: bool,
    },
    Append(String),
    Prepend(String),
}

impl Instruction {
    /// The file it is about.
    pub(super) fn path(&self) -> Option<&str> {
        match self {
            Self::Write { path, .. }
            | Self::Edit { path, .. }
            | Self::Delete(path)
            | Self::MakeExecutable(path) => Some(path),
            Self::Patch(_) | Self::Run(_) => None,
        }
    }
}

/// What the instructions of a text state, counted: "the content of 2 files and 1 command".
pub(super) fn stated(instructions: &[Instruction]) -> String {
    let count = |is_one: fn(&Instruction) -> bool| instructions.iter().filter(|one| is_one(one)).count();
    let parts = [
        (count(|one| matches!(one, Instruction::Write { .. })), "the content of ", "file"),
        (count(|one| matches!(one, Instruction::Edit { .. })), "", "change to a file"),
        (count(|one| matches!(one, Instruction::Patch(_))), "", "diff"),
        (count(|one| matches!(one, Instruction::Delete(_))), "", "deletion"),
        (count(|one| matches!(one, Instruction::MakeExecutable(_))), "", "file mode"),
        (count(|one| matches!(one, Instruction::Run(_))), "", "command"),
    ];
    let said = |(number, before, noun): (usize, &str, &str)| {
        let text = counted(number, noun).replace("change to a files", "changes to files");
        (number > 0).then(|| format!("{before}{text}"))
    };
    joined(&parts.into_iter().filter_map(said).collect::<Vec<_>>())
}

/// What was done, for people: "Wrote `a`; ran `b`."
pub(super) fn done(instructions: &[Instruction]) -> String {
    let mut groups: Vec<(&str, Vec<String>)> = Vec::new();
    for instruction in instructions {
        let (verb, what) = match instruction {
            Instruction::Write { path, .. } => ("wrote", path.clone()),
            Instruction::Edit { path, .. } => ("changed", path.clone()),
            Instruction::Patch(patch) => ("patched", joined(&patched(patch))),
            Instruction::Delete(path) => ("deleted", path.clone()),
            Instruction::Run(command) => ("ran", format!("`{}`", command.trim_start_matches("set -e\n"))),
            Instruction::MakeExecutable(path) => ("made executable:", path.clone()),
        };
        match groups.last_mut() {
            Some((last, things)) if *last == verb => {
                if !things.contains(&what) {
                    things.push(what);
                }
            }
            _ => groups.push((verb, vec![what])),
        }
    }
    let said: Vec<String> =
        groups.iter().map(|(verb, things)| format!("{verb} {}", joined(things))).collect();
    let text = said.join("; ");
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

/// The files that a diff is about.
fn patched(diff: &str) -> Vec<String> {
    let name = |line: &str| {
        let name = line.split('\t').next().unwrap_or_default().trim();
        name.strip_prefix("b/").or(name.strip_prefix("a/")).unwrap_or(name).to_owned()
    };
    let mut old = "";
    let mut names = Vec::new();
    for line in diff.lines() {
        if let Some(before) = line.strip_prefix("--- ") {
            old = before;
        } else if let Some(after) = line.strip_prefix("+++ ") {
            names.push(name(if after.starts_with("/dev/null") { old } else { after }));
        }
    }
    names
}
