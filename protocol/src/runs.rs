//! `/runs`: from a ticket to a merged change.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::{
    ids::{GateId, RunId, UserId, WorkflowId, WorkspaceId},
    money::MicroUsd,
    time::Timestamp,
    workspaces::Role,
};

/// Where a run stands. Gates are states too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are the reference's own, and Phase groups them")]
pub enum Status {
    IntakeQueued,
    Triaged,
    Scoped,
    PlanDraft,
    PlanApproval,
    Planned,
    Routed,
    Executing,
    Testing,
    Review,
    PrOpened,
    MergeApproval,
    Merged,
    Deploying,
    DeployApproval,
    DeployVerifying,
    Operating,
    SelfHealing,
    Failed,
    Cancelled,
}

impl Status {
    /// Every status, in the order a run passes them.
    pub const ALL: [Self; 20] = [
        Self::IntakeQueued,
        Self::Triaged,
        Self::Scoped,
        Self::PlanDraft,
        Self::PlanApproval,
        Self::Planned,
        Self::Routed,
        Self::Executing,
        Self::Testing,
        Self::Review,
        Self::PrOpened,
        Self::MergeApproval,
        Self::Merged,
        Self::Deploying,
        Self::DeployApproval,
        Self::DeployVerifying,
        Self::Operating,
        Self::SelfHealing,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The status as it stands on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::IntakeQueued => "intake-queued",
            Self::Triaged => "triaged",
            Self::Scoped => "scoped",
            Self::PlanDraft => "plan-draft",
            Self::PlanApproval => "plan-approval",
            Self::Planned => "planned",
            Self::Routed => "routed",
            Self::Executing => "executing",
            Self::Testing => "testing",
            Self::Review => "review",
            Self::PrOpened => "pr-opened",
            Self::MergeApproval => "merge-approval",
            Self::Merged => "merged",
            Self::Deploying => "deploying",
            Self::DeployApproval => "deploy-approval",
            Self::DeployVerifying => "deploy-verifying",
            Self::Operating => "operating",
            Self::SelfHealing => "self-healing",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.pad(self.name())
    }
}

/// The four parts of a run's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// From the ticket to an agreed plan.
    Intake,
    /// The steps and the tests.
    Build,
    /// Review and merge.
    Review,
    /// Everything after the merge.
    DeployOperate,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepStatus {
    /// Waits for the steps it depends on.
    Pending,
    /// Goes on.
    Running,
    /// Waits for a person.
    Waiting,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Was stopped by a cancellation.
    Cancelled,
}

/// How far an effect can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReversibilityTier {
    /// By itself: nothing outside the run was touched.
    Reversible,
    /// With work.
    Recoverable,
    /// Not at all.
    Irreversible,
}

/// The ticket, or any JSON for a workflow of one's own.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateRun {
    /// The workflow to run.
    pub workflow_id: WorkflowId,
    /// The ticket.
    pub input: Ticket,
}

/// What is wanted, in prose.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Ticket {
    /// One line, 1 to 300 characters.
    #[schema(min_length = 1, max_length = 300)]
    pub title: String,
    /// The text, at most 256 KiB.
    #[serde(default)]
    pub body: String,
}

/// What is to be done, step by step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunPlan {
    /// The steps, each after those it depends on; shared by all runs of a version of a workflow.
    #[schema(value_type = Vec<PlanStep>)]
    pub steps: Arc<Vec<PlanStep>>,
    /// When the plan was made.
    pub generated_at: Timestamp,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStep {
    /// Names the step within the plan.
    pub id: String,
    /// The name to show.
    pub name: String,
    /// What kind of step it is, such as `transform` or `approval-gate`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The ids of the steps that come before it.
    pub depends_on: Vec<String>,
    /// What it is expected to cost, in US dollars.
    pub estimated_cost_usd: MicroUsd,
    /// How far its effects can be taken back.
    pub reversibility_tier: ReversibilityTier,
    /// How sure the planner is of the step, 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub confidence_score: f64,
    /// Whether a person must approve before what follows it.
    pub gate: bool,
}

/// A run as it is now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// The run's id.
    pub id: RunId,
    /// The workspace it belongs to.
    pub tenant_id: WorkspaceId,
    /// The same as `tenantId`.
    pub workspace_id: WorkspaceId,
    /// The workflow it is a run of.
    pub workflow_id: WorkflowId,
    /// The version of the workflow that it pins.
    pub workflow_version: u32,
    /// Who created it.
    pub created_by: UserId,
    /// The ticket's title, or the workflow's name.
    pub title: String,
    /// What it was given.
    #[schema(value_type = Object)]
    pub input: Value,
    /// Where it stands.
    pub status: Status,
    /// Counts the attempts, from 1; a retry begins the next.
    pub attempt: u32,
    /// What is to be done.
    pub plan: RunPlan,
    /// How far each step is, in the order of the plan.
    pub steps: Vec<RunStep>,
    /// The gates that are open.
    pub gates: Vec<Gate>,
    /// The outputs of the steps that no other step depends on, by step; once the run has ended, and while
    /// they are at most 64 KiB together.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    #[schema(value_type = Object)]
    pub outputs: BTreeMap<String, Value>,
    /// What it has cost so far, in US dollars.
    pub cost_usd: MicroUsd,
    /// Why it failed or was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What can be asked of it now.
    pub allowed_actions: Vec<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Counts the saves; also its `ETag`.
    pub version: u64,
}

/// Why a run did not end well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// A code for programs, such as `step_failed` or `gate_denied`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// How far a step is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStep {
    /// The step's id in the plan.
    pub id: String,
    /// Where it stands.
    pub status: StepStatus,
    /// In which attempt of the run it last started; 0 when it never did.
    pub attempt: u32,
    /// When it last started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

/// What a gate stands before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GateKind {
    /// The plan.
    Plan,
    /// A step that the workflow gates.
    Step,
    /// An action that policy holds back.
    Policy,
    /// Going past a budget.
    Budget,
    /// The merge.
    Merge,
    /// The deployment.
    Deploy,
    /// An effect of which nobody knows whether it happened.
    UnknownOutcome,
}

/// An open gate: the run waits for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// The gate's id.
    pub id: GateId,
    /// What it stands before.
    pub kind: GateKind,
    /// The step it belongs to.
    pub node_id: Option<String>,
    /// The least role that may decide.
    pub role: Role,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When it expires and fails the run.
    pub expires_at: Timestamp,
    /// What is to be decided, in a sentence.
    pub subject: String,
    /// What was shown: the plan's version, the commit or the cost. A change of it reopens the gate.
    pub pinned: Option<String>,
}

/// Which runs are asked for.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, rename_all = "camelCase")]
pub struct RunsQuery {
    /// Only runs that stand there.
    #[param(inline)]
    pub status: Option<Status>,
    /// Only runs of this workflow.
    #[param(value_type = Option<String>, format = Uuid)]
    pub workflow_id: Option<WorkflowId>,
    /// How many items, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u16>,
    /// The `nextCursor` of the page before.
    pub cursor: Option<String>,
}

/// A run in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunItem {
    /// The run's id.
    pub id: RunId,
    /// The workspace it belongs to.
    pub tenant_id: WorkspaceId,
    /// The workflow it is a run of.
    pub workflow_id: WorkflowId,
    /// The ticket's title, or the workflow's name.
    pub title: String,
    /// Where it stands.
    pub status: Status,
    /// Counts the attempts, from 1.
    pub attempt: u32,
    /// How many gates wait for a person.
    pub open_gates: u32,
    /// What it has cost so far, in US dollars.
    pub cost_usd: MicroUsd,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it came to this status.
    pub status_since: Timestamp,
}

/// A page of runs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runs {
    /// The workspace's runs, newest first.
    pub runs: Vec<RunItem>,
    /// What to send as `cursor` for the next page.
    pub next_cursor: Option<String>,
}

/// `POST /runs/:runId/approve`: opens a gate.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Approve {
    /// Why, for the record; at most 2,000 characters.
    #[schema(max_length = 2000)]
    pub note: Option<String>,
    /// Which gate; may be left out while exactly one is open.
    pub gate_id: Option<GateId>,
    /// What became of the effect; needed for an `unknown_outcome` gate and only there.
    pub resolution: Option<Resolution>,
}

/// What became of an effect whose outcome was unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Resolution {
    /// It happened: go on after it.
    Happened,
    /// It did not: do it again.
    Repeat,
}

/// `POST /runs/:runId/reject`: denies a gate and fails the run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Reject {
    /// Why; a retry passes it on to the agents. At most 2,000 characters.
    #[schema(max_length = 2000)]
    pub reason: Option<String>,
    /// Which gate; may be left out while exactly one is open.
    pub gate_id: Option<GateId>,
}

/// `POST /runs/:runId/retry`: begins the next attempt.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct Retry {
    /// Keeps the outcomes of every step that does not come after this one; all steps run again when absent.
    pub from_step_id: Option<String>,
}

/// `GET /runs/:runId/lifecycle`: every state of a run's life, with what was reached.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lifecycle {
    /// The run's id.
    pub run_id: RunId,
    /// The states in order. Exactly one is current.
    pub stages: Vec<Stage>,
}

/// One state in the walk-through of a run's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stage {
    /// The state.
    pub id: Status,
    /// The part of life it belongs to; absent for `failed` and `cancelled`.
    pub phase: Option<Phase>,
    /// Whether the present attempt has reached or passed it.
    pub reached: bool,
    /// Whether the run stands there.
    pub current: bool,
}

/// `GET /runs/:runId/why`: why the run is where it is and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// Where the run stands.
    pub status: Status,
    /// The whole answer in sentences; the command line prints the same.
    pub text: String,
    /// What the run waits for.
    pub waiting_for: Vec<WaitingFor>,
    /// The next instant at which something happens by itself.
    pub next_deadline: Option<Timestamp>,
    /// What it has cost so far, in US dollars.
    pub cost_usd: MicroUsd,
    /// What can be asked of it now.
    pub allowed_actions: Vec<String>,
}

/// One thing that a run waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitingFor {
    /// `gate`, `step` or `action`.
    pub kind: String,
    /// The id of the gate or the step.
    pub id: Option<String>,
    /// Who or what can end the waiting, in a sentence.
    pub who: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub deadline: Option<Timestamp>,
}

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
    /// A step started.
    NodeRunStarted {
        /// The step's id in the plan.
        node_id: String,
        /// In which attempt of the run.
        attempt: u32,
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
            Self::NodeRunStarted { .. } => "NODE_RUN_STARTED",
            Self::NodeRunCompleted { .. } => "NODE_RUN_COMPLETED",
            Self::NodeRunFailed { .. } => "NODE_RUN_FAILED",
            Self::GateOpened { .. } => "GATE_OPENED",
            Self::GateClosed { .. } => "GATE_CLOSED",
            Self::RunCancelRequested { .. } => "RUN_CANCEL_REQUESTED",
            Self::RunRetried { .. } => "RUN_RETRIED",
            Self::RunCompleted { .. } => "RUN_COMPLETED",
        }
    }
}
