//! Lines of files that match a pattern.

use std::path::{Path, PathBuf};

use regex::{Regex, RegexBuilder};
use tokio_util::sync::CancellationToken;

use super::{
    arguments::Search,
    paths::{Root, refusal, shown},
};
use crate::sandboxes::{FileError, Kind};

/// Lines that come back.
pub(super) const HITS_MAX: usize = 200;
/// Larger files are left out.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Files and directories that are looked at.
const ENTRIES_MAX: usize = 50_000;
/// Entries of one directory.
const DIRECTORY_MAX: usize = 20_000;
/// What of a line is looked at, in bytes.
const LINE_BYTES_MAX: usize = 64 << 10;
/// What of a line is shown, in characters.
const SHOWN_MAX: usize = 300;
/// How large a compiled pattern may be; the time of a search grows with it.
const PATTERN_BYTES_MAX: usize = 256 << 10;
/// Directories that hold what others made.
const MADE: [&str; 3] = [".git", "node_modules", "target"];

pub(super) async fn search(root: &Root, asked: &Search) -> Result<String, String> {
    let pattern = compiled(asked)?;
    let top = root.path(asked.path.as_deref().unwrap_or_default());
    let skipped: Vec<&str> = MADE.into_iter().filter(|name| !top.iter().any(|part| part == *name)).collect();
    let mut found = Found::default();
    // What is looked at next stands last.
    let mut open: Vec<(PathBuf, bool)> = vec![(top.clone(), is_directory(root, &top).await?)];
    let mut looked = 0;
    while let Some((path, is_directory)) = open.pop() {
        looked += 1;
        if looked > ENTRIES_MAX {
            found.notes.push(format!("[stopped after {ENTRIES_MAX} files; name a path to look in]"));
            break;
        }
        if !is_directory {
            found.file(root, &pattern, &path).await;
        } else if let Some(entries) = found.directory(root, &path).await {
            let wanted = entries.into_iter().rev().filter(|(name, kind)| match kind {
                Kind::File => true,
                Kind::Directory => !skipped.iter().any(|skipped| name == Path::new(skipped)),
                Kind::Link | Kind::Other => false,
            });
            open.extend(wanted.map(|(name, kind)| (path.join(name), kind == Kind::Directory)));
        }
        if found.hits.len() >= HITS_MAX {
            found.hits.truncate(HITS_MAX);
            found.notes.push(format!("[stopped after {HITS_MAX} lines; look for something rarer]"));
            break;
        }
    }
    Ok(found.said())
}

fn compiled(asked: &Search) -> Result<Regex, String> {
    if asked.pattern.is_empty() {
        return Err("the pattern is empty".to_owned());
    }
    let is_regex = asked.regex.unwrap_or(false);
    let pattern = if is_regex { asked.pattern.clone() } else { regex::escape(&asked.pattern) };
    RegexBuilder::new(&pattern)
        .case_insensitive(!asked.case_sensitive.unwrap_or(true))
        .size_limit(PATTERN_BYTES_MAX)
        .dfa_size_limit(PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| format!("the pattern cannot be used: {error}"))
}

async fn is_directory(root: &Root, path: &Path) -> Result<bool, String> {
    if path.as_os_str().is_empty() {
        return Ok(true);
    }
    match root.files.entry(path).await.map(|entry| entry.kind) {
        Ok(Kind::Directory) => Ok(true),
        Ok(Kind::File) => Ok(false),
        Ok(Kind::Link | Kind::Other) => Err(refusal(path, &FileError::Irregular)),
        Err(error) => Err(refusal(path, &error)),
    }
}

/// What a search has found so far.
#[derive(Default)]
struct Found {
    hits: Vec<String>,
    notes: Vec<String>,
    files: usize,
    large: usize,
    closed: usize,
}

impl Found {
    /// The entries of a directory, by name.
    async fn directory(&mut self, root: &Root, path: &Path) -> Option<Vec<(PathBuf, Kind)>> {
        let Ok(entries) = root.files.list(path, DIRECTORY_MAX).await else {
            self.closed += 1;
            return None;
        };
        Some(entries.into_iter().map(|entry| (PathBuf::from(entry.name), entry.kind)).collect())
    }

    async fn file(&mut self, root: &Root, pattern: &Regex, path: &Path) {
        let content = match root.files.read(path, FILE_BYTES_MAX).await {
            Ok(content) => content,
            Err(FileError::TooMuch(_)) => {
                self.large += 1;
                return;
            }
            Err(_) => {
                self.closed += 1;
                return;
            }
        };
        if content.contains(&0) {
            return;
        }
        self.files += 1;
        let (pattern, left) = (pattern.clone(), HITS_MAX - self.hits.len());
        // When nobody waits for it any longer, the token is cancelled and the thread comes back.
        let unwanted = CancellationToken::new();
        let (_guard, is_unwanted) = (unwanted.clone().drop_guard(), unwanted);
        let path = shown(path);
        let work = move || matching(&pattern, &path, &content, left, || is_unwanted.is_cancelled());
        match tokio::task::spawn_blocking(work).await {
            Ok(hits) => self.hits.extend(hits),
            Err(_) => self.closed += 1,
        }
    }

    fn said(mut self) -> String {
        if self.hits.is_empty() {
            self.hits.push(format!("no line of {} files matches", self.files));
        }
        let mut note = |count: usize, what: &str| {
            if count > 0 {
                self.notes.push(format!("[{count} {what}]"));
            }
        };
        note(self.large, "files are larger than 1 MiB and were left out");
        note(self.closed, "files or directories could not be read, or are too large");
        self.hits.extend(self.notes);
        self.hits.join("\n")
    }
}

/// The lines of a file that match, as they are shown.
fn matching(
    pattern: &Regex,
    path: &str,
    content: &[u8],
    most: usize,
    is_unwanted: impl Fn() -> bool,
) -> Vec<String> {
    let text = String::from_utf8_lossy(content);
    let mut hits = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if hits.len() >= most || is_unwanted() {
            break;
        }
        let looked_at = &line[..line.floor_char_boundary(LINE_BYTES_MAX)];
        if let Some(hit) = pattern.find(looked_at) {
            hits.push(format!("{path}:{number}: {}", excerpt(line, hit.start())));
        }
    }
    hits
}

/// A line, or what stands around a place in a long one.
fn excerpt(line: &str, place: usize) -> String {
    if line.chars().nth(SHOWN_MAX).is_none() {
        return line.to_owned();
    }
    let start = line.floor_char_boundary(place.saturating_sub(SHOWN_MAX / 3));
    let before = if start > 0 { "…" } else { "" };
    let rest = &line[start..];
    let end = rest.char_indices().nth(SHOWN_MAX).map_or(rest.len(), |(end, _)| end);
    let after = if end < rest.len() { "…" } else { "" };
    format!("{before}{}{after}", &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(pattern: &str, regex: bool) -> Search {
        Search { pattern: pattern.to_owned(), path: None, regex: Some(regex), case_sensitive: None }
    }

    #[test]
    fn a_pattern_that_would_take_long_is_refused() {
        assert!(compiled(&search("(a{0,500}){0,500}", true)).unwrap_err().contains("size limit"));
        assert!(compiled(&search("(", true)).unwrap_err().contains("unclosed group"));
        assert!(compiled(&search("(a+)+$", true)).is_ok());
        assert!(compiled(&search("(", false)).is_ok());
    }

    #[test]
    fn a_long_line_is_shown_around_the_match() {
        let line = format!("{}needle{}", "é".repeat(1_000), "x".repeat(1_000));
        let pattern = compiled(&search("needle", false)).unwrap();
        let hits = matching(&pattern, "f", line.as_bytes(), 9, || false);
        assert!(hits[0].starts_with("f:1: …éé") && hits[0].ends_with("x…") && hits[0].contains("needle"));
        assert_eq!(hits[0].chars().count(), SHOWN_MAX + "f:1: ……".chars().count());
    }
}
