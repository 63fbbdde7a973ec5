//! What can be asked of an agent's work on a step, what happened to it, and what it wants done; pure.

use cendriix_protocol::{
    agent_steps::StopReason,
    ids::{AgentStepId, RunId, WorkspaceId},
    model_router::TaskType,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

pub use crate::{
    content::{Content, Payload},
    metering::spent::{self, Spent},
    reason::Reason,
    repositories::{CommitId, Source},
};

/// What it may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The most turns.
    pub turns: u32,
    /// The most tokens of all turns together.
    pub tokens: u64,
    /// The most tokens of one answer.
    pub tokens_per_call: u32,
    /// How long one tool call may take, in milliseconds.
    pub tool_timeout_ms: u64,
    pub task_type: TaskType,
    /// Whether what its calls do stays in its tree.
    pub contained: bool,
}

/// What a step begins with.
#[derive(Clone, Debug)]
pub struct Birth {
    pub run: RunId,
    pub workspace: WorkspaceId,
    /// The place in the run's plan and the id there; absent when it was asked for by itself.
    pub node: Option<(u32, String)>,
    /// The attempt of the run.
    pub attempt: u32,
    pub name: String,
    pub source: Source,
    /// What it begins from; none in an empty repository.
    pub bases: Vec<CommitId>,
    /// What it is to do, when it was asked for by itself.
    pub own: Option<Payload>,
}

/// What somebody asks of it, and what its work reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// Its work tree and its task are ready.
    Prepared { base: CommitId, conflicts: Vec<String>, brief: Payload, name: String, policy: Policy },
    /// The model answered.
    Thought { turn: u32, answer: Payload, calls: u32, likeness: u64, end: Option<End>, spent: Vec<Spent> },
    /// Its calls were made.
    Acted { turn: u32, results: Payload, calls: Vec<Called>, likeness: u64, commit: CommitId },
    /// It cannot go on.
    Broke { turn: u32, end: End, spent: Vec<Spent> },
    /// Somebody wants it to stop.
    Cancel,
}

/// How a tool call went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Called {
    pub name: String,
    pub is_error: bool,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub stop: StopReason,
    /// Absent when it ended well.
    pub reason: Option<Reason>,
}

/// What happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    Created(Box<Created>),
    /// `conflicts`: the files in which what it begins from contradicts itself.
    Prepared {
        base: CommitId,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        conflicts: Vec<String>,
        brief: Payload,
        name: String,
        policy: Policy,
        at: Timestamp,
    },
    Thought {
        turn: u32,
        answer: Payload,
        calls: u32,
        likeness: u64,
        spent: Vec<Spent>,
        at: Timestamp,
    },
    Acted {
        turn: u32,
        results: Payload,
        calls: Vec<Called>,
        likeness: u64,
        commit: CommitId,
        at: Timestamp,
    },
    CancelRequested {
        at: Timestamp,
    },
    Ended {
        end: End,
        spent: Vec<Spent>,
        at: Timestamp,
    },
}

/// The founding event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    pub id: AgentStepId,
    pub run: RunId,
    pub workspace: WorkspaceId,
    pub node: Option<(u32, String)>,
    pub attempt: u32,
    pub name: String,
    pub source: Source,
    pub bases: Vec<CommitId>,
    pub own: Option<Payload>,
    pub at: Timestamp,
}

/// What the shell must be doing while it is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Make its work tree, and find out what it is to do.
    Prepare,
    /// Ask the model.
    Think { turn: u32 },
    /// Make the calls of a turn.
    Act { turn: u32, contained: bool },
}

/// Names a piece of work: there is never more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkKey(pub u32);

/// Why a command is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a report of a turn that is over")]
    Late,
    #[error("this step has ended")]
    Ended,
}
