//! Where repositories are, and how one is opened.
//!
//! A managed repository is bare: nobody checks anything out in it, so its main branch moves without a
//! checkout to bring along, and it can be cloned from and pushed to by its path.
//!
//! **Invariant:** what is written through a repository that was opened here is synced before it is answered
//! for.
//! **Invariant:** the references of a repository are written by one thread of this process at a time, and so
//! is a folder; others on the machine meet git's locks.

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use cendriix_protocol::{
    ids::{self, WorkspaceId},
    time::Timestamp,
};
use git2::{ConfigLevel, ErrorCode, Repository, RepositoryInitOptions};
use uuid::Uuid;

use super::{
    Address, Failure, Source, commits,
    failure::{io, when},
    names, write,
};
use crate::audit;

/// What holds for every repository, above its own configuration: objects and references are synced, and names
/// that stand for `.git` on other systems are refused.
const SETTINGS: &str = "[core]\n\tfsyncObjectFiles = true\n\tprotectHFS = true\n\tprotectNTFS = true\n";
/// How many repositories are written to at once, and how many work trees.
const LANES: usize = 32;

/// The repositories and work trees below one data directory.
#[derive(Debug)]
pub(super) struct Home {
    root: PathBuf,
    settings: PathBuf,
    /// Those that were opened before, in which no lock of a former process is left.
    known: Mutex<BTreeSet<PathBuf>>,
    writers: Lanes,
    workers: Lanes,
}

/// Locks by path. Two paths may share one, so nobody holds two of the same set.
#[derive(Debug, Default)]
struct Lanes([Mutex<()>; LANES]);

impl Lanes {
    fn lane(&self, path: &Path) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let lane = usize::try_from(hasher.finish() % (LANES as u64)).unwrap_or(0);
        self.0[lane].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Home {
    pub(super) fn new(root: PathBuf) -> Result<Self, Failure> {
        let settings = root.join("repositories/settings");
        fs::create_dir_all(root.join("repositories"))
            .and_then(|()| fs::write(&settings, SETTINGS))
            .map_err(io(format_args!("prepare {} for repositories", root.display())))?;
        Ok(Self {
            root,
            settings,
            known: Mutex::default(),
            writers: Lanes::default(),
            workers: Lanes::default(),
        })
    }

    /// The folder of it all.
    pub(super) fn root(&self) -> PathBuf {
        self.root.clone()
    }

    /// Where the work trees are.
    pub(super) fn trees(&self) -> PathBuf {
        self.root.join("trees")
    }

    /// Where a repository is.
    pub(super) fn path(&self, source: &Source) -> PathBuf {
        match source {
            Source::Path(path) => path.clone(),
            Source::Managed { workspace, project } => {
                self.root.join(format!("repositories/{workspace}/{project}"))
            }
            Source::Remote { workspace, address } => {
                self.root.join(format!("repositories/{workspace}/{}", mirror(*workspace, address)))
            }
        }
    }

    /// Every repository that is kept here; mirrors of others too, by the ids of their folders.
    pub(super) fn managed(&self) -> Result<Vec<Source>, Failure> {
        let mut found = Vec::new();
        for (workspace, path) in ids_in(&self.root.join("repositories"))? {
            let projects = ids_in(&path)?.into_iter();
            found.extend(
                projects.map(|(project, _)| Source::Managed { workspace: workspace.into(), project }),
            );
        }
        found.sort();
        Ok(found)
    }

    /// Opens a repository; one that is kept here comes to be with that.
    pub(super) fn open(&self, source: &Source) -> Result<Repository, Failure> {
        let (repo, ours) = match source {
            Source::Path(path) => (at(path)?, names::HIDDEN),
            Source::Managed { .. } | Source::Remote { .. } => {
                let path = self.path(source);
                if !path.exists() {
                    let _one_at_a_time = self.known();
                    self.create(&path, source)?;
                }
                (Repository::open(path)?, "")
            }
        };
        let mut known = self.known();
        if !known.contains(repo.commondir()) {
            break_locks(&repo.commondir().join(ours))?;
            known.insert(repo.commondir().to_owned());
        }
        drop(known);
        self.with_settings(repo)
    }

    /// Opens what belongs to a repository: its own checkout, or a linked one.
    pub(super) fn with_settings(&self, repo: Repository) -> Result<Repository, Failure> {
        let mut config = repo.config()?;
        config.add_file(&self.settings, ConfigLevel::App, true)?;
        repo.set_config(&config)?;
        Ok(repo)
    }

    /// Waits until nobody else in this process writes references of the repository.
    pub(super) fn writing(&self, repo: &Repository) -> MutexGuard<'_, ()> {
        self.writers.lane(repo.commondir())
    }

    /// Waits until nobody else in this process works on a folder; to be asked before [`Home::writing`].
    pub(super) fn working(&self, folder: &Path) -> MutexGuard<'_, ()> {
        self.workers.lane(folder)
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a repository beside its place and renames it, so that half of one is never opened. A mirror
    /// begins with nothing, a managed one with an empty commit.
    fn create(&self, path: &Path, source: &Source) -> Result<(), Failure> {
        if path.exists() {
            return Ok(());
        }
        let draft = path.with_extension("draft");
        write::discard(&draft)?;
        let mut options = RepositoryInitOptions::new();
        options.bare(true).mkpath(true).external_template(false).initial_head("main");
        let repo = self.with_settings(Repository::init_opts(&draft, &options)?)?;
        if let Source::Managed { project, .. } = source {
            let first = commits::empty(&repo, Timestamp(ids::millis_of(*project)))?;
            repo.reference("refs/heads/main", first, false, "begin")?;
        }
        let written = ["HEAD", "config", "objects", "refs/heads", "refs", ""].iter();
        let folders = path.ancestors().skip(1).take(3).map(Path::to_owned);
        written
            .map(|name| draft.join(name))
            .try_for_each(|name| sync(&name))
            .and_then(|()| fs::rename(&draft, path))
            .and_then(|()| folders.into_iter().try_for_each(|folder| sync(&folder)))
            .map_err(io(format_args!("make a repository at {}", path.display())))
    }
}

/// The id of a workspace's mirror of a repository on another server.
fn mirror(workspace: WorkspaceId, address: &Address) -> Uuid {
    let named = [workspace.0.as_bytes().as_slice(), b"remote", address.as_str().as_bytes()].concat();
    let mut digest = [0; 16];
    digest.copy_from_slice(&audit::sha256(&named)[..16]);
    ids::derive(workspace.0, u128::from_be_bytes(digest))
}

fn sync(path: &Path) -> std::io::Result<()> {
    fs::File::open(path)?.sync_all()
}

/// The repository that a path is in, or is.
pub(super) fn around(path: &Path) -> Result<Repository, Failure> {
    found(path, Repository::discover(path))
}

/// The repository at a path. A source is not looked for further up: when it is gone, what is around it is
/// another one.
fn at(path: &Path) -> Result<Repository, Failure> {
    found(path, Repository::open(path))
}

fn found(path: &Path, repo: Result<Repository, git2::Error>) -> Result<Repository, Failure> {
    let place = path.display();
    let trust = format!("if you trust it, run `git config --global --add safe.directory {place}`");
    match repo {
        Err(error) if error.code() == ErrorCode::NotFound => Err(Failure::NoRepository(path.to_owned())),
        repo => repo.map_err(when(ErrorCode::Owner, || {
            Failure::Refused(format!("{place} belongs to somebody else; {trust}"))
        })),
    }
}

/// The folders whose names are ids.
fn ids_in(path: &Path) -> Result<Vec<(Uuid, PathBuf)>, Failure> {
    let failed = || io(format!("list {}", path.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed())? {
        let entry = entry.map_err(failed())?;
        found.extend(
            entry.file_name().to_str().and_then(|name| name.parse().ok()).map(|id| (id, entry.path())),
        );
    }
    Ok(found)
}

/// Removes locks of references that a killed process of ours left behind, in a folder where nobody but us
/// takes any.
fn break_locks(folder: &Path) -> Result<(), Failure> {
    let failed = || io(format!("look for abandoned locks in {}", folder.display()));
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed())?,
    };
    for entry in entries {
        let entry = entry.map_err(failed())?;
        let is_folder = entry.file_type().map_err(failed())?.is_dir();
        if is_folder && entry.file_name() != "objects" {
            break_locks(&entry.path())?;
        } else if !is_folder && entry.path().extension().is_some_and(|end| end == "lock") {
            fs::remove_file(entry.path()).map_err(failed())?;
        }
    }
    Ok(())
}
