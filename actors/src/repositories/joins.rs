//! Commits joined to one, and marks where they contradict each other.
//!
//! **Invariant:** the same commits in the same order are joined to the same commit, so work that is repeated
//! after a crash arrives where it was.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use cendriix_protocol::time::Timestamp;
use git2::{
    Commit, ErrorCode, Index, IndexConflict, IndexEntry, MergeFileInput, MergeFileOptions, Oid, Repository,
    Tree,
};

use super::{CommitId, Failure, commits, failure::shown};

/// What begins the line above the two sides of a conflict, and the one below them.
const MARKS: [&[u8]; 2] = [b"<<<<<<< ", b">>>>>>> "];

/// In how many files commits may contradict each other.
const CONFLICTS_MAX: usize = 500;

/// What commits were joined to.
pub(super) struct Joined {
    pub(super) commit: Oid,
    /// The files in which they contradict each other. In texts both sides stand between marks; of other files
    /// one side is there.
    pub(super) conflicts: Vec<String>,
}

/// Joins commits in the order given; one that holds the others already is the answer itself.
pub(super) fn join(repo: &Repository, bases: &[CommitId]) -> Result<Oid, Failure> {
    let Joined { commit, conflicts } = marked(repo, bases)?;
    if conflicts.is_empty() { Ok(commit) } else { Err(Failure::Conflict { paths: conflicts }) }
}

/// The same, with marks where the commits contradict each other.
pub(super) fn marked(repo: &Repository, bases: &[CommitId]) -> Result<Joined, Failure> {
    let heads = heads(repo, bases)?;
    let [first, others @ ..] = heads.as_slice() else {
        return Err(Failure::Refused("there is no commit to join".to_owned()));
    };
    let mut joined = first.clone();
    let mut conflicts = Vec::new();
    for other in others {
        let mut index = repo.merge_commits(&joined, other, None)?;
        let labels = [short(&joined), short(other)];
        conflicts.extend(mark(repo, &mut index, &labels)?);
        let tree = repo.find_tree(index.write_tree_to(repo)?)?;
        joined = write(repo, &tree, &[&joined, other])?;
    }
    if !conflicts.is_empty() && heads.len() > 2 {
        // Who mends it puts one commit on all of them, and none with marks stays in between.
        joined = write(repo, &joined.tree()?, &heads.iter().collect::<Vec<_>>())?;
    }
    conflicts.sort();
    conflicts.dedup();
    if conflicts.len() > CONFLICTS_MAX {
        return Err(Failure::Refused(format!(
            "the changes contradict each other in {} files, more than can be mended",
            conflicts.len()
        )));
    }
    Ok(Joined { commit: joined.id(), conflicts })
}

/// The paths of those files of a commit in which marks are left.
pub(super) fn marks_left(
    repo: &Repository,
    commit: &CommitId,
    paths: &[String],
) -> Result<Vec<String>, Failure> {
    let tree = commits::find(repo, commit)?.tree()?;
    let mut left = Vec::new();
    for path in paths {
        let entry = match tree.get_path(Path::new(path)) {
            Err(error) if error.code() == ErrorCode::NotFound => continue,
            found => found?,
        };
        let Ok(blob) = repo.find_blob(entry.id()) else { continue };
        let has =
            |mark: &[u8]| blob.content().split(|byte| *byte == b'\n').any(|line| line.starts_with(mark));
        if MARKS.into_iter().all(has) {
            left.push(path.clone());
        }
    }
    Ok(left)
}

/// Those of the commits that no other one holds, in the order given.
fn heads<'r>(repo: &'r Repository, bases: &[CommitId]) -> Result<Vec<Commit<'r>>, Failure> {
    let mut heads: Vec<Commit<'r>> = Vec::new();
    for base in bases {
        let base = commits::find(repo, base)?;
        let mut is_held = false;
        for head in &heads {
            is_held = is_held || commits::contains(repo, head.id(), base.id())?;
        }
        if is_held {
            continue;
        }
        let mut kept = Vec::with_capacity(heads.len() + 1);
        for head in heads {
            if !commits::contains(repo, base.id(), head.id())? {
                kept.push(head);
            }
        }
        kept.push(base);
        heads = kept;
    }
    Ok(heads)
}

fn write<'r>(
    repo: &'r Repository,
    tree: &Tree<'_>,
    parents: &[&Commit<'_>],
) -> Result<Commit<'r>, git2::Error> {
    // The latest of their instants: no clock takes part, so that the join is the same each time.
    let seconds = parents.iter().map(|parent| parent.time().seconds()).max().unwrap_or(0);
    let at = Timestamp(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000));
    let names: Vec<String> = parents.iter().map(|parent| short(parent)).collect();
    repo.find_commit(commits::write(repo, tree, parents, &format!("Join {}", names.join(" and ")), at)?)
}

fn short(commit: &Commit<'_>) -> String {
    format!("{:.10}", commit.id())
}

/// Settles each conflict of an index: texts get marks, of anything else one side is kept.
fn mark(repo: &Repository, index: &mut Index, labels: &[String; 2]) -> Result<Vec<String>, git2::Error> {
    let conflicts = index.conflicts()?.collect::<Result<Vec<IndexConflict>, _>>()?;
    let mut named = Vec::new();
    for conflict in &conflicts {
        let entry = match (&conflict.our, &conflict.their) {
            (Some(our), Some(their)) => {
                Some(both_sides(repo, conflict.ancestor.as_ref(), our, their, labels)?)
            }
            (Some(kept), None) | (None, Some(kept)) => Some(copy(kept, kept.id)),
            (None, None) => None,
        };
        for path in commits::paths(conflict) {
            index.conflict_remove(Path::new(OsStr::from_bytes(path)))?;
            named.push(shown(path));
        }
        if let Some(entry) = entry {
            index.add(&entry)?;
        }
    }
    Ok(named)
}

/// A text with both sides between marks; our side of anything that is no text.
fn both_sides(
    repo: &Repository,
    ancestor: Option<&IndexEntry>,
    our: &IndexEntry,
    their: &IndexEntry,
    labels: &[String; 2],
) -> Result<IndexEntry, git2::Error> {
    // Links and submodules have no lines.
    let (Ok(ours), Ok(theirs)) = (repo.find_blob(our.id), repo.find_blob(their.id)) else {
        return Ok(copy(our, our.id));
    };
    let is_file = |entry: &IndexEntry| entry.mode & 0o170_000 == 0o100_000;
    if !is_file(our) || !is_file(their) || ours.is_binary() || theirs.is_binary() {
        return Ok(copy(our, our.id));
    }
    let base = ancestor.and_then(|ancestor| repo.find_blob(ancestor.id).ok());
    let mut inputs = [MergeFileInput::new(), MergeFileInput::new(), MergeFileInput::new()];
    inputs[0].content(base.as_ref().map_or(&[], |base| base.content()));
    inputs[1].content(ours.content());
    inputs[2].content(theirs.content());
    let mut options = MergeFileOptions::new();
    options.our_label(labels[0].as_str()).their_label(labels[1].as_str());
    let merged = git2::merge_file(&inputs[0], &inputs[1], &inputs[2], Some(&mut options))?;
    Ok(copy(our, repo.blob(merged.content())?))
}

/// An entry of the index that is settled: the same file with that content.
fn copy(of: &IndexEntry, id: Oid) -> IndexEntry {
    IndexEntry {
        ctime: of.ctime,
        mtime: of.mtime,
        dev: of.dev,
        ino: of.ino,
        mode: of.mode,
        uid: of.uid,
        gid: of.gid,
        file_size: 0,
        id,
        // What stage it is at stands in the flags; settled is none of them.
        flags: 0,
        flags_extended: 0,
        path: of.path.clone(),
    }
}
