//! What differs between two commits, for people to read.

use git2::{Delta, DiffDelta, DiffFormat, DiffLine, DiffOptions, Repository};

use super::{CommitId, Failure, commits, failure::shown};

/// The longest text of a difference, in bytes.
pub const PATCH_MAX: usize = 1 << 20;
/// The largest file that is compared line by line, in bytes.
const TEXT_MAX: i64 = 16 << 20;

/// The difference between two commits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// The unified text, as `git diff` gives it; bytes that are no UTF-8 are replaced.
    pub patch: String,
    /// Whether the text ends before the difference does.
    pub truncated: bool,
    /// Every file, also those that the text does not reach.
    pub files: Vec<ChangedFile>,
    /// Lines added in all.
    pub additions: usize,
    /// Lines deleted in all.
    pub deletions: usize,
}

/// A file in a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedFile {
    /// Its name; that before, when it was deleted.
    pub path: String,
    /// What happened to it.
    pub change: Change,
    /// Lines added.
    pub additions: usize,
    /// Lines deleted.
    pub deletions: usize,
    /// Whether it is not compared line by line.
    pub is_binary: bool,
}

/// What happened to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was not there before.
    Added,
    /// It is not there any more.
    Deleted,
    /// Its content or its executable bit differ.
    Modified,
    /// It had another name.
    Renamed { from: String },
    /// It was a file and is a link, or the like.
    TypeChanged,
}

/// Compares two commits.
pub(super) fn diff(repo: &Repository, from: &CommitId, to: &CommitId) -> Result<Diff, Failure> {
    let (from, to) = (commits::find(repo, from)?.tree()?, commits::find(repo, to)?.tree()?);
    let mut options = DiffOptions::new();
    // Said here, so that the configuration of whoever runs the server does not change what others read.
    options
        .old_prefix("a")
        .new_prefix("b")
        .context_lines(3)
        .interhunk_lines(0)
        .id_abbrev(7)
        .max_size(TEXT_MAX);
    options.include_typechange(true);
    let mut compared = repo.diff_tree_to_tree(Some(&from), Some(&to), Some(&mut options))?;
    compared.find_similar(None)?;
    let mut text = Vec::new();
    let mut diff = Diff::default();
    compared.print(DiffFormat::Patch, |delta, _, line| {
        diff.count(&delta, &line);
        diff.truncated |= text.len() + line.content().len() >= PATCH_MAX;
        if !diff.truncated {
            if matches!(line.origin(), '+' | '-' | ' ') {
                text.push(u8::try_from(line.origin()).unwrap_or(b' '));
            }
            text.extend_from_slice(line.content());
        }
        true
    })?;
    diff.patch = shown(&text);
    diff.additions = diff.files.iter().map(|file| file.additions).sum();
    diff.deletions = diff.files.iter().map(|file| file.deletions).sum();
    Ok(diff)
}

impl Diff {
    /// Counts a line; each file begins with a header.
    fn count(&mut self, delta: &DiffDelta<'_>, line: &DiffLine<'_>) {
        if line.origin() == 'F' {
            self.files.push(changed(delta));
        }
        let Some(file) = self.files.last_mut() else { return };
        match line.origin() {
            '+' => file.additions += 1,
            '-' => file.deletions += 1,
            'B' => file.is_binary = true,
            _ => {}
        }
    }
}

fn changed(delta: &DiffDelta<'_>) -> ChangedFile {
    let before = shown(delta.old_file().path_bytes().unwrap_or_default());
    let after = shown(delta.new_file().path_bytes().unwrap_or_default());
    let (path, change) = match delta.status() {
        Delta::Added | Delta::Copied | Delta::Untracked => (after, Change::Added),
        Delta::Deleted => (before, Change::Deleted),
        Delta::Renamed => (after, Change::Renamed { from: before }),
        Delta::Typechange => (after, Change::TypeChanged),
        Delta::Modified | Delta::Unmodified | Delta::Ignored | Delta::Unreadable | Delta::Conflicted => {
            (after, Change::Modified)
        }
    };
    ChangedFile { path, change, additions: 0, deletions: 0, is_binary: false }
}
