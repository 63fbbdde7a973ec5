//! Names of commits, of the places where attempts work, and of the branches that people see.
//!
//! **Invariant:** nothing that a user or a model wrote becomes part of a path or of a reference unless it was
//! checked here.

use std::{fmt, path::PathBuf, str::FromStr};

use cendriix_protocol::ids::RunId;
use git2::Oid;
use serde::{Deserialize, Serialize};

use super::Failure;

/// The longest id of a step, in bytes.
const STEP_MAX: usize = 64;
/// The longest title in a branch's name, in bytes.
const SLUG_MAX: usize = 40;
/// How many digits of its run a branch's name ends with.
const RUN_DIGITS: usize = 8;
/// Where checkpoints are kept: no branch, no tag, and not sent along by `git push`.
pub(super) const HIDDEN: &str = "refs/cendriix";
/// Where branches are.
pub(super) const HEADS: &str = "refs/heads/";

/// Where branches are that show runs to people.
pub(super) const SHOWN: &str = "refs/heads/cendriix/";

/// A commit, by the 40 hexadecimal digits of its hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommitId(String);

/// The text is no commit.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a commit is named by 40 hexadecimal digits")]
pub struct NoCommitId;

impl CommitId {
    /// Its digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn oid(&self) -> Result<Oid, git2::Error> {
        Oid::from_str(&self.0)
    }
}

impl From<Oid> for CommitId {
    fn from(oid: Oid) -> Self {
        Self(oid.to_string())
    }
}

impl TryFrom<String> for CommitId {
    type Error = NoCommitId;
    fn try_from(text: String) -> Result<Self, NoCommitId> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 40 && text.bytes().all(is_digit) { Ok(Self(text)) } else { Err(NoCommitId) }
    }
}

impl FromStr for CommitId {
    type Err = NoCommitId;
    fn from_str(text: &str) -> Result<Self, NoCommitId> {
        text.to_owned().try_into()
    }
}

impl From<CommitId> for String {
    fn from(commit: CommitId) -> Self {
        commit.0
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Where one attempt of one step works.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    run: RunId,
    step: String,
    attempt: u32,
}

impl Place {
    /// The place of an attempt.
    ///
    /// # Errors
    ///
    /// When the step's id is not 1 to 64 letters, digits, `_` and `-`.
    pub fn new(run: RunId, step: impl Into<String>, attempt: u32) -> Result<Self, Failure> {
        let step = step.into();
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if (1..=STEP_MAX).contains(&step.len()) && step.bytes().all(is_fine) {
            Ok(Self { run, step, attempt })
        } else {
            Err(Failure::Refused(format!(
                "{step:?} is no id of a step: 1 to {STEP_MAX} letters, digits, _ and -"
            )))
        }
    }

    /// The run it belongs to.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Its folder, from the root of all trees. The attempt is what follows the last `-`, so no two places
    /// share one.
    pub(super) fn folder(&self) -> PathBuf {
        PathBuf::from(self.run.to_string()).join(format!("{}-{}", self.step, self.attempt))
    }

    /// The reference that holds its checkpoint.
    pub(super) fn checkpoint(&self) -> String {
        format!("{}{}/{}", hidden(self.run), self.step, self.attempt)
    }

    /// The reference that holds a base that was made for it, so that no collection takes it away meanwhile.
    pub(super) fn base(&self) -> String {
        format!("{}-base", self.checkpoint())
    }
}

/// What the hidden references of a run begin with.
pub(super) fn hidden(run: RunId) -> String {
    format!("{HIDDEN}/{run}/")
}

/// The reference that holds a commit which was shown to people.
pub(super) fn shown(run: RunId, commit: &CommitId) -> String {
    format!("{}-shown/{}", hidden(run), &commit.as_str()[..12])
}

/// The branch that shows a run to people. An id begins with its time, which runs of the same minute share, so
/// its last digits stand for it.
pub(super) fn branch(run: RunId, title: &str) -> String {
    let words = title.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut slug = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    slug.truncate(SLUG_MAX);
    let slug = match slug.trim_end_matches('-') {
        "" => "run",
        slug => slug,
    };
    let digits = run.0.simple().to_string();
    format!("cendriix/{slug}-{}", &digits[digits.len() - RUN_DIGITS..])
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_step_that_could_lead_out_of_its_folder_is_refused() {
        let run = RunId(Uuid::from_u128(7));
        for step in ["", ".", "..", "a/b", "a\\b", "a b", "ä", "a.lock", "a\0", &"a".repeat(65)] {
            assert!(matches!(Place::new(run, step, 1), Err(Failure::Refused(_))), "{step:?}");
        }
        let place = Place::new(run, "Build_the-parser", 3).unwrap();
        assert_eq!(place.folder(), PathBuf::from("00000000-0000-0000-0000-000000000007/Build_the-parser-3"));
        assert!(
            git2::Reference::is_valid_name(&place.checkpoint())
                && git2::Reference::is_valid_name(&place.base())
        );
    }

    #[test]
    fn a_branch_is_named_after_the_title_and_the_run() {
        let run = RunId(Uuid::from_u128(0xabcd_ef12));
        assert_eq!(branch(run, "Fix the *parser*, please!"), "cendriix/fix-the-parser-please-abcdef12");
        assert_eq!(branch(run, "../../日本語"), "cendriix/run-abcdef12");
        let long = branch(run, &"word ".repeat(50));
        assert!(long.len() <= 60 && git2::Reference::is_valid_name(&format!("{HEADS}{long}")), "{long}");
    }

    #[test]
    fn only_a_whole_hash_names_a_commit() {
        let commit: CommitId = "4b825dc642cb6eb9a060e54bf8d69288fbee4904".parse().unwrap();
        assert_eq!(serde_json::to_string(&commit).unwrap(), "\"4b825dc642cb6eb9a060e54bf8d69288fbee4904\"");
        for text in ["", "main", "HEAD", "4b825dc", "4B825DC642CB6EB9A060E54BF8D69288FBEE4904"] {
            assert!(serde_json::from_value::<CommitId>(text.into()).is_err(), "{text}");
        }
    }
}
