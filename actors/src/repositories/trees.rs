//! The folder in which an attempt of a step works: plain files, with git's own folder out of reach.
//!
//! **Invariant:** a tree begins as exactly its base, whatever a former process left in its place.

use std::{
    fs,
    path::{Path, PathBuf},
};

use cendriix_protocol::{ids, time::Timestamp};
use git2::Repository;

use super::{
    CommitId, Failure, Place, Repositories, Source, blocking, commits,
    failure::io,
    hidden,
    joins::{self, Joined},
    read, write,
};

/// A work tree.
#[derive(Clone, Debug)]
pub struct WorkTree {
    repositories: Repositories,
    source: Source,
    place: Place,
    path: PathBuf,
    base: CommitId,
    conflicts: Vec<String>,
}

/// What a work tree held at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The commit that holds it; the base itself when nothing has changed.
    pub commit: CommitId,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

impl WorkTree {
    /// Where its files are.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The commit it began from: the one base, or what several bases were joined to.
    pub fn base(&self) -> &CommitId {
        &self.base
    }

    /// The files in which what it began from contradicts itself: texts with both sides between marks, and
    /// one side of anything else.
    pub fn conflicts(&self) -> &[String] {
        &self.conflicts
    }

    /// Makes it exactly its base again; nothing that was added stays, ignored files neither.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub async fn reset(&self) -> Result<(), Failure> {
        let tree = self.clone();
        blocking(move || {
            let home = &tree.repositories.home;
            let repo = home.open(&tree.source)?;
            let _alone = home.working(&tree.path);
            write_out(&repo, &tree.path, &tree.base)
        })
        .await
    }

    /// Keeps what it holds as a commit on top of its base, under the hidden reference of its place. A base
    /// that contradicts itself is replaced by the commit, so that no marks stay in the history.
    ///
    /// # Errors
    ///
    /// When it holds too much, or the disk refuses.
    pub async fn checkpoint(&self, message: impl Into<String>, at: Timestamp) -> Result<Checkpoint, Failure> {
        let (tree, message) = (self.clone(), message.into());
        blocking(move || {
            let home = &tree.repositories.home;
            let repo = home.open(&tree.source)?;
            let _alone = home.working(&tree.path);
            let base = commits::find(&repo, &tree.base)?;
            let (id, notes) = read::folder(&repo, &tree.path, &base.tree()?)?;
            let of_base: Vec<_> = base.parents().collect();
            let parents = if tree.conflicts.is_empty() { vec![&base] } else { of_base.iter().collect() };
            let commit = if id == base.tree_id() {
                base.id()
            } else {
                commits::write(&repo, &repo.find_tree(id)?, &parents, &message, at)?
            };
            let _writing = home.writing(&repo);
            hidden::hold(&repo, &tree.place.checkpoint(), commit)?;
            Ok(Checkpoint { commit: commit.into(), notes })
        })
        .await
    }

    /// Removes the folder; its checkpoint stays.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub async fn remove(self) -> Result<(), Failure> {
        blocking(move || {
            let _alone = self.repositories.home.working(&self.path);
            write::discard(&self.path)
        })
        .await
    }
}

/// Makes the folder of a place from commits; none of them is the empty tree.
pub(super) fn plant(
    repositories: Repositories,
    source: Source,
    place: Place,
    bases: &[CommitId],
) -> Result<WorkTree, Failure> {
    let home = &repositories.home;
    let path = home.trees().join(place.folder());
    let repo = home.open(&source)?;
    let alone = home.working(&path);
    let Joined { commit: base, conflicts } = match bases {
        [] => {
            let commit = commits::empty(&repo, Timestamp(ids::millis_of(place.run().0)))?;
            Joined { commit, conflicts: Vec::new() }
        }
        bases => joins::marked(&repo, bases)?,
    };
    if bases.len() != 1 {
        let _writing = home.writing(&repo);
        hidden::hold(&repo, &place.base(), base)?;
    }
    let base = CommitId::from(base);
    write_out(&repo, &path, &base)?;
    drop(alone);
    Ok(WorkTree { repositories, source, place, path, base, conflicts })
}

/// Makes the folder of a place as one of its checkpoints left it.
pub(super) fn replant(
    repositories: Repositories,
    source: Source,
    place: Place,
    (base, conflicts): (CommitId, Vec<String>),
    at: &CommitId,
) -> Result<WorkTree, Failure> {
    let home = &repositories.home;
    let path = home.trees().join(place.folder());
    let repo = home.open(&source)?;
    let alone = home.working(&path);
    write_out(&repo, &path, at)?;
    drop(alone);
    Ok(WorkTree { repositories, source, place, path, base, conflicts })
}

fn write_out(repo: &Repository, path: &Path, base: &CommitId) -> Result<(), Failure> {
    write::discard(path)?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(io(format_args!("make {}", parent.display())))?;
    }
    write::out(repo, &commits::find(repo, base)?.tree()?, path)
}
