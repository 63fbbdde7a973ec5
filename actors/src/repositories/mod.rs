//! Git repositories that runs work in: state, work trees, checkpoints, merging; the `git` program is needed
//! only where another server is talked to.
//!
//! ```text
//! main ──────────────────────────── merge: compare-and-set, the checkout on it brought along
//!   └ tree(bases) ─ checkpoint ─┐   work trees are plain folders below <data>/trees
//!   └ tree(bases) ─ checkpoint ─┴ join   checkpoints are hidden refs/cendriix/<run>/<step>/<attempt>
//! ```
//!
//! Whoever calls has checked that the caller may use the source; a path is opened with the rights of the
//! server.
//!
//! **Invariant:** a user's checkout, index and configuration are never touched, but for a clean checkout of
//! the branch that is merged into.

mod address;
mod branches;
mod commits;
mod describe;
mod diff;
mod failure;
mod heads;
mod hidden;
mod home;
mod ignored;
mod joins;
mod merge;
mod names;
mod program;
mod read;
mod remote;

#[cfg(test)]
mod tests;
mod trees;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use cendriix_protocol::{
    ids::{self, RunId, WorkspaceId},
    time::Timestamp,
};
use git2::Repository;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::{
    address::Address,
    describe::Description,
    diff::{Change, ChangedFile, Diff, PATCH_MAX},
    failure::Failure,
    hidden::Verified,
    merge::Merge,
    names::{CommitId, NoCommitId, Place},
    program::probe as probe_git,
    remote::Remotes,
    trees::{Checkpoint, WorkTree},
};
use self::{home::Home, remote::Far};

/// How often a lost race is run again.
const RACES_MAX: u32 = 3;
/// How long the winner of a race is given to end, the first time; then twice as long.
const RACE_PAUSE: Duration = Duration::from_millis(50);

/// Which repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Source {
    /// The one of a project, in the data directory.
    Managed {
        /// The tenant.
        workspace: WorkspaceId,
        /// The project.
        project: Uuid,
    },
    /// One on another server, with a mirror in the data directory.
    Remote {
        /// The tenant, whose mirror it is.
        workspace: WorkspaceId,
        /// Where it is.
        address: Address,
    },
    /// One that a user has, as [`Repositories::open_path`] gave it.
    Path(PathBuf),
}

/// The repositories below a data directory, and those elsewhere that users name. A clone is the same.
#[derive(Clone, Debug)]
pub struct Repositories {
    home: Arc<Home>,
    far: Arc<Far>,
}

impl Repositories {
    /// Keeps repositories and work trees below `root`, the data directory. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn new(root: PathBuf) -> Result<Self, Failure> {
        Self::reaching(root, Remotes::default())
    }

    /// The same, and reaches repositories on other servers like that.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn reaching(root: PathBuf, remotes: Remotes) -> Result<Self, Failure> {
        Ok(Self { home: Arc::new(Home::new(root)?), far: Arc::new(Far::new(remotes)) })
    }

    /// The repository that a path is in.
    ///
    /// # Errors
    ///
    /// When it is in none, or in one that the server does not trust or cannot read.
    pub async fn open_path(&self, path: &Path) -> Result<Source, Failure> {
        let path = path.to_owned();
        blocking(move || {
            let repo = home::around(&path)?;
            let path = repo.workdir().unwrap_or(repo.path());
            match path.to_str() {
                Some(_) => Ok(Source::Path(path.to_owned())),
                None => Err(Failure::Refused(format!(
                    "{} is no UTF-8; give the folder another name",
                    path.display()
                ))),
            }
        })
        .await
    }

    /// Every repository that is kept here, managed ones and mirrors.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub async fn kept(&self) -> Result<Vec<Source>, Failure> {
        let home = Arc::clone(&self.home);
        blocking(move || home.managed()).await
    }

    /// The state of a repository.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or its main branch cannot be told.
    pub async fn describe(&self, source: &Source) -> Result<Description, Failure> {
        self.reading(source, describe::describe).await
    }

    /// A work tree for an attempt: one base, several joined in the order given, or none for the empty tree.
    /// Where they contradict each other, [`WorkTree::conflicts`] says so.
    ///
    /// # Errors
    ///
    /// When a commit is not there, or the disk refuses.
    pub async fn tree(&self, source: &Source, place: Place, bases: &[CommitId]) -> Result<WorkTree, Failure> {
        let (repositories, source, bases) = (self.clone(), source.clone(), bases.to_vec());
        blocking(move || trees::plant(repositories, source, place, &bases)).await
    }

    /// The work tree of an attempt as it was at one of its checkpoints; it still began from `base`, with its
    /// `conflicts`.
    ///
    /// # Errors
    ///
    /// When a commit is not there, or the disk refuses.
    pub async fn tree_at(
        &self,
        source: &Source,
        place: Place,
        base: &CommitId,
        conflicts: &[String],
        at: &CommitId,
    ) -> Result<WorkTree, Failure> {
        let (repositories, source) = (self.clone(), source.clone());
        let (base, at) = ((base.clone(), conflicts.to_vec()), at.clone());
        blocking(move || trees::replant(repositories, source, place, base, &at)).await
    }

    /// Removes the folder of an attempt, whoever made it; its checkpoint stays.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub async fn discard(&self, place: Place) -> Result<(), Failure> {
        let home = Arc::clone(&self.home);
        blocking(move || {
            let path = home.trees().join(place.folder());
            let _alone = home.working(&path);
            write::discard(&path)?;
            // The run's own folder goes with its last tree.
            if let Some(run) = path.parent() {
                drop(std::fs::remove_dir(run));
            }
            Ok(())
        })
        .await
    }

    /// The checkpoint of an attempt, when there is one.
    ///
    /// # Errors
    ///
    /// When the repository cannot be read.
    pub async fn checkpoint(&self, source: &Source, place: Place) -> Result<Option<CommitId>, Failure> {
        self.reading(source, move |repo| Ok(hidden::checkpoint(repo, &place)?.map(CommitId::from))).await
    }

    /// Joins commits in the order given. The answer is held by nothing until a tree begins from it.
    ///
    /// # Errors
    ///
    /// [`Failure::Conflict`] when they contradict each other.
    pub async fn join(&self, source: &Source, bases: &[CommitId]) -> Result<CommitId, Failure> {
        let bases = bases.to_vec();
        self.reading(source, move |repo| Ok(joins::join(repo, &bases)?.into())).await
    }

    /// Those of the files of a commit in which marks of a conflict are left.
    ///
    /// # Errors
    ///
    /// When the commit is not there.
    pub async fn marks_left(
        &self,
        source: &Source,
        commit: &CommitId,
        paths: &[String],
    ) -> Result<Vec<String>, Failure> {
        let (commit, paths) = (commit.clone(), paths.to_vec());
        self.reading(source, move |repo| joins::marks_left(repo, &commit, &paths)).await
    }

    /// The commit without files that work begins from where nothing is; the same for a run each time.
    ///
    /// # Errors
    ///
    /// When the repository cannot be written to.
    pub async fn beginning(&self, source: &Source, run: RunId) -> Result<CommitId, Failure> {
        self.reading(source, move |repo| Ok(commits::empty(repo, Timestamp(ids::millis_of(run.0)))?.into()))
            .await
    }

    /// What differs between two commits.
    ///
    /// # Errors
    ///
    /// When one of them is not there.
    pub async fn diff(&self, source: &Source, from: &CommitId, to: &CommitId) -> Result<Diff, Failure> {
        let (from, to) = (from.clone(), to.clone());
        self.reading(source, move |repo| diff::diff(repo, &from, &to)).await
    }

    /// Puts the branch that shows a run to people at a commit, and gives the branch's name.
    ///
    /// # Errors
    ///
    /// When somebody else has added commits to that branch, or has it checked out with changes.
    pub async fn show(
        &self,
        source: &Source,
        run: RunId,
        title: &str,
        commit: &CommitId,
    ) -> Result<String, Failure> {
        // Held, so that it counts as the run's own when the branch is to show another one in its place.
        let held = commit.clone();
        self.writing(source, move |_, repo| Ok(hidden::hold(repo, &names::shown(run, &held), held.oid()?)?))
            .await?;
        if let Source::Remote { address, .. } = source {
            return self.show_there(source, address, run, title, commit).await;
        }
        let (title, commit) = (title.to_owned(), commit.clone());
        self.racing(source, move |home, repo| {
            let commit = commits::find(repo, &commit)?.id();
            branches::show(home, repo, run, &title, commit)
        })
        .await
    }

    /// Merges a commit into the main branch and gives that branch's new commit; what is merged already stays
    /// as it is.
    ///
    /// # Errors
    ///
    /// [`Failure::Conflict`], [`Failure::MainMoved`], [`Failure::Dirty`], [`Failure::InTheWay`] and
    /// [`Failure::Raced`] say what a person can do; then nothing has changed. After [`Failure::Unknown`]
    /// [`Repositories::merged_as`] tells.
    pub async fn merge(&self, source: &Source, wanted: Merge) -> Result<CommitId, Failure> {
        if let Source::Remote { address, .. } = source {
            return self.merge_there(source, address, wanted).await;
        }
        self.racing(source, move |home, repo| Ok(merge::merge(home, repo, &wanted)?.into())).await
    }

    /// Whether a path leads into what is kept here.
    pub fn owns(&self, path: &Path) -> bool {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        real(path).starts_with(real(&self.home.root()))
    }

    /// Whether a repository has a commit. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// When the repository cannot be opened.
    pub fn holds(&self, source: &Source, commit: &CommitId) -> Result<bool, Failure> {
        match commits::find(&self.home.open(source)?, commit) {
            Ok(_) => Ok(true),
            Err(Failure::NoCommit(_)) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Where a repository is on the disk.
    pub fn path(&self, source: &Source) -> PathBuf {
        self.home.path(source)
    }

    /// The commit with which another one became part of the main branch, on its server when it is on another
    /// one: whether, and as what, an interrupted merge happened.
    ///
    /// # Errors
    ///
    /// When the commit is not there, or the server cannot be asked.
    pub async fn merged_as(&self, source: &Source, commit: &CommitId) -> Result<Option<CommitId>, Failure> {
        self.refresh(source).await?;
        let commit = commit.clone();
        self.reading(source, move |repo| Ok(merge::merged_as(repo, &commit)?.map(CommitId::from))).await
    }

    /// Removes the checkpoints and work trees of a run; the branch that shows it stays.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub async fn forget(&self, source: &Source, run: RunId) -> Result<(), Failure> {
        self.writing(source, move |home, repo| {
            hidden::forget(repo, run)?;
            write::discard(&home.trees().join(run.to_string()))
        })
        .await
    }

    /// Reads everything that checkpoints hold.
    ///
    /// # Errors
    ///
    /// When the repository cannot be opened; what is wrong in it is the answer.
    pub async fn verify(&self, source: &Source) -> Result<Verified, Failure> {
        self.reading(source, hidden::verify).await
    }

    async fn reading<T: Send + 'static>(
        &self,
        source: &Source,
        work: impl FnOnce(&Repository) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (home, source) = (Arc::clone(&self.home), source.clone());
        blocking(move || work(&home.open(&source)?)).await
    }

    async fn writing<T: Send + 'static>(
        &self,
        source: &Source,
        work: impl FnOnce(&Home, &Repository) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (home, source) = (Arc::clone(&self.home), source.clone());
        blocking(move || {
            let repo = home.open(&source)?;
            let _alone = home.writing(&repo);
            work(&home, &repo)
        })
        .await
    }

    /// Does work that somebody outside may race with.
    async fn racing<T: Send + 'static>(
        &self,
        source: &Source,
        work: impl Fn(&Home, &Repository) -> Result<T, Failure> + Send + Sync + 'static,
    ) -> Result<T, Failure> {
        let work = Arc::new(work);
        let mut pause = RACE_PAUSE;
        for _ in 0..RACES_MAX {
            let work = Arc::clone(&work);
            match self.writing(source, move |home, repo| work(home, repo)).await {
                Err(Failure::Raced(_)) => tokio::time::sleep(pause).await,
                done => return done,
            }
            pause *= 2;
        }
        self.writing(source, move |home, repo| work(home, repo)).await
    }
}

/// Does work that waits for the disk, without holding up others.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Failure::Stopping))
}
