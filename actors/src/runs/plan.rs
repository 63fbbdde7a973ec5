//! What is to be done in a run, how far each step is, and where content stands that is too large for the
//! state; pure.

use cendriix_protocol::{ids::GateId, time::Timestamp, workspaces::Role};
use serde::{Deserialize, Serialize};

/// Where content stands that is too large for the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// In the event of that number, in the run's own journal.
    Event(u64),
    /// In a blob of that name and length.
    Blob { name: String, len: u64 },
}

/// Content as it comes with an event: itself while it is small.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// JSON text, at most 4 KiB.
    Inline(String),
    /// A blob.
    Blob { name: String, len: u64 },
}

/// Which states apply to a run. All of them are off for a workflow that only computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each names one state that applies or not")]
pub struct Course {
    pub plan_gate: bool,
    pub testing: bool,
    pub review: bool,
    pub pull_request: bool,
    pub merge_gate: bool,
    pub deploy: bool,
    pub deploy_gate: bool,
    pub verify: bool,
    /// How often the health of what was deployed is looked at, in milliseconds.
    pub watch_every_ms: Option<u64>,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Counts the plans of this run, from 1.
    pub version: u32,
    pub steps: Vec<Step>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub id: String,
    pub kind: StepKind,
    /// The places in the plan of the steps that come before it.
    pub needs: Vec<u32>,
}

/// What a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepKind {
    /// Computes an output from the outputs upstream.
    Transform,
    /// Waits for a person.
    Gate { role: Role, timeout_ms: u64 },
    /// An agent at work in a tree of its own.
    Agent,
}

/// How far a step is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub state: StepState,
    /// In which attempt it last started; 0 when it never did.
    pub attempt: u32,
    pub started_at: Option<Timestamp>,
    pub completed_at: Option<Timestamp>,
}

impl Progress {
    pub(super) const NONE: Self =
        Self { state: StepState::Pending, attempt: 0, started_at: None, completed_at: None };
}

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepState {
    Pending,
    Running,
    Waiting { gate: GateId },
    Succeeded { output: Content },
    Failed,
    Cancelled,
}

/// Where content stands that came with event number `seq`.
pub(super) fn content(seq: u64, payload: &Payload) -> Content {
    match payload {
        Payload::Inline(_) => Content::Event(seq),
        Payload::Blob { name, len } => Content::Blob { name: name.clone(), len: *len },
    }
}
