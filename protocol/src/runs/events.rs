//! The events of a run's stream.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Gate, Reason, Status};
use crate::{
    ids::{AgentStepId, GateId, RunId, UserId},
    time::Timestamp,
};

/// One event of `GET /workflow-runs/:runId/stream`; `id` of the SSE message is `seq`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunEvent {
    /// The run's id.
    pub run_id: RunId,
    /// Counts the run's events, from 1, without a gap.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub kind: RunEventKind,
}

/// What happened, by its `type`; the SSE event has the same name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum RunEventKind {
    /// The run was created.
    RunCreated {
        /// The ticket's title, or the workflow's name.
        title: String,
    },
    /// The run came to another status.
    RunStatusChanged {
        /// Where it stands.
        status: Status,
        /// In which attempt.
        attempt: u32,
    },
    /// A planner made steps of the ticket.
    RunPlanned {
        /// Who made them: the id of a model, or `workflow` when its graph says it all.
        planner: String,
    },
    /// A step that mends what a check found was put behind all others.
    StepAdded {
        /// The step's id in the plan.
        node_id: String,
        /// What it is to mend, where no check before it says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// An agent that was still at work when its attempt ended has stopped.
    AgentStopped {
        /// The step's id in the plan.
        node_id: String,
        /// The attempt that it worked in.
        attempt: u32,
    },
    /// The main branch had moved; the change is joined with what it holds by now and tested again.
    MainMoved {
        /// The commit that the main branch is at.
        commit: String,
    },
    /// Somebody asked for an agent to work on what the run has done so far, by `POST /agent/steps`.
    AgentStepAsked {
        /// The agent's step.
        agent_step_id: AgentStepId,
        /// What it is called.
        name: String,
    },
    /// Such an agent has ended.
    AgentStepEnded {
        /// The agent's step.
        agent_step_id: AgentStepId,
    },
    /// The commit that is to be merged, or that the main branch is at after the merge.
    CommitPinned {
        /// The commit.
        commit: String,
        /// The branch that shows it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<String>,
    },
    /// An effect was interrupted, and nobody knows whether it happened; a gate asks for it.
    OutcomeUnknown {
        /// The effect: `merge`, `deploy` or `heal`.
        activity: String,
    },
    /// A step started.
    NodeRunStarted {
        /// The step's id in the plan.
        node_id: String,
        /// In which attempt of the run.
        attempt: u32,
        /// The agent's work on it: `GET /agent/steps/:stepId`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent_step_id: Option<AgentStepId>,
    },
    /// A step ended well.
    NodeRunCompleted {
        /// The step's id in the plan.
        node_id: String,
        /// In which attempt of the run.
        attempt: u32,
        /// Its output; left out when it is larger than 4 KiB.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Object)]
        output: Option<Value>,
    },
    /// A step ended badly.
    NodeRunFailed {
        /// The step's id in the plan.
        node_id: String,
        /// In which attempt of the run.
        attempt: u32,
        /// Why.
        error: Reason,
    },
    /// The tests ran, or the change was reviewed.
    CheckCompleted {
        /// `testing` or `review`.
        check: String,
        /// In which attempt of the run.
        attempt: u32,
        /// Whether the run may go on.
        passed: bool,
        /// What was found, in a sentence.
        summary: String,
        /// The end of the tests' output, or the findings, at most 4 KiB.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Object)]
        report: Option<Value>,
    },
    /// A gate opened: the run waits for a person.
    GateOpened {
        /// The gate.
        gate: Gate,
    },
    /// A gate was decided, expired or withdrawn.
    GateClosed {
        /// The gate's id.
        gate_id: GateId,
        /// `approved`, `denied`, `expired` or `withdrawn`.
        decision: String,
        /// Who decided.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<UserId>,
        /// What they wrote.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// Somebody asked to cancel; running work gets up to 30 s to end.
    RunCancelRequested {
        /// Who asked.
        by: UserId,
    },
    /// A retry began the next attempt.
    RunRetried {
        /// Counts the attempts.
        attempt: u32,
        /// From which step on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_step_id: Option<String>,
    },
    /// An attempt ended, well or badly.
    RunCompleted {
        /// Counts the attempts.
        attempt: u32,
        /// Where the run stands.
        status: Status,
        /// Why it did not end well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
}

impl RunEventKind {
    /// The name of the SSE event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunCreated { .. } => "RUN_CREATED",
            Self::RunStatusChanged { .. } => "RUN_STATUS_CHANGED",
            Self::RunPlanned { .. } => "RUN_PLANNED",
            Self::StepAdded { .. } => "STEP_ADDED",
            Self::AgentStopped { .. } => "AGENT_STOPPED",
            Self::MainMoved { .. } => "MAIN_MOVED",
            Self::AgentStepAsked { .. } => "AGENT_STEP_ASKED",
            Self::AgentStepEnded { .. } => "AGENT_STEP_ENDED",
            Self::CommitPinned { .. } => "COMMIT_PINNED",
            Self::OutcomeUnknown { .. } => "OUTCOME_UNKNOWN",
            Self::NodeRunStarted { .. } => "NODE_RUN_STARTED",
            Self::NodeRunCompleted { .. } => "NODE_RUN_COMPLETED",
            Self::NodeRunFailed { .. } => "NODE_RUN_FAILED",
            Self::CheckCompleted { .. } => "CHECK_COMPLETED",
            Self::GateOpened { .. } => "GATE_OPENED",
            Self::GateClosed { .. } => "GATE_CLOSED",
            Self::RunCancelRequested { .. } => "RUN_CANCEL_REQUESTED",
            Self::RunRetried { .. } => "RUN_RETRIED",
            Self::RunCompleted { .. } => "RUN_COMPLETED",
        }
    }
}
