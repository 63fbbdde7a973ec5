//! A review of a diff by what its added lines look like; what the code means is beyond it.

mod added;
mod diff;
mod secrets;

use serde::{Deserialize, Serialize};

use self::diff::{Diff, Fate, File};
use super::words::{counted, shortened};

/// At most so many findings; the last then says how many are left out.
pub const FINDINGS_MAX: usize = 200;
/// A file with more added lines is said to be large.
const LINES_MANY: usize = 2000;

/// What a review comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    pub verdict: Verdict,
    /// A sentence or two about the change.
    pub summary: String,
    pub findings: Vec<Finding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Approve,
    /// There is a blocking finding.
    RequestChanges,
}

/// One thing that was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Finding {
    pub severity: Severity,
    /// The file; empty when it is about the whole diff.
    pub path: String,
    /// The line in the file as it will be.
    pub line: Option<u32>,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Info,
    Warning,
    Blocking,
}

/// Reviews a unified diff.
pub fn review(title: &str, diff: &str) -> Review {
    let parsed = Diff::parse(diff);
    let mut findings: Vec<Finding> = parsed.files.iter().flat_map(of_file).collect();
    if parsed.files.is_empty() && !diff.trim().is_empty() {
        findings.push(finding(Severity::Blocking, "", None, "the diff names no file, so it cannot be read"));
    }
    // The worst first; otherwise as they stand in the diff.
    findings.sort_by_key(|one| std::cmp::Reverse(one.severity));
    let is_blocked = findings.iter().any(|one| one.severity == Severity::Blocking);
    let summary = summary(title, &parsed, &findings);
    if findings.len() > FINDINGS_MAX {
        let more = findings.len() - (FINDINGS_MAX - 1);
        findings.truncate(FINDINGS_MAX - 1);
        let message = format!("{} not shown", counted(more, "more finding"));
        findings.push(finding(Severity::Info, "", None, &message));
    }
    let verdict = if is_blocked { Verdict::RequestChanges } else { Verdict::Approve };
    Review { verdict, summary, findings }
}

fn finding(severity: Severity, path: &str, line: Option<u32>, message: &str) -> Finding {
    Finding { severity, path: path.to_owned(), line, message: message.to_owned() }
}

fn of_file(file: &File<'_>) -> Vec<Finding> {
    let mut findings = added::findings(file);
    let path = file.path.as_str();
    if file.is_binary {
        findings.push(finding(Severity::Warning, path, None, "a binary file, which cannot be reviewed"));
    }
    if file.added.len() > LINES_MANY {
        let message = format!("{} added: hard to review", counted(file.added.len(), "line"));
        findings.push(finding(Severity::Warning, path, None, &message));
    }
    if file.is_link {
        findings.push(finding(Severity::Warning, path, None, "a symbolic link; see where it leads"));
    }
    if file.fate == Fate::Deleted && is_test(path) {
        findings.push(finding(Severity::Warning, path, None, "a file of tests is removed"));
    } else {
        let count = |lines: &mut dyn Iterator<Item = &str>| lines.filter(|line| begins_test(line)).count();
        let gone = count(&mut file.removed.iter().copied());
        let come = count(&mut file.added.iter().map(|(_, line)| *line));
        if gone > come {
            let message = format!("{} removed", counted(gone - come, "test"));
            findings.push(finding(Severity::Warning, path, None, &message));
        }
    }
    findings
}

fn is_test(path: &str) -> bool {
    let mut parts = path.split(['/', '.', '_', '-']);
    parts.any(|part| ["spec", "specs", "test", "tests"].contains(&part.to_lowercase().as_str()))
}

/// Whether a line begins a test, in one of the usual languages.
fn begins_test(line: &str) -> bool {
    let line = line.trim_start();
    let starts = ["#[test]", "#[tokio::test", "@Test", "async def test_", "def test_", "func Test"];
    let calls = ["it('", "it(\"", "it(`", "test('", "test(\"", "test(`"];
    starts.iter().chain(&calls).any(|start| line.starts_with(start))
}

fn summary(title: &str, diff: &Diff<'_>, findings: &[Finding]) -> String {
    if diff.files.is_empty() {
        return format!("{:?} changes nothing that can be read.", shortened(title, 120));
    }
    let count = |is_one: fn(&File<'_>) -> bool| diff.files.iter().filter(|file| is_one(file)).count();
    let kinds = [
        (count(|file| file.fate == Fate::New), "new"),
        (count(|file| file.fate == Fate::Deleted), "deleted"),
    ];
    let kinds: Vec<String> = kinds
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, kind)| format!("{number} {kind}"))
        .collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let added: usize = diff.files.iter().map(|file| file.added.len()).sum();
    let removed: usize = diff.files.iter().map(|file| file.removed.len()).sum();
    let number = |severity| findings.iter().filter(|one| one.severity == severity).count();
    let found = match (number(Severity::Blocking), number(Severity::Warning)) {
        (0, 0) => "The checks of the added lines found nothing that stands in the way.".to_owned(),
        (0, warnings) => format!("Nothing blocks it; {}.", counted(warnings, "warning")),
        (blocking, _) => format!("{} must be mended first.", counted(blocking, "finding")),
    };
    format!(
        "{:?} changes {}{kinds}: {} added, {removed} removed. {found} What the code means was not judged.",
        shortened(title, 120),
        counted(diff.files.len(), "file"),
        counted(added, "line"),
    )
}

#[cfg(test)]
mod tests;
