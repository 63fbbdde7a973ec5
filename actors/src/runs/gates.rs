//! Where a run waits for a person; pure.

use cendriix_protocol::{ids::GateId, time::Timestamp, workspaces::Role};
use serde::{Deserialize, Serialize};

/// A gate that is open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    pub id: GateId,
    pub kind: GateKind,
    /// The place in the plan of the step it belongs to.
    pub step: Option<u32>,
    pub role: Role,
    pub opened_at: Timestamp,
    pub expires_at: Timestamp,
    pub subject: String,
    /// What was shown.
    pub pinned: Option<String>,
}

/// What a gate stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GateKind {
    Plan,
    Step,
    Policy,
    Budget,
    Merge,
    Deploy,
    UnknownOutcome,
}

/// How a gate was closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    Approved { note: Option<String> },
    Denied { reason: Option<String> },
    Expired,
    Withdrawn,
}

/// What becomes of an effect whose outcome is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resolution {
    Happened,
    Repeat,
}
