//! Why a repository did not do what was asked.

use std::{fmt::Display, io, path::PathBuf};

use git2::ErrorCode;

use super::CommitId;
use crate::Error;

/// How many names a message holds.
const NAMED_MAX: usize = 10;

/// A refusal, or a failure of git or the disk.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The path leads to no repository.
    #[error("{} is in no git repository; run `git init` there first", .0.display())]
    NoRepository(PathBuf),
    /// The commit is not there.
    #[error("this repository has no commit {0}")]
    NoCommit(CommitId),
    /// What is to be joined changes the same places in different ways.
    #[error("the changes contradict each other in {}", some(.paths))]
    Conflict { paths: Vec<String> },
    /// The main branch is not where it was when the change was made for it.
    #[error("the main branch has moved to {main} meanwhile")]
    MainMoved { main: CommitId },
    /// The branch is checked out with changes that are in no commit.
    #[error("{branch} is checked out with uncommitted changes: {}; commit or stash them first", some(.files))]
    Dirty { branch: String, files: Vec<String> },
    /// Files that nobody tracks stand where the branch brings files along.
    #[error("files in the checkout would be overwritten: {}; move them away first", some(.files))]
    InTheWay { files: Vec<String> },
    /// Somebody else changes the branch at the same moment.
    #[error("{0} is being changed by somebody else; if no git command is running, remove its .lock file")]
    Raced(String),
    /// Another server was asked for something that cannot be taken back, and did not answer.
    #[error("nobody knows whether it happened: {0}")]
    Unknown(String),
    /// It cannot be done, and the sentence says why.
    #[error("{0}")]
    Refused(String),
    /// The git library failed.
    #[error("the git repository failed")]
    Git(#[from] git2::Error),
    /// The disk failed.
    #[error("cannot {what}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    /// The server is stopping.
    #[error("the server is stopping; try again")]
    Stopping,
}

/// Says what could not be done when the disk refuses.
pub(super) fn io<E: Into<io::Error>>(what: impl Display) -> impl FnOnce(E) -> Failure {
    move |source| Failure::Io { what: what.to_string(), source: source.into() }
}

/// Gives one error of the git library its meaning here; others stay what they are.
pub(super) fn when(
    code: ErrorCode,
    meaning: impl FnOnce() -> Failure,
) -> impl FnOnce(git2::Error) -> Failure {
    move |error| if error.code() == code { meaning() } else { Failure::Git(error) }
}

/// A name as people read it.
pub(super) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The first names of a list, and how many more there are.
fn some(names: &[String]) -> String {
    let first = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoCommit(_) => Self::Missing { what: "commit" },
            Failure::NoRepository(_)
            | Failure::Conflict { .. }
            | Failure::MainMoved { .. }
            | Failure::Dirty { .. }
            | Failure::InTheWay { .. }
            | Failure::Refused(_) => Self::conflict(failure.to_string()),
            Failure::Raced(_) | Failure::Unknown(_) | Failure::Stopping => {
                Self::Unavailable(failure.to_string())
            }
            Failure::Git(ref cause) => Self::Unavailable(format!("{failure}: {}", cause.message())),
            Failure::Io { ref source, .. } => Self::Unavailable(format!("{failure}: {source}")),
        }
    }
}
