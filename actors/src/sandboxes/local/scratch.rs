//! A directory for temporary files of one command, where it cannot have a `/tmp` of its own.

use std::{
    env, fs, io,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use super::{
    leftovers::{is_of_the_dead, name},
    removal,
};

/// Removed with everything in it when this goes away.
#[derive(Debug)]
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one for `owner`, or for the server's own user.
    pub(super) fn make(owner: Option<u32>) -> io::Result<Self> {
        // Others may make directories there too: what cannot be foreseen cannot be taken before.
        let dir = env::temp_dir().join(format!("{}-{:08x}", name(), fastrand::u32(..)));
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        let scratch = Self(dir);
        std::os::unix::fs::chown(&scratch.0, owner, owner)?;
        Ok(scratch)
    }

    /// Removes those that servers which are dead left behind.
    pub(super) fn reap() {
        let me = nix::unistd::geteuid();
        let is_ours = |entry: &fs::DirEntry| {
            let found = entry.metadata();
            found.is_ok_and(|found| found.is_dir() && (me.is_root() || found.uid() == me.as_raw()))
        };
        for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
            if is_of_the_dead(&entry.file_name()) && is_ours(&entry) {
                drop(Self(entry.path()));
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let (Some(above), Some(name)) = (self.0.parent(), self.0.file_name()) else { return };
        let removed = fs::File::open(above)
            .and_then(|above| removal::remove(above.as_fd(), Path::new(name)).map_err(io::Error::from));
        if let Err(error) = removed {
            tracing::warn!(%error, path = %self.0.display(), "a scratch directory stays behind");
        }
    }
}
