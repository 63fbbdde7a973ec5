//! Removes what a hostile command left behind: directories of any depth, names of any kind, rights of none.
//!
//! **Invariant:** no more than three files are open at a time, and nothing is reached but by a name in an
//! open directory, so neither depth nor a link can lead astray.

use std::{
    ffi::{CString, OsStr},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, renameat},
    libc::{S_IFDIR, S_IFMT},
    sys::stat::{FchmodatFlags, Mode, fchmod, fchmodat, fstatat},
    unistd::{UnlinkatFlags, unlinkat},
};

/// Numbers the directories that are moved up.
static MOVED: AtomicU64 = AtomicU64::new(0);

/// How often the top is looked through again: once for each level below it.
const ROUNDS_MAX: u32 = 100_000;

/// Removes `name` from the directory `above`, with all that is in it.
///
/// Directories inside are moved up before they are emptied, so that none is deeper than one step below the
/// top.
pub(super) fn remove(above: BorrowedFd<'_>, name: &Path) -> nix::Result<()> {
    if !is_directory(above, name)? {
        return unlinkat(above, name, UnlinkatFlags::NoRemoveDir);
    }
    let top = enter(above, name)?;
    for _ in 0..ROUNDS_MAX {
        let inner = names(&top)?;
        if inner.is_empty() {
            return unlinkat(above, name, UnlinkatFlags::RemoveDir);
        }
        for name in inner.iter().map(|name| Path::new(OsStr::from_bytes(name.to_bytes()))) {
            if !unlink(&top, name)? {
                flatten(&top, name)?;
            }
        }
    }
    Err(Errno::ENOTEMPTY)
}

/// Empties a directory of the top and removes it; directories in it are moved to the top.
fn flatten(top: &OwnedFd, name: &Path) -> nix::Result<()> {
    let dir = enter(top.as_fd(), name)?;
    for inner in names(&dir)?.iter().map(|name| Path::new(OsStr::from_bytes(name.to_bytes()))) {
        if !unlink(&dir, inner)? {
            let number = MOVED.fetch_add(1, Ordering::Relaxed);
            let moved = format!(".cendriix-removed-{}-{number}", nix::unistd::getpid());
            renameat(&dir, inner, top, Path::new(&moved))?;
        }
    }
    match unlinkat(top, name, UnlinkatFlags::RemoveDir) {
        // Somebody still writes into it; the next round finds it.
        Ok(()) | Err(Errno::ENOTEMPTY | Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Removes what is no directory; false when it is one.
fn unlink(dir: &OwnedFd, name: &Path) -> nix::Result<bool> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(true),
        Err(Errno::EISDIR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// The names in a directory.
fn names(dir: &OwnedFd) -> nix::Result<Vec<CString>> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut dir = Dir::from_fd(openat(dir, ".", flags, Mode::empty())?)?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let entry = entry?;
        if ![c".", c".."].contains(&entry.file_name()) {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn is_directory(above: BorrowedFd<'_>, name: &Path) -> nix::Result<bool> {
    let found = fstatat(above, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    Ok(found.st_mode & S_IFMT == S_IFDIR)
}

/// Opens a directory, whose owner may have taken every right to it from itself.
fn enter(above: BorrowedFd<'_>, name: &Path) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let open = || openat(above, name, flags, Mode::empty());
    let dir = match open() {
        Err(Errno::EACCES) => {
            fchmodat(above, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?;
            open()?
        }
        opened => opened?,
    };
    // Refused where it is not ours; then removing tells.
    let _ = fchmod(&dir, Mode::S_IRWXU);
    Ok(dir)
}
