//! The entries beneath a directory.

use std::{collections::VecDeque, path::PathBuf};

use super::{
    arguments::ListFiles,
    paths::{Root, refusal, shown},
};
use crate::sandboxes::{FileError, Kind};

/// Entries that come back.
pub(super) const ENTRIES_MAX: usize = 1_000;
/// The most levels.
pub(super) const DEPTH_MAX: u32 = 32;
/// How many levels when nothing is said.
pub(super) const DEPTH_USUAL: u32 = 3;
/// Entries of one directory that are looked at.
const DIRECTORY_MAX: usize = 10_000;

pub(super) async fn list(root: &Root, asked: &ListFiles) -> Result<String, String> {
    let depth = asked.depth.unwrap_or(DEPTH_USUAL);
    if !(1..=DEPTH_MAX).contains(&depth) {
        return Err(format!("depth is 1 to {DEPTH_MAX}"));
    }
    let top = root.path(asked.path.as_deref().unwrap_or_default());
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    // Level by level, so that a large directory does not hide what lies beside it.
    let mut open = VecDeque::from([(top.clone(), depth)]);
    while let Some((dir, depth)) = open.pop_front() {
        let entries = match root.files.list(&dir, DIRECTORY_MAX).await {
            Ok(entries) => entries,
            Err(FileError::TooMuch(max)) => {
                let at = if dir.as_os_str().is_empty() { ".".to_owned() } else { shown(&dir) };
                notes.push(format!("[{at} has more than {max} entries; they are left out]"));
                continue;
            }
            Err(error) if dir == top => return Err(refusal(&dir, &error)),
            // A command may have removed it, or changed its rights.
            Err(error) => {
                notes.push(format!("[{}]", refusal(&dir, &error)));
                continue;
            }
        };
        for entry in entries.into_iter().filter(|entry| entry.name != ".git") {
            let path: PathBuf = dir.join(&entry.name);
            let mark = match entry.kind {
                Kind::Directory => "/",
                Kind::Link => "@",
                Kind::File | Kind::Other => "",
            };
            found.push(format!("{}{mark}", shown(&path)));
            if entry.kind == Kind::Directory && depth > 1 {
                open.push_back((path, depth - 1));
            }
        }
        if found.len() > ENTRIES_MAX {
            found.truncate(ENTRIES_MAX);
            notes.push(format!("[there are more; these are the first {ENTRIES_MAX} of the upper levels]"));
            break;
        }
    }
    if found.is_empty() && notes.is_empty() {
        return Ok("[the directory is empty]".to_owned());
    }
    found.sort();
    found.extend(notes.into_iter().take(10));
    Ok(found.join("\n"))
}
