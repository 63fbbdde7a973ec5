//! Files of a tree, read and written by the server while a hostile command may be changing them.
//!
//! **Invariant:** nothing outside the tree is ever touched: each path is resolved by the kernel beneath the
//! tree, no symbolic link is followed, and what is opened is a regular file or a directory, so no pipe or
//! device is waited for.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2, renameat},
    libc::{self, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG, S_IXUSR},
    sys::stat::{FileStat, Mode, fchmod, fstat, fstatat, mkdirat},
    unistd::{Gid, Uid, UnlinkatFlags, fchown, unlinkat},
};

use super::removal;

/// The longest path.
const PATH_MAX: usize = 4096;

/// What files written by the server are called until they are whole.
const UNFINISHED: &str = ".cendriix-unfinished-";

/// Why a file was not given or taken.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The path is not one beneath the tree.
    #[error("{0}")]
    Path(&'static str),
    /// There is none.
    #[error("there is no such file")]
    Missing,
    /// A symbolic link, pipe, socket or device, or a directory where a file is wanted.
    #[error("it is not a regular file")]
    Irregular,
    /// A part of the path is a symbolic link, or leads out of the tree.
    #[error("the path leads over a symbolic link or out of the tree")]
    Link,
    /// The file has more bytes, or the directory more entries, than are wanted.
    #[error("there is more than {0}")]
    TooMuch(u64),
    /// The directory is not empty.
    #[error("the directory is not empty")]
    Occupied,
    /// The disk, or the rights of the file.
    #[error("the file system refused it")]
    Io(#[from] io::Error),
}

impl From<Errno> for FileError {
    fn from(errno: Errno) -> Self {
        match errno as i32 {
            libc::ENOENT => Self::Missing,
            libc::ELOOP | libc::EXDEV => Self::Link,
            libc::EISDIR | libc::ENXIO | libc::ENOTDIR => Self::Irregular,
            libc::ENOTEMPTY => Self::Occupied,
            libc::ENAMETOOLONG => Self::Path("the path is too long"),
            _ => Self::Io(errno.into()),
        }
    }
}

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    File,
    Directory,
    Link,
    Other,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    pub name: OsString,
    pub kind: Kind,
    pub size: u64,
    /// Whether its owner may execute it.
    pub is_executable: bool,
}

impl Entry {
    fn new(name: OsString, found: &FileStat) -> Self {
        let is_executable = found.st_mode & S_IXUSR != 0;
        Self { name, kind: kind_of(found), size: size(found), is_executable }
    }
}

/// What a file is to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub path: PathBuf,
    /// What it is, to be put back if need be; nothing when it is not there.
    pub before: Option<Version>,
    /// What it becomes; nothing when it is to go.
    pub after: Option<Version>,
}

/// A file's content and rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub content: Vec<u8>,
    pub is_executable: bool,
}

/// Why several files were not changed.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be changed", path.display())]
pub struct Unchanged {
    /// The file that could not be changed.
    pub path: PathBuf,
    /// Files before it stay changed, because they could not be put back.
    pub is_torn: bool,
    pub source: FileError,
}

/// The files of one tree. A clone is the same.
#[derive(Clone, Debug)]
pub struct Files(Arc<Root>);

#[derive(Debug)]
struct Root {
    dir: OwnedFd,
    owner: Option<u32>,
}

impl Files {
    /// The files beneath `tree`; those written are given to `owner`.
    ///
    /// # Errors
    ///
    /// When there is no such directory.
    pub(crate) fn open(tree: &Path, owner: Option<u32>) -> Result<Self, FileError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        Ok(Self(Arc::new(Root { dir: open(tree, flags, Mode::empty())?, owner })))
    }

    /// The content of a regular file of at most `max` bytes.
    ///
    /// # Errors
    ///
    /// When it is none, or larger, or not beneath the tree.
    pub async fn read(&self, path: impl Into<PathBuf>, max: u64) -> Result<Vec<u8>, FileError> {
        let path = path.into();
        self.on_disk(move |root| root.read(&path, max)).await
    }

    /// Puts a file in place at once, with the directories above it; it keeps the rights of the one it
    /// replaces.
    ///
    /// # Errors
    ///
    /// When something else than a regular file is there, or the path is not beneath the tree.
    pub async fn write(
        &self,
        path: impl Into<PathBuf>,
        content: impl Into<Vec<u8>>,
    ) -> Result<(), FileError> {
        let (path, content) = (path.into(), content.into());
        self.on_disk(move |root| root.write(&path, &content, None)).await
    }

    /// Puts a file in place like [`Self::write`], and says whether it is a program: whoever may read it may
    /// execute it then.
    ///
    /// # Errors
    ///
    /// When something else than a regular file is there, or the path is not beneath the tree.
    pub async fn write_as(
        &self,
        path: impl Into<PathBuf>,
        content: impl Into<Vec<u8>>,
        is_executable: bool,
    ) -> Result<(), FileError> {
        let (path, content) = (path.into(), content.into());
        self.on_disk(move |root| root.write(&path, &content, Some(is_executable))).await
    }

    /// Changes several files, or none: when one cannot be changed, those before it are put back.
    ///
    /// Goes on to its end when nobody waits for it any longer.
    ///
    /// # Errors
    ///
    /// When one cannot be changed; [`Unchanged::is_torn`] says when others could not be put back.
    pub async fn change(&self, changes: Vec<Change>) -> Result<(), Unchanged> {
        let root = self.0.clone();
        let done = tokio::task::spawn_blocking(move || root.change(&changes)).await;
        done.map_err(|panicked| Unchanged {
            path: PathBuf::new(),
            is_torn: true,
            source: io::Error::other(panicked).into(),
        })?
    }

    /// What is at a path; a link is not followed.
    ///
    /// # Errors
    ///
    /// When nothing is there, or the path is not beneath the tree.
    pub async fn entry(&self, path: impl Into<PathBuf>) -> Result<Entry, FileError> {
        let path = path.into();
        self.on_disk(move |root| {
            let (parent, name) = root.parent(&path)?;
            let found = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            Ok(Entry::new(name.into(), &found))
        })
        .await
    }

    /// The entries of a directory by name, at most `max`; the empty path is the tree itself.
    ///
    /// # Errors
    ///
    /// When it is no directory, has more entries, or is not beneath the tree.
    pub async fn list(&self, path: impl Into<PathBuf>, max: usize) -> Result<Vec<Entry>, FileError> {
        let path = path.into();
        self.on_disk(move |root| root.list(&path, max)).await
    }

    /// Removes a file, or a directory with all that is in it, however deep.
    ///
    /// # Errors
    ///
    /// When it is not there or not beneath the tree.
    pub async fn remove(&self, path: impl Into<PathBuf>) -> Result<(), FileError> {
        let path = path.into();
        self.on_disk(move |root| {
            let (parent, name) = root.parent(&path)?;
            fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            Ok(removal::remove(parent.as_fd(), name)?)
        })
        .await
    }

    /// Removes one file, link or empty directory.
    ///
    /// # Errors
    ///
    /// When it is not there, has something in it, or is not beneath the tree.
    pub async fn remove_one(&self, path: impl Into<PathBuf>) -> Result<(), FileError> {
        let path = path.into();
        self.on_disk(move |root| root.remove_one(&path)).await
    }

    /// Whether something is there: a file, a directory, or a link wherever it leads.
    ///
    /// # Errors
    ///
    /// When the path is not beneath the tree.
    pub async fn exists(&self, path: impl Into<PathBuf>) -> Result<bool, FileError> {
        let path = path.into();
        self.on_disk(move |root| {
            match root
                .parent(&path)
                .and_then(|(parent, name)| Ok(fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?))
            {
                Ok(_) => Ok(true),
                Err(FileError::Missing) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        let root = self.0.clone();
        tokio::task::spawn_blocking(move || work(&root)).await.map_err(io::Error::other)?
    }
}

impl Root {
    fn read(&self, path: &Path, max: u64) -> Result<Vec<u8>, FileError> {
        let file = self.reach(beneath(path)?, OFlag::O_RDONLY | OFlag::O_NONBLOCK)?;
        let found = regular(fstat(&file)?)?;
        if size(&found) > max {
            return Err(FileError::TooMuch(max));
        }
        let mut content = Vec::new();
        // It may grow while it is read.
        File::from(file).take(max.saturating_add(1)).read_to_end(&mut content)?;
        if u64::try_from(content.len()).unwrap_or(u64::MAX) > max {
            return Err(FileError::TooMuch(max));
        }
        Ok(content)
    }

    fn write(&self, path: &Path, content: &[u8], is_executable: Option<bool>) -> Result<(), FileError> {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        self.make_parents(path)?;
        let (parent, name) = self.parent(path)?;
        let mode = match fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => Mode::from_bits_truncate(regular(found)?.st_mode & 0o777),
            Err(Errno::ENOENT) => Mode::from_bits_truncate(0o644),
            Err(errno) => return Err(errno.into()),
        };
        let mode = match is_executable {
            Some(true) => mode | Mode::from_bits_truncate((mode.bits() & 0o444) >> 2),
            Some(false) => mode & !Mode::from_bits_truncate(0o111),
            None => mode,
        };
        let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
        let unfinished = PathBuf::from(format!("{UNFINISHED}{}-{number}", nix::unistd::getpid()));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let mut file = File::from(beneath_dir(&parent, &unfinished, flags, Mode::S_IRUSR | Mode::S_IWUSR)?);
        let done = file.write_all(content).map_err(FileError::from).and_then(|()| {
            self.hand_over(&file)?;
            fchmod(&file, mode)?;
            Ok(renameat(&parent, &unfinished, &parent, name)?)
        });
        if done.is_err() {
            let _ = unlinkat(&parent, &unfinished, UnlinkatFlags::NoRemoveDir);
        }
        done
    }

    fn change(&self, changes: &[Change]) -> Result<(), Unchanged> {
        for (at, change) in changes.iter().enumerate() {
            if let Err(source) = self.put(&change.path, change.after.as_ref()) {
                let done = changes.iter().take(at).rev();
                let put_back = done.map(|done| self.put(&done.path, done.before.as_ref()));
                // Every one is tried, also behind one that fails.
                let is_torn = put_back.filter(Result::is_err).count() > 0;
                return Err(Unchanged { path: change.path.clone(), is_torn, source });
            }
        }
        Ok(())
    }

    /// Makes a file what it is to be; nothing removes it.
    fn put(&self, path: &Path, version: Option<&Version>) -> Result<(), FileError> {
        match version {
            Some(version) => self.write(path, &version.content, Some(version.is_executable)),
            None => self.remove_one(path),
        }
    }

    fn remove_one(&self, path: &Path) -> Result<(), FileError> {
        let (parent, name) = self.parent(path)?;
        match unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir) {
            Err(Errno::EISDIR) => Ok(unlinkat(&parent, name, UnlinkatFlags::RemoveDir)?),
            removed => Ok(removed?),
        }
    }

    fn list(&self, path: &Path, max: usize) -> Result<Vec<Entry>, FileError> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { beneath(path)? };
        let mut dir = Dir::from_fd(self.reach(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name.to_vec()));
            }
            if names.len() > max {
                return Err(FileError::TooMuch(u64::try_from(max).unwrap_or(u64::MAX)));
            }
        }
        let entry = |name: OsString| {
            let found = fstatat(&dir, Path::new(&name), AtFlags::AT_SYMLINK_NOFOLLOW).ok()?;
            Some(Entry::new(name, &found))
        };
        let mut entries: Vec<Entry> = names.into_iter().filter_map(entry).collect();
        entries.sort();
        Ok(entries)
    }

    /// Opens something beneath the tree; the last part of the path is no link either.
    fn reach(&self, path: &Path, flags: OFlag) -> Result<OwnedFd, FileError> {
        beneath_dir(&self.dir, path, flags, Mode::empty())
    }

    /// The directory that holds a path, and the path's name in it.
    fn parent<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a Path), FileError> {
        let path = beneath(path)?;
        let name = path.file_name().map(Path::new).ok_or(FileError::Path("the path names no file"))?;
        let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok((self.reach(above, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?, name))
    }

    /// Makes the directories above a path that are not there.
    fn make_parents(&self, path: &Path) -> Result<(), FileError> {
        let above: Vec<&Path> =
            beneath(path)?.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()).collect();
        for dir in above.into_iter().rev() {
            let (parent, name) = self.parent(dir)?;
            match mkdirat(&parent, name, Mode::from_bits_truncate(0o755)) {
                Ok(()) => self.hand_over(self.reach(dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY)?)?,
                Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    fn hand_over(&self, file: impl AsFd) -> Result<(), FileError> {
        let Some(owner) = self.owner else { return Ok(()) };
        Ok(fchown(file, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)))?)
    }
}

/// A path that is relative, and names something beneath where it starts.
pub(super) fn beneath(path: &Path) -> Result<&Path, FileError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.is_empty() {
        return Err(FileError::Path("the path is empty"));
    }
    if bytes.contains(&0) {
        return Err(FileError::Path("the path has a zero byte"));
    }
    if bytes.len() >= PATH_MAX {
        return Err(FileError::Path("the path is too long"));
    }
    for part in path.components() {
        match part {
            Component::Normal(_) | Component::CurDir => {}
            Component::ParentDir => return Err(FileError::Path("the path has a `..`")),
            Component::RootDir | Component::Prefix(_) => return Err(FileError::Path("the path is absolute")),
        }
    }
    Ok(path)
}

/// Opens a path beneath a directory, over no link.
pub(super) fn beneath_dir(
    dir: impl AsFd,
    path: &Path,
    flags: OFlag,
    mode: Mode,
) -> Result<OwnedFd, FileError> {
    let resolve =
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    Ok(openat2(dir, path, OpenHow::new().flags(flags).mode(mode).resolve(resolve))?)
}

fn regular(found: FileStat) -> Result<FileStat, FileError> {
    if found.st_mode & S_IFMT == S_IFREG { Ok(found) } else { Err(FileError::Irregular) }
}

fn size(found: &FileStat) -> u64 {
    u64::try_from(found.st_size).unwrap_or(0)
}

fn kind_of(found: &FileStat) -> Kind {
    match found.st_mode & S_IFMT {
        S_IFREG => Kind::File,
        S_IFDIR => Kind::Directory,
        S_IFLNK => Kind::Link,
        _ => Kind::Other,
    }
}
