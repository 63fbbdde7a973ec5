//! Writes a commit's files into a folder that is not there yet, byte by byte: no filter, no line endings, no
//! `.git`.
//!
//! **Invariant:** nothing that exists is opened or overwritten, so no link that a tree brings along is
//! followed.

use std::{
    ffi::OsStr,
    fs,
    io::{ErrorKind, Write as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    },
    path::Path,
};

use git2::{Repository, Tree};

use super::{
    Failure,
    failure::{io, shown},
};

/// How many files and folders a tree has at most.
pub(super) const ENTRIES_MAX: usize = 100_000;
/// How deep folders are nested at most.
pub(super) const DEPTH_MAX: usize = 256;

/// What an entry of a tree is.
pub(super) mod mode {
    pub(in super::super) const FOLDER: i32 = 0o040_000;
    pub(in super::super) const FILE: i32 = 0o100_644;
    pub(in super::super) const PROGRAM: i32 = 0o100_755;
    pub(in super::super) const LINK: i32 = 0o120_000;
    pub(in super::super) const SUBMODULE: i32 = 0o160_000;
}

/// Writes a tree to a place where nothing is.
pub(super) fn out(repo: &Repository, tree: &Tree<'_>, place: &Path) -> Result<(), Failure> {
    Writer { repo, written: 0 }.folder(tree, place, 0)
}

struct Writer<'r> {
    repo: &'r Repository,
    written: usize,
}

impl Writer<'_> {
    fn folder(&mut self, tree: &Tree<'_>, place: &Path, depth: usize) -> Result<(), Failure> {
        if depth > DEPTH_MAX {
            return Err(too_deep());
        }
        let failed = |path: &Path| io(format!("write {}", path.display()));
        fs::create_dir(place).map_err(failed(place))?;
        for entry in tree {
            self.written += 1;
            if self.written > ENTRIES_MAX {
                return Err(too_many());
            }
            let name = entry.name_bytes();
            if name.is_empty() || name == b"." || name == b".." || name.contains(&b'/') || is_git(name) {
                return Err(Failure::Refused(format!("the commit holds a file named {:?}", shown(name))));
            }
            let path = place.join(OsStr::from_bytes(name));
            match entry.filemode() {
                mode::FOLDER => self.folder(&self.repo.find_tree(entry.id())?, &path, depth + 1)?,
                mode::SUBMODULE => fs::create_dir(&path).map_err(failed(&path))?,
                mode::LINK => {
                    let target = self.repo.find_blob(entry.id())?;
                    symlink(OsStr::from_bytes(target.content()), &path).map_err(failed(&path))?;
                }
                other => {
                    let rights = if other == mode::PROGRAM { 0o777 } else { 0o666 };
                    let content = self.repo.find_blob(entry.id())?;
                    fs::OpenOptions::new()
                        .write(true)
                        .create_new(true)
                        .mode(rights)
                        .open(&path)
                        .and_then(|mut file| file.write_all(content.content()))
                        .map_err(failed(&path))?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a name stands for git's own folder, in any case.
pub(super) fn is_git(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b".git")
}

pub(super) fn too_deep() -> Failure {
    Failure::Refused(format!("folders are nested more than {DEPTH_MAX} deep"))
}

pub(super) fn too_many() -> Failure {
    Failure::Refused(format!(
        "there are more than {ENTRIES_MAX} files and folders; list generated ones in .gitignore"
    ))
}

/// Removes a folder and all that is in it, also folders that were closed against us; links are removed, not
/// followed.
pub(super) fn discard(place: &Path) -> Result<(), Failure> {
    let removed = match fs::remove_dir_all(place) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            open_up(place).and_then(|()| fs::remove_dir_all(place))
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(io(format_args!("remove {}", place.display()))),
    }
}

/// Gives the owner all rights to a folder and to those in it.
fn open_up(folder: &Path) -> std::io::Result<()> {
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            waiting.extend(entry.file_type()?.is_dir().then(|| entry.path()));
        }
    }
    Ok(())
}
