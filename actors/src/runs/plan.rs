//! What is to be done in a run, and how far each step is; pure.

use std::collections::BTreeSet;

use cendriix_protocol::{ids::GateId, time::Timestamp, workspaces::Role};
use serde::{Deserialize, Serialize};

pub use crate::{
    content::{Content, Payload},
    metering::spent::{self, Spent},
    reason::Reason,
    repositories::{CommitId, Source},
};

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
    /// Whether commands are run without a sandbox.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncontained: bool,
}

/// What is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Counts the plans of this run, from 1.
    pub version: u32,
    pub steps: Vec<Step>,
}

impl Plan {
    /// The places of everything that comes before `place`, directly or not.
    pub fn upstream(&self, place: usize) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = vec![place];
        while let Some(place) = open.pop() {
            for need in self.steps.get(place).into_iter().flat_map(|step| &step.needs) {
                if found.insert(*need as usize) {
                    open.push(*need as usize);
                }
            }
        }
        found
    }
}

/// The repository that a run works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    pub source: Source,
    /// Its name, for one that the server keeps.
    pub project: Option<String>,
    /// The commit that work begins from; none in an empty repository.
    pub base: Option<CommitId>,
    /// Where the main branch was when the change was last brought up to it; none while it stands at `base`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub main: Option<CommitId>,
}

impl Repository {
    /// The commit of the main branch that the change adds to.
    pub fn main(&self) -> Option<&CommitId> {
        self.main.as_ref().or(self.base.as_ref())
    }
}

/// What the tests or a review found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub activity: super::state::Activity,
    pub passed: bool,
    pub summary: String,
    pub report: Content,
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
    /// The commit that holds what an agent did in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitId>,
}

impl Progress {
    pub(super) const NONE: Self =
        Self { state: StepState::Pending, attempt: 0, started_at: None, completed_at: None, commit: None };
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
