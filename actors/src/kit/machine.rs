//! The pure half of an entity: what may happen, what happened, and what should be going on.
//!
//! **Invariant:** a machine holds no handles, reads no clock, rolls no dice and never awaits. Whatever it
//! needs comes in with the command, so the same commands under the same [`Given`] lead to the same journal.

use std::{collections::BTreeMap, fmt::Debug};

use cendriix_persistence::store::{Change, Draft, Guard, Key, Row};
use cendriix_protocol::{
    ids::{self, ApiKeyId, UserId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::cause::Cause;

/// Who caused something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// The server itself: a timer, or a report of its own work.
    System,
    /// A person, or a program on their behalf.
    User(UserId),
    /// A program with an API key of that person.
    Key { user: UserId, key: ApiKeyId },
}

impl Actor {
    /// The person, where there is one.
    pub fn user(self) -> Option<UserId> {
        match self {
            Self::System => None,
            Self::User(user) | Self::Key { user, .. } => Some(user),
        }
    }
}

impl std::fmt::Display for Actor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::System => out.write_str("system"),
            Self::User(user) => write!(out, "user:{user}"),
            Self::Key { user, key } => write!(out, "user:{user}/api_key:{key}"),
        }
    }
}

/// What comes in with every command: when, who, and some chance.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// When the command is decided.
    pub at: Timestamp,
    /// What caused it.
    pub by: Cause,
    /// Random bits.
    pub random: u128,
}

impl Given {
    /// A new id on the shard of `parent`.
    pub fn id(&self, parent: Uuid) -> Uuid {
        ids::compose(self.at.0, ids::shard_of(parent), self.random)
    }
}

/// What repeating an effect would mean; it decides what happens to work that a crash interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Effect {
    /// Computes only. Repeated.
    Pure,
    /// Reads outside, model calls included. Repeated.
    ReadOnly,
    /// Stays within the work tree of its attempt. Repeated from the step's checkpoint.
    Contained,
    /// Carries our idempotency key. Repeated.
    Keyed,
    /// Cannot be taken back. Never repeated: without an outcome a person decides.
    Irrevocable,
}

/// One thing that a machine wants.
#[derive(Clone, Debug, PartialEq)]
pub enum Wanted<W> {
    /// Should be going on.
    Do(W),
    /// Should come to its end soon: its stop token is cancelled. Work that is not going on is reported lost.
    Stop(W),
    /// Should be asked whenever the entity wakes or is nudged; does not keep it awake.
    Ask(W),
    /// Should be told when that instant has come.
    At(Timestamp),
}

/// How work got lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It panicked; that is a mistake in the program.
    Panicked(String),
    /// It may have happened or not: it was irrevocable and the process ended before its outcome was saved.
    OutcomeUnknown,
    /// It was to be stopped and no longer went on.
    Stopped,
}

/// What a change brings with it beside the state and the journal, in the same save.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// Index rows and others.
    pub rows: Vec<Row>,
    /// What must hold.
    pub guards: Vec<Guard>,
    /// Entries for the audit log.
    pub audit: Vec<Draft>,
    /// Entities that come to life with it, on the same shard.
    pub children: Vec<Change>,
    /// Entities that should look around once this is saved.
    pub nudges: Vec<Key>,
}

impl Records {
    /// Takes in what another change brings with it.
    pub fn join(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.guards.extend(other.guards);
        self.audit.extend(other.audit);
        self.children.extend(other.children);
        self.nudges.extend(other.nudges);
    }
}

/// The id of a child: it lives on its parent's shard, and the same attempt at the same node is the same
/// child.
pub fn child_id(parent: Uuid, node: &str, attempt: u32) -> Uuid {
    let named = [parent.as_bytes().as_slice(), &attempt.to_be_bytes(), node.as_bytes()].concat();
    let hash = crate::audit::sha256(&named);
    let mut digest = [0; 16];
    digest.copy_from_slice(&hash[..16]);
    ids::derive(parent, u128::from_be_bytes(digest))
}

/// The life of one kind of entity.
pub trait Machine: Clone + Debug + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// The number of the kind in the store; never reused.
    const KIND: u8;
    /// The name of the kind in logs.
    const NAME: &'static str;
    /// The version of the stored type.
    const SCHEMA: u16;

    /// What one begins with.
    type Birth: Debug + Send + Sync;
    /// What can be asked, and what work reports.
    type Command: Debug + Send + Sync + Serialize + DeserializeOwned + 'static;
    /// What happened.
    type Event: Clone + Debug + Send + Sync + Serialize + DeserializeOwned + 'static;
    /// Why a command was not taken.
    type Refusal: std::error::Error + Send + Sync + 'static;
    /// Names a piece of work.
    type WorkKey: Clone + Debug + Ord + Send + Sync + 'static;
    /// What is to be done.
    type Work: Clone + Debug + PartialEq + Send + Sync + 'static;

    /// Says what a birth brings about. The first event is the one that [`Machine::found`] understands.
    ///
    /// # Errors
    ///
    /// When nothing can begin like that.
    fn create(birth: &Self::Birth, id: Uuid, given: &Given) -> Result<Vec<Self::Event>, Self::Refusal>;
    /// The state before the first event of a journal was applied; `None` when it is no first event.
    fn found(first: &Self::Event) -> Option<Self>;
    /// Says what a command would bring about, without changing anything. No event means: it is so already.
    ///
    /// # Errors
    ///
    /// When the present state does not allow it.
    fn decide(&self, command: &Self::Command, given: &Given) -> Result<Vec<Self::Event>, Self::Refusal>;
    /// Takes event number `seq` in; the only place that changes the state, and it refuses nothing.
    fn apply(&mut self, seq: u64, event: &Self::Event);
    /// Says what should be going on; a function of the state alone.
    fn work(&self) -> BTreeMap<Self::WorkKey, Wanted<Self::Work>>;
    /// What repeating a piece of work would mean.
    fn effect(work: &Self::Work) -> Effect;
    /// Says what a change brings with it; `self` is the state after the events, and `before` the one before
    /// them.
    fn records(&self, id: Uuid, before: Option<&Self>, events: &[Self::Event], given: &Given) -> Records;
    /// The command that says: that timer's instant has come.
    fn due(&self, key: &Self::WorkKey) -> Self::Command;
    /// The command that says: that work is lost.
    fn lost(&self, key: &Self::WorkKey, how: Lost) -> Self::Command;
    /// Whether the command brings a parked entity back.
    fn unparks(command: &Self::Command) -> bool;
    /// Who waits for it to end, and is told should it be parked.
    fn awaited_by(&self) -> Option<Key> {
        None
    }
}
