//! Repositories on a real disk, and the `git` program's opinion of them where it is installed.

mod hostile;
mod merges;
mod property;
mod reading;
mod states;
mod trees;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use cendriix_protocol::{
    ids::{RunId, WorkspaceId, compose},
    time::Timestamp,
};
use git2::{Oid, Repository, RepositoryInitOptions, Signature, Time};
use tempfile::TempDir;

use super::{Checkpoint, CommitId, Failure, Merge, Place, Repositories, Source, WorkTree};

const AT: Timestamp = Timestamp(1_780_000_000_000);

/// A data directory, and room beside it for what users have.
struct Desk {
    folder: TempDir,
    repositories: Repositories,
}

/// A repository on a desk.
struct Work {
    desk: Desk,
    source: Source,
}

fn run() -> RunId {
    RunId(compose(AT.0, 7, 0xfeed))
}

fn desk() -> Desk {
    let folder = tempfile::tempdir().unwrap();
    let repositories = Repositories::new(folder.path().join("data")).unwrap();
    Desk { folder, repositories }
}

/// A managed repository.
fn managed() -> Work {
    let source = Source::Managed { workspace: WorkspaceId(compose(1, 2, 3)), project: compose(AT.0, 5, 6) };
    Work { desk: desk(), source }
}

/// A user's repository, with `main` checked out and these files in it.
fn users(files: &[(&str, &str)]) -> Work {
    let desk = desk();
    let path = desk.folder.path().join("user");
    init(&path, "main");
    commit(&path, files);
    Work { desk, source: Source::Path(path) }
}

fn init(path: &Path, branch: &str) -> Repository {
    let repo = Repository::init_opts(path, RepositoryInitOptions::new().initial_head(branch)).unwrap();
    let mut config = repo.config().unwrap();
    config.set_str("user.name", "A user").unwrap();
    config.set_str("user.email", "user@example.com").unwrap();
    repo
}

/// Writes files into a user's checkout and commits them, as `git commit -a` would.
fn commit(path: &Path, files: &[(&str, &str)]) -> CommitId {
    let repo = Repository::open(path).unwrap();
    let mut index = repo.index().unwrap();
    for (name, content) in files {
        write(&path.join(name), content);
        index.add_path(Path::new(name)).unwrap();
    }
    index.write().unwrap();
    let tree = repo.find_tree(index.write_tree().unwrap()).unwrap();
    let parent = repo.head().ok().map(|head| head.peel_to_commit().unwrap());
    let author = Signature::new("A user", "user@example.com", &Time::new(1_700_000_000, 60)).unwrap();
    let parents: Vec<_> = parent.iter().collect();
    repo.commit(Some("HEAD"), &author, &author, "By hand", &tree, &parents).unwrap().into()
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn write_all(folder: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        write(&folder.join(name), content);
    }
}

impl Work {
    /// Where the user's checkout is.
    fn path(&self) -> &Path {
        match &self.source {
            Source::Path(path) => path,
            Source::Managed { .. } | Source::Remote { .. } => panic!("what is kept here has no checkout"),
        }
    }

    fn repo(&self) -> Repository {
        self.desk.repositories.home.open(&self.source).unwrap()
    }

    async fn head(&self) -> CommitId {
        self.desk.repositories.describe(&self.source).await.unwrap().head.unwrap()
    }

    async fn tree(&self, step: &str, bases: &[CommitId]) -> WorkTree {
        self.try_tree(step, bases).await.unwrap()
    }

    async fn try_tree(&self, step: &str, bases: &[CommitId]) -> Result<WorkTree, Failure> {
        let place = Place::new(run(), step, 1).unwrap();
        self.desk.repositories.tree(&self.source, place, bases).await
    }

    /// A step that writes these files and is done.
    async fn step(&self, step: &str, bases: &[CommitId], files: &[(&str, &str)]) -> CommitId {
        let tree = self.tree(step, bases).await;
        write_all(tree.path(), files);
        keep(&tree).await.commit
    }

    async fn merge(&self, commit: &CommitId, expected_main: Option<&CommitId>) -> Result<CommitId, Failure> {
        let (commit, expected_main) = (commit.clone(), expected_main.cloned());
        let wanted = Merge { commit, expected_main, message: "Merge a run".to_owned(), at: AT };
        self.desk.repositories.merge(&self.source, wanted).await
    }

    /// The text of a file in a commit.
    fn text(&self, commit: &CommitId, name: &str) -> Option<String> {
        let repo = self.repo();
        let tree = repo.find_commit(oid(commit)).unwrap().tree().unwrap();
        let blob = repo.find_blob(tree.get_path(Path::new(name)).ok()?.id()).unwrap();
        Some(String::from_utf8(blob.content().to_vec()).unwrap())
    }

    /// What the `git` program says here; none where it is not installed.
    fn git(&self, arguments: &[&str]) -> Option<String> {
        git(
            self.repo().path().parent().filter(|_| !self.repo().is_bare()).unwrap_or(self.repo().path()),
            arguments,
        )
    }

    /// Lets the `git` program check every object.
    fn is_sound(&self) {
        if let Some(said) = self.git(&["fsck", "--strict", "--full", "--no-dangling"]) {
            assert_eq!(said, "", "git fsck has something to say");
        }
    }
}

/// What the `git` program says; none where it is not installed.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(["-c", "safe.directory=*", "-c", "protocol.file.allow=always"])
        .args(["-c", "user.name=A user", "-c", "user.email=user@example.com"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .ok()?;
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "git {arguments:?}: {said}");
    Some(said)
}

async fn keep(tree: &WorkTree) -> Checkpoint {
    tree.checkpoint("Do a step", AT).await.unwrap()
}

fn oid(commit: &CommitId) -> Oid {
    commit.oid().unwrap()
}

/// What a file is, byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    File(Vec<u8>),
    Program(Vec<u8>),
    Link(OsString),
    EmptyFolder,
}

/// Everything in a folder but `.git`.
fn everything(folder: &Path) -> BTreeMap<PathBuf, Kind> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        let entries: Vec<_> = fs::read_dir(&next).unwrap().map(|entry| entry.unwrap().path()).collect();
        if entries.is_empty() && next != folder {
            found.insert(next.strip_prefix(folder).unwrap().to_owned(), Kind::EmptyFolder);
        }
        for path in entries.into_iter().filter(|path| path != &folder.join(".git")) {
            let about = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(folder).unwrap().to_owned();
            if about.is_dir() {
                waiting.push(path);
            } else if about.is_symlink() {
                found.insert(name, Kind::Link(fs::read_link(&path).unwrap().into_os_string()));
            } else {
                let content = fs::read(&path).unwrap();
                let is_program = about.permissions().mode() & 0o100 != 0;
                found.insert(name, if is_program { Kind::Program(content) } else { Kind::File(content) });
            }
        }
    }
    found
}

fn file(content: &str) -> Kind {
    Kind::File(content.as_bytes().to_vec())
}

fn name(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
