//! Commits: found, written and merged, without a checkout.
//!
//! **Invariant:** the same content, parents, message and instant give the same commit, so work that is
//! repeated after a crash arrives where it was.

use std::collections::BTreeSet;

use cendriix_protocol::time::Timestamp;
use git2::{Commit, ErrorCode, IndexConflict, Oid, Repository, Signature, Time, Tree};

use super::{
    CommitId, Failure,
    failure::{shown, when},
};

/// Who writes commits.
const AUTHOR: (&str, &str) = ("cendriix", "noreply@localhost");

/// Finds a commit.
pub(super) fn find<'r>(repo: &'r Repository, id: &CommitId) -> Result<Commit<'r>, Failure> {
    repo.find_commit(id.oid()?).map_err(when(ErrorCode::NotFound, || Failure::NoCommit(id.clone())))
}

/// The commit that a reference leads to; `None` when there is no such reference.
pub(super) fn tip(repo: &Repository, reference: &str) -> Result<Option<Oid>, git2::Error> {
    match repo.refname_to_id(reference) {
        Ok(tip) => Ok(Some(tip)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether `part` is `whole` or one of its ancestors.
pub(super) fn contains(repo: &Repository, whole: Oid, part: Oid) -> Result<bool, git2::Error> {
    Ok(whole == part || repo.graph_descendant_of(whole, part)?)
}

/// Writes a commit that no reference leads to.
pub(super) fn write(
    repo: &Repository,
    tree: &Tree<'_>,
    parents: &[&Commit<'_>],
    message: &str,
    at: Timestamp,
) -> Result<Oid, git2::Error> {
    let (name, mail) = AUTHOR;
    let seconds = i64::try_from(at.0 / 1_000).unwrap_or(i64::MAX);
    let author = Signature::new(name, mail, &Time::new(seconds, 0))?;
    repo.commit(None, &author, &author, message, tree, parents)
}

/// Writes the commit from which work begins where nothing is: no files, no parent.
pub(super) fn empty(repo: &Repository, at: Timestamp) -> Result<Oid, git2::Error> {
    let tree = repo.find_tree(repo.treebuilder(None)?.write()?)?;
    write(repo, &tree, &[], "Begin", at)
}

/// The tree that holds the changes of both, or the paths in which they contradict each other.
pub(super) fn both<'r>(
    repo: &'r Repository,
    ours: &Commit<'_>,
    theirs: &Commit<'_>,
) -> Result<Result<Tree<'r>, Vec<String>>, git2::Error> {
    let mut index = repo.merge_commits(ours, theirs, None)?;
    let mut conflicts = BTreeSet::new();
    for conflict in index.conflicts()? {
        conflicts.extend(paths(&conflict?).into_iter().map(shown));
    }
    let conflicts = Vec::from_iter(conflicts);
    if conflicts.is_empty() {
        Ok(Ok(repo.find_tree(index.write_tree_to(repo)?)?))
    } else {
        Ok(Err(conflicts))
    }
}

/// The names of a file in which commits contradict each other; its sides have names of their own where it was
/// renamed.
pub(super) fn paths(conflict: &IndexConflict) -> BTreeSet<&[u8]> {
    let sides = [&conflict.ancestor, &conflict.our, &conflict.their].into_iter().flatten();
    sides.map(|side| side.path.as_slice()).collect()
}
