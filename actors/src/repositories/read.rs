//! Reads a folder that strangers wrote in, and makes a git tree of it.
//!
//! The git library would add files too, but it trusts the folder: a planted `.git` or link would lead it
//! elsewhere. Here each folder is opened by its descriptor, from its parent's, and what is a link when it is
//! opened is not opened.
//!
//! **Invariant:** only regular files and the texts of links below the folder are read, and nothing in it is
//! executed.
//! **Invariant:** what the base tracks stays tracked, also when a `.gitignore` names it.

use std::{
    ffi::{CString, OsStr},
    fs,
    io::Read as _,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use git2::{ErrorClass, ObjectType, Oid, Repository, Tree, TreeEntry};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};

use super::{
    Failure,
    failure::{io, shown},
    ignored::{RULES_MAX, Rules},
    write::{DEPTH_MAX, ENTRIES_MAX, is_git, mode, too_deep, too_many},
};

/// The largest file that is added, in bytes.
const FILE_MAX: u64 = 64 << 20;
/// Names that `git fsck` complains about when they are links; one that was a link before stays.
const NO_LINKS: [&[u8]; 4] = [b".gitattributes", b".gitignore", b".gitmodules", b".mailmap"];
/// How many notes are kept.
const NOTES_MAX: usize = 20;

/// Makes a tree of a folder; also says what was left out.
pub(super) fn folder(
    repo: &Repository,
    place: &Path,
    base: &Tree<'_>,
) -> Result<(Oid, Vec<String>), Failure> {
    let root =
        openat(CWD, place, FOLDER, Mode::empty()).map_err(io(format_args!("open {}", place.display())))?;
    let rules = Rules::of_repository(&repo.commondir().join("info/exclude"));
    let mut reader = Reader { repo, rules, seen: 0, notes: Vec::new() };
    let tree =
        reader.folder(&root, At { path: Path::new(""), base: Some(base), is_ignored: false, depth: 0 })?;
    let tree = match tree {
        Some(tree) => tree,
        None => repo.treebuilder(None)?.write()?,
    };
    Ok((tree, reader.notes))
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Not blocking, since a pipe may have taken the file's place.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A folder on the way.
#[derive(Clone, Copy)]
struct At<'a> {
    path: &'a Path,
    /// What the base has there.
    base: Option<&'a Tree<'a>>,
    /// Whether only what is tracked is kept.
    is_ignored: bool,
    depth: usize,
}

struct Reader<'r> {
    repo: &'r Repository,
    rules: Rules,
    seen: usize,
    notes: Vec<String>,
}

impl Reader<'_> {
    /// The tree of a folder; none when nothing in it is kept, since git knows no empty folders.
    fn folder(&mut self, dir: &OwnedFd, at: At<'_>) -> Result<Option<Oid>, Failure> {
        if at.depth > DEPTH_MAX {
            return Err(too_deep());
        }
        let names = self.names(dir, at.path)?;
        let has_rules = !at.is_ignored && names.iter().any(|name| name.as_bytes() == b".gitignore");
        if has_rules && let Some(text) = self.rules_in(dir, at.path)? {
            self.rules.enter(at.path, &text);
        }
        let repo = self.repo;
        let mut builder = repo.treebuilder(None)?;
        for name in &names {
            if let Some((id, mode)) = self.entry(dir, name, at)?
                && let Err(error) = builder.insert(name.as_bytes(), id, mode)
            {
                if error.class() != ErrorClass::Tree {
                    return Err(error.into());
                }
                self.leave_out(&at.path.join(OsStr::from_bytes(name.as_bytes())), "its name stands for .git");
            }
        }
        for entry in at.base.into_iter().flatten().filter(is_submodule) {
            if builder.get(entry.name_bytes())?.is_none() {
                builder.insert(entry.name_bytes(), entry.id(), mode::SUBMODULE)?;
            }
        }
        self.rules.leave(at.path);
        Ok(if builder.is_empty() { None } else { Some(builder.write()?) })
    }

    /// What is kept of an entry of a folder.
    fn entry(&mut self, dir: &OwnedFd, name: &CString, at: At<'_>) -> Result<Option<(Oid, i32)>, Failure> {
        let bytes = name.as_bytes();
        let path = at.path.join(OsStr::from_bytes(bytes));
        if is_git(bytes) {
            self.leave_out(&path, "it is git's own");
            return Ok(None);
        }
        let base = at.base.and_then(|base| base.get_name_bytes(bytes));
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map_err(unread(&path))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_folder = kind == FileType::Directory;
        let is_ignored = at.is_ignored || self.rules.ignore(&path, is_folder);
        if is_folder {
            let tree = base.as_ref().filter(|base| base.kind() == Some(ObjectType::Tree));
            let tree = tree.map(|base| self.repo.find_tree(base.id())).transpose()?;
            if base.as_ref().is_some_and(is_submodule) || (is_ignored && tree.is_none()) {
                return Ok(None);
            }
            let inner = openat(dir, name, FOLDER, Mode::empty()).map_err(unread(&path))?;
            let at = At { path: &path, base: tree.as_ref(), is_ignored, depth: at.depth + 1 };
            return Ok(self.folder(&inner, at)?.map(|id| (id, mode::FOLDER)));
        }
        let tracked = base.filter(|base| base.kind() == Some(ObjectType::Blob));
        if is_ignored && tracked.is_none() {
            return Ok(None);
        }
        if kind == FileType::Symlink {
            if NO_LINKS.contains(&bytes) && tracked.is_none_or(|base| base.filemode() != mode::LINK) {
                self.leave_out(&path, "git obeys no link of that name");
                return Ok(None);
            }
            let target = readlinkat(dir, name, Vec::new()).map_err(unread(&path))?;
            return Ok(Some((self.repo.blob(target.as_bytes())?, mode::LINK)));
        }
        if kind == FileType::RegularFile {
            return self.file(dir, name, &path, tracked.map(|base| base.id()));
        }
        self.leave_out(&path, "it is neither a file nor a link");
        Ok(None)
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        name: &CString,
        path: &Path,
        tracked: Option<Oid>,
    ) -> Result<Option<(Oid, i32)>, Failure> {
        let Some((file, stat)) = open(dir, name).map_err(unread(path))? else {
            self.leave_out(path, "it is neither a file nor a link");
            return Ok(None);
        };
        let is_program = Mode::from_raw_mode(stat.st_mode).contains(Mode::XUSR);
        let mode = if is_program { mode::PROGRAM } else { mode::FILE };
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if size > FILE_MAX {
            // A large file that was there before stays; only what is added has a limit.
            return match tracked {
                Some(before) if hash(file, size).map_err(unread(path))? == before.as_bytes() => {
                    Ok(Some((before, mode)))
                }
                _ => Err(too_large(path)),
            };
        }
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        file.take(FILE_MAX + 1).read_to_end(&mut content).map_err(unread(path))?;
        if content.len() as u64 > FILE_MAX {
            return Err(too_large(path));
        }
        let id = match tracked {
            Some(before) if Oid::hash_object(ObjectType::Blob, &content)? == before => before,
            _ => self.repo.blob(&content)?,
        };
        Ok(Some((id, mode)))
    }

    /// The names in a folder, sorted, so that notes and limits do not depend on the disk.
    fn names(&mut self, dir: &OwnedFd, path: &Path) -> Result<Vec<CString>, Failure> {
        let mut names = Vec::new();
        for entry in Dir::read_from(dir).map_err(unread(path))? {
            let entry = entry.map_err(unread(path))?;
            let name = entry.file_name();
            if name.to_bytes() != b"." && name.to_bytes() != b".." {
                self.seen += 1;
                names.push(name.to_owned());
            }
            if self.seen > ENTRIES_MAX {
                return Err(too_many());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The text of a folder's `.gitignore`, when it is a file of a sensible size.
    fn rules_in(&mut self, dir: &OwnedFd, path: &Path) -> Result<Option<String>, Failure> {
        let path = path.join(".gitignore");
        let stat = statat(dir, c".gitignore", AtFlags::SYMLINK_NOFOLLOW).map_err(unread(&path))?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let file = if is_file { open(dir, c".gitignore").map_err(unread(&path))? } else { None };
        let mut text = Vec::new();
        if let Some((file, _)) = file {
            file.take(RULES_MAX + 1).read_to_end(&mut text).map_err(unread(&path))?;
            if text.len() as u64 <= RULES_MAX {
                return Ok(Some(shown(&text)));
            }
        }
        self.note(format!(
            "{} is not obeyed: it is no file, or too large",
            shown(path.as_os_str().as_bytes())
        ));
        Ok(None)
    }

    fn leave_out(&mut self, path: &Path, why: &str) {
        self.note(format!("{} is left out: {why}", shown(path.as_os_str().as_bytes())));
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(note);
        }
    }
}

fn is_submodule(entry: &TreeEntry<'_>) -> bool {
    entry.kind() == Some(ObjectType::Commit)
}

/// Opens a regular file; none when it is something else by now.
fn open(dir: &OwnedFd, name: &std::ffi::CStr) -> rustix::io::Result<Option<(fs::File, Stat)>> {
    let file = openat(dir, name, FILE, Mode::empty())?;
    let stat = fstat(&file)?;
    Ok((FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then(|| (file.into(), stat)))
}

/// The hash that git gives to a file, read piece by piece.
fn hash(mut file: fs::File, size: u64) -> std::io::Result<Vec<u8>> {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(format!("blob {size}\0").as_bytes());
    let mut piece = vec![0; 1 << 20];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(context.finish().as_ref().to_vec()),
            read => context.update(&piece[..read]),
        }
    }
}

fn unread<E: Into<std::io::Error>>(path: &Path) -> impl FnOnce(E) -> Failure {
    io(format!("read {} of the work tree", PathBuf::from(path).display()))
}

fn too_large(path: &Path) -> Failure {
    let path = shown(path.as_os_str().as_bytes());
    Failure::Refused(format!(
        "{path} has more than {} MiB; list it in .gitignore or make it smaller",
        FILE_MAX >> 20
    ))
}
