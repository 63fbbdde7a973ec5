//! Commits: found, written and joined, without a checkout.
//!
//! **Invariant:** the same content, parents, message and instant give the same commit, so work that is
//! repeated after a crash arrives where it was.

use cendriix_protocol::time::Timestamp;
use git2::{Commit, ErrorCode, Oid, Repository, Signature, Time, Tree};

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
    let mut conflicts = Vec::new();
    for conflict in index.conflicts()? {
        let conflict = conflict?;
        let sides = [conflict.our, conflict.their, conflict.ancestor];
        conflicts.extend(sides.into_iter().flatten().next().map(|side| shown(&side.path)));
    }
    conflicts.sort();
    conflicts.dedup();
    if conflicts.is_empty() {
        Ok(Ok(repo.find_tree(index.write_tree_to(repo)?)?))
    } else {
        Ok(Err(conflicts))
    }
}

/// Joins commits in the order given; one that holds the others already is the answer itself.
pub(super) fn join(repo: &Repository, bases: &[CommitId]) -> Result<Oid, Failure> {
    let [first, others @ ..] = bases else {
        return Err(Failure::Refused("there is no commit to join".to_owned()));
    };
    let mut joined = find(repo, first)?;
    for other in others {
        let other = find(repo, other)?;
        if contains(repo, joined.id(), other.id())? {
            continue;
        }
        if contains(repo, other.id(), joined.id())? {
            joined = other;
            continue;
        }
        let tree = both(repo, &joined, &other)?.map_err(|paths| Failure::Conflict { paths })?;
        // The later of the two instants: no clock takes part, so that the join is the same each time.
        let seconds = joined.time().seconds().max(other.time().seconds());
        let at = Timestamp(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
        let message = format!("Join {:.10} and {:.10}", joined.id(), other.id());
        joined = repo.find_commit(write(repo, &tree, &[&joined, &other], &message, at)?)?;
    }
    Ok(joined.id())
}
