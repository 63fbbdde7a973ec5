//! The references under `refs/cendriix`: one for each checkpoint, so that no collection takes it away.

use std::collections::BTreeSet;

use cendriix_protocol::ids::RunId;
use git2::{ErrorCode, ObjectType, Oid, Repository};

use super::{
    Failure, commits, describe,
    failure::shown,
    names::{self, Place},
};

/// Lets a hidden reference hold a commit.
pub(super) fn hold(repo: &Repository, name: &str, commit: Oid) -> Result<(), git2::Error> {
    repo.reference(name, commit, true, "cendriix").map(drop)
}

/// The checkpoint of a place.
pub(super) fn checkpoint(repo: &Repository, place: &Place) -> Result<Option<Oid>, git2::Error> {
    commits::tip(repo, &place.checkpoint())
}

/// Whether a commit is a checkpoint of a run.
pub(super) fn is_of(repo: &Repository, run: RunId, commit: Oid) -> Result<bool, git2::Error> {
    for reference in repo.references_glob(&format!("{}*", names::hidden(run)))? {
        if reference?.target() == Some(commit) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the references of a run.
pub(super) fn forget(repo: &Repository, run: RunId) -> Result<(), git2::Error> {
    let found = repo.references_glob(&format!("{}*", names::hidden(run)))?.collect::<Result<Vec<_>, _>>()?;
    for mut reference in found {
        match reference.delete() {
            Err(error) if error.code() == ErrorCode::NotFound => {}
            deleted => deleted?,
        }
    }
    Ok(())
}

/// What a look at every hidden reference found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many there are.
    pub references: usize,
    /// What is wrong, a sentence for each.
    pub problems: Vec<String>,
}

/// Reads every file of every checkpoint; the library compares each with its hash.
pub(super) fn verify(repo: &Repository) -> Result<Verified, Failure> {
    let mut verified = Verified::default();
    let mut visited = BTreeSet::new();
    let mut read = BTreeSet::new();
    for reference in repo.references_glob(&format!("{}/*", names::HIDDEN))? {
        let reference = reference?;
        verified.references += 1;
        if let Err(error) = readable(repo, &reference, &mut visited, &mut read) {
            verified.problems.push(format!("{}: {}", shown(reference.name_bytes()), error.message()));
        }
    }
    Ok(verified)
}

fn readable(
    repo: &Repository,
    reference: &git2::Reference<'_>,
    visited: &mut BTreeSet<Oid>,
    read: &mut BTreeSet<Oid>,
) -> Result<(), git2::Error> {
    let odb = repo.odb()?;
    describe::each_entry(repo, &reference.peel_to_commit()?.tree()?, visited, &mut |entry| {
        if entry.kind() == Some(ObjectType::Blob) && !read.contains(&entry.id()) {
            odb.read(entry.id())?;
            read.insert(entry.id());
        }
        Ok(())
    })
}
