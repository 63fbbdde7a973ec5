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
/// What is merged was made for the main branch as it was expected, and is merged into nothing else.
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
        Some(main) if wanted.expected_main != Some(main.into()) => {
            return Err(Failure::MainMoved { main: main.into() });
        }
        Some(main) => {
            let main = repo.find_commit(main)?;
            let tree = commits::both(repo, &main, &commit)?;
            let tree = tree.map_err(|paths| Failure::Conflict { paths })?;
            commits::write(repo, &tree, &[&main, &commit], &wanted.message, wanted.at)?
        }
    };
    Ok(Made { branch, main, merged })
}

/// The commit with which another one became part of the main branch; none when it is not part of it.
pub(super) fn merged_as(repo: &Repository, commit: &CommitId) -> Result<Option<Oid>, Failure> {
    let commit = commits::find(repo, commit)?.id();
    let Some(main) = commits::tip(repo, &default_branch(repo)?)? else { return Ok(None) };
    if !commits::contains(repo, main, commit)? {
        return Ok(None);
    }
    let mut merged = main;
    while let Some(before) = repo.find_commit(merged)?.parent_ids().next() {
        if !commits::contains(repo, before, commit)? {
            break;
        }
        merged = before;
    }
    Ok(Some(merged))
}
