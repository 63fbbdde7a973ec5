//! Whom a tree belongs to: a user that nothing else of this machine belongs to, when the server is root.
//!
//! **Invariant:** two trees side by side never have the same user, also after a restart: the trees themselves
//! tell.
//! **Invariant:** a file with other names outside the tree is never given away with it.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    ops::Range,
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use nix::{
    dir::Dir,
    fcntl::{AtFlags, OFlag, openat},
    libc::{S_IFDIR, S_IFMT},
    sys::stat::{Mode, fchmod, fstat},
    unistd::{Gid, Uid, fchown, fchownat},
};

use super::{
    files::{FileError, beneath_dir},
    spec::Error,
};

/// Above the users of the system and of people, outside what is commonly given to containers.
const USERS: Range<u32> = 200_000..265_536;

/// How many directories deep a tree is handed over.
const DEPTH_MAX: usize = 256;

/// Gives users to trees.
#[derive(Debug)]
pub(super) struct Owners {
    is_root: bool,
    given: Mutex<BTreeSet<u32>>,
}

impl Owners {
    pub(super) fn new() -> Self {
        Self { is_root: nix::unistd::geteuid().is_root(), given: Mutex::default() }
    }

    pub(super) fn is_root(&self) -> bool {
        self.is_root
    }

    /// The user that a tree belongs to already; none when everything belongs to the server's own.
    pub(super) fn of(&self, tree: &Path) -> Option<u32> {
        let owner = fs::symlink_metadata(tree).ok()?.uid();
        (self.is_root && USERS.contains(&owner)).then_some(owner)
    }

    /// Gives a tree, and all in it that is not its own already, to a user of its own.
    ///
    /// Files with more than one name stay whose they are: the other name may be an object of a shared
    /// repository.
    pub(super) fn adopt(&self, tree: &Path) -> Result<Option<u32>, Error> {
        if !self.is_root {
            return Ok(None);
        }
        // Held until the tree has its owner, so that two calls agree on it.
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let user = match self.of(tree) {
            Some(user) => user,
            None => unused(tree, &given).ok_or_else(|| Error::Tree("all users are given away".to_owned()))?,
        };
        given.insert(user);
        let refused = |error: FileError| Error::Tree(format!("it cannot be given to user {user}: {error}"));
        hand_over(tree, user).map_err(refused)?;
        Ok(Some(user))
    }
}

/// A user that neither this server gave away nor a tree beside this one has.
fn unused(tree: &Path, given: &BTreeSet<u32>) -> Option<u32> {
    let beside = tree.parent().and_then(|above| fs::read_dir(above).ok()).into_iter().flatten().flatten();
    let taken: BTreeSet<u32> = beside.filter_map(|entry| Some(entry.metadata().ok()?.uid())).collect();
    let first = fastrand::u32(USERS);
    let free = |user: &u32| !taken.contains(user) && !given.contains(user);
    (first..USERS.end).chain(USERS.start..first).find(free)
}

fn hand_over(tree: &Path, user: u32) -> Result<(), FileError> {
    let (uid, gid) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(user)));
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let root = nix::fcntl::open(tree, flags, Mode::empty())?;
    let mut next = vec![PathBuf::from(".")];
    while let Some(path) = next.pop() {
        if path.components().count() > DEPTH_MAX {
            return Err(FileError::Path("a directory is too deep"));
        }
        let mut dir =
            Dir::from_fd(beneath_dir(&root, &path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())?)?;
        let entries: Vec<_> = dir.iter().collect::<nix::Result<_>>()?;
        for name in
            entries.iter().map(nix::dir::Entry::file_name).filter(|name| ![c".", c".."].contains(name))
        {
            // Held, so that what is given away is what was looked at, whatever its name leads to by then.
            let held =
                openat(&dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
            let found = fstat(&held)?;
            if found.st_mode & S_IFMT == S_IFDIR {
                next.push(path.join(OsStr::from_bytes(name.to_bytes())));
            } else if found.st_uid != user && found.st_nlink == 1 {
                fchownat(&held, c"", uid, gid, AtFlags::AT_EMPTY_PATH)?;
            }
        }
        if fstat(&dir)?.st_uid != user {
            fchown(&dir, uid, gid)?;
        }
    }
    Ok(fchmod(&root, Mode::S_IRWXU)?)
}

/// The first directory above a tree that other users cannot pass.
pub(super) fn barrier(tree: &Path) -> Option<&Path> {
    let closed = |dir: &&Path| fs::metadata(dir).is_ok_and(|of| of.permissions().mode() & 0o001 == 0);
    tree.ancestors().skip(1).find(closed)
}
