//! A run's commit becomes part of the main branch.

use cendriix_protocol::time::Timestamp;
use git2::{Oid, Repository};

use super::{CommitId, Failure, branches, commits, describe::default_branch, home::Home};

/// What is to be merged.
#[derive(Clone, Debug)]
pub struct Merge {
    /// The commit whose changes become part of the main branch.
    pub commit: CommitId,
    /// Where the main branch was when somebody decided about it; none when there was no such branch.
    pub expected_main: Option<CommitId>,
    /// The message of the merge.
    pub message: String,
    /// Its instant.
    pub at: Timestamp,
}

/// Merges, once: a lost race is for the caller to repeat. What is merged already stays as it is.
///
/// The merge is a commit of its own also where the branch could simply be moved forward, so that the run
/// stays visible.
pub(super) fn merge(home: &Home, repo: &Repository, wanted: &Merge) -> Result<Oid, Failure> {
    let Made { branch, main, merged } = make(repo, wanted)?;
    if main != Some(merged) {
        branches::advance(home, repo, &branch, main, merged)?;
    }
    Ok(merged)
}

/// A merge that no branch leads to yet.
pub(super) struct Made {
    /// The full name of the main branch.
    pub(super) branch: String,
    /// Where it is.
    pub(super) main: Option<Oid>,
    /// Where it would be: the same, for what is merged already.
    pub(super) merged: Oid,
}

/// Makes the commit of a merge.
pub(super) fn make(repo: &Repository, wanted: &Merge) -> Result<Made, Failure> {
    let branch = default_branch(repo)?;
    let commit = commits::find(repo, &wanted.commit)?;
    let main = commits::tip(repo, &branch)?;
    let merged = match main {
        None => commit.id(),
        Some(main) if commits::contains(repo, main, commit.id())? => main,
        Some(main) => {
            let has_moved = wanted.expected_main != Some(main.into());
            let main = repo.find_commit(main)?;
            let tree = commits::both(repo, &main, &commit)?.map_err(|conflicts| {
                if has_moved {
                    Failure::MainMoved { conflicts }
                } else {
                    Failure::Conflict { paths: conflicts }
                }
            })?;
            commits::write(repo, &tree, &[&main, &commit], &wanted.message, wanted.at)?
        }
    };
    Ok(Made { branch, main, merged })
}

/// Whether a commit is part of the main branch.
pub(super) fn contains(repo: &Repository, commit: &CommitId) -> Result<bool, Failure> {
    let commit = commits::find(repo, commit)?.id();
    match commits::tip(repo, &default_branch(repo)?)? {
        None => Ok(false),
        Some(main) => Ok(commits::contains(repo, main, commit)?),
    }
}
