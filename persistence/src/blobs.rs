//! Large things by their content: files named after their BLAKE3 hash, apart for each workspace.
//!
//! **Invariant:** a blob is synced, and so is its directory, before [`Blobs::put`] returns; a save may then
//! refer to it.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{folders, store::StoreError};

/// Numbers the drafts of this process; a draft that a crash left behind is overwritten.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

/// The largest blob, in bytes.
pub const BLOB_MAX: usize = 64 << 20;

/// Where a blob is found: the hash of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The hash of the content.
    pub fn of(content: &[u8]) -> Self {
        Self(*blake3::hash(content).as_bytes())
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// The text is no hash.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a blob's name is 64 hexadecimal digits")]
pub struct NoDigest;

impl std::str::FromStr for Digest {
    type Err = NoDigest;
    fn from_str(text: &str) -> Result<Self, NoDigest> {
        blake3::Hash::from_hex(text).map(|hash| Self(*hash.as_bytes())).map_err(|_| NoDigest)
    }
}

/// The blobs of all workspaces, below one directory.
#[derive(Clone, Debug)]
pub struct Blobs {
    root: PathBuf,
}

impl Blobs {
    /// Keeps blobs below `root`.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    fn path(&self, workspace: Uuid, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.root.join(workspace.to_string()).join(&name[..2]).join(&name[2..])
    }

    /// Keeps `content` and says where it is found. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When it is larger than [`BLOB_MAX`] or the disk refuses.
    pub fn put(&self, workspace: Uuid, content: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(content);
        let path = self.path(workspace, digest);
        let io =
            |source| StoreError::Io { what: format!("cannot keep a blob at {}", path.display()), source };
        if content.len() > BLOB_MAX {
            return Err(io(io::ErrorKind::FileTooLarge.into()));
        }
        if !path.exists() {
            write_synced(&path, content).map_err(io)?;
        }
        // Also when it was there: whoever wrote it may not have come to this yet.
        sync_folders(&path).map_err(io)?;
        Ok(digest)
    }

    /// Reads what [`Blobs::put`] kept. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When it is not there, or its content no longer has that hash.
    pub fn get(&self, workspace: Uuid, digest: Digest) -> Result<Bytes, StoreError> {
        let path = self.path(workspace, digest);
        let io = |source| StoreError::Io { what: format!("cannot read the blob {digest}"), source };
        let content = fs::read(&path).map_err(io)?;
        if Digest::of(&content) != digest {
            return Err(StoreError::Damaged {
                path: path.display().to_string(),
                detail: "its content has another hash".into(),
            });
        }
        Ok(content.into())
    }
}

/// Writes beside the place, syncs and renames. Each writer has a draft of its own, so two of the same
/// content do not meet.
fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let draft = path.with_extension(format!("{}.draft", DRAFTS.fetch_add(1, Ordering::Relaxed)));
    let mut file = fs::File::create(&draft)?;
    let written =
        file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        drop(fs::remove_file(&draft));
    }
    written
}

/// Syncs every directory that a blob may have brought about: its own, the workspace's and the root, each
/// named in the one above.
fn sync_folders(path: &Path) -> io::Result<()> {
    path.ancestors().skip(1).take(4).try_for_each(folders::sync)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_read_as_it_was_kept_and_only_in_its_workspace() {
        let root = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(root.path().join("blobs"));
        let (ours, theirs) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let digest = blobs.put(ours, b"a diff").unwrap();
        assert_eq!(blobs.put(ours, b"a diff").unwrap(), digest);
        assert_eq!(blobs.get(ours, digest).unwrap(), "a diff");
        assert!(blobs.get(theirs, digest).is_err());
    }

    #[test]
    fn writers_of_the_same_content_at_once_do_not_disturb_each_other_and_leave_no_drafts() {
        let root = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(root.path().to_owned());
        let workspace = Uuid::from_u128(1);
        for round in 0..8_u8 {
            let content = vec![round; 100_000];
            let together = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        together.wait();
                        let digest = blobs.put(workspace, &content).unwrap();
                        assert_eq!(blobs.get(workspace, digest).unwrap(), content);
                    });
                }
            });
            let folder = blobs.path(workspace, Digest::of(&content)).parent().unwrap().to_owned();
            assert!(fs::read_dir(folder).unwrap().all(|file| file.unwrap().path().extension().is_none()));
        }
    }

    #[test]
    fn a_blob_that_is_too_large_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let refused = Blobs::new(root.path().to_owned()).put(Uuid::nil(), &vec![0; BLOB_MAX + 1]);
        let too_large = |source: &io::Error| source.kind() == io::ErrorKind::FileTooLarge;
        assert!(matches!(refused, Err(StoreError::Io { source, .. }) if too_large(&source)));
    }

    #[test]
    fn a_digest_is_read_as_it_was_shown() {
        let digest = Digest::of(b"a diff");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert!("../../etc/passwd".parse::<Digest>().is_err());
    }

    #[test]
    fn a_blob_whose_content_changed_is_not_given_out() {
        let root = tempfile::tempdir().unwrap();
        let blobs = Blobs::new(root.path().to_owned());
        let workspace = Uuid::from_u128(1);
        let digest = blobs.put(workspace, b"sound").unwrap();
        fs::write(blobs.path(workspace, digest), b"rotten").unwrap();
        assert!(matches!(blobs.get(workspace, digest), Err(StoreError::Damaged { .. })));
    }
}
