//! Paths as models write them, and as they are shown.

use std::path::{Component, Path, PathBuf};

use crate::sandboxes::{FileError, Files};

/// The work tree of a toolbox.
#[derive(Clone, Debug)]
pub(super) struct Root {
    pub(super) files: Files,
    /// Where commands find it; what they print leads models to name files by it.
    pub(super) inside: PathBuf,
}

impl Root {
    /// The path beneath the tree; the tree itself is the empty one. What leads out is left for the files to
    /// refuse.
    pub(super) fn path(&self, written: &str) -> PathBuf {
        let path = Path::new(written.trim());
        let path = path.strip_prefix(&self.inside).unwrap_or(path);
        path.components().filter(|part| *part != Component::CurDir).collect()
    }
}

/// A path as it is shown: control characters, which would look like other lines, are escaped.
pub(super) fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    if !text.contains(char::is_control) {
        return text.into_owned();
    }
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// Why a path was refused, and what to do.
pub(super) fn refusal(path: &Path, error: &FileError) -> String {
    let path = if path.as_os_str().is_empty() { "the empty path".to_owned() } else { shown(path) };
    let advice = match error {
        FileError::Missing => "; list_files shows what is there",
        FileError::Path(_) | FileError::Link => "; paths are relative to the top of the work tree",
        FileError::Irregular => {
            "; a directory, link, pipe or device stands there, or in the place of a directory"
        }
        FileError::Occupied => "; delete what is in it first",
        FileError::TooMuch(_) => "; look at it in parts with run_command",
        FileError::Io(source) => return format!("{path}: {error}: {source}"),
    };
    format!("{path}: {error}{advice}")
}
