//! Makes the names in directories survive a power cut, as a synced file does with its content.

use std::{fs, io, path::Path};

/// Syncs the directory at `path`; the empty path is the working directory.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    fs::File::open(path)?.sync_all()
}
