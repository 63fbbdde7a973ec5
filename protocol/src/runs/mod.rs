//! `/runs`: from a ticket to a merged change.

mod events;
mod steps;

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

pub use self::{
    events::{RunEvent, RunEventKind},
    steps::PlanSteps,
};
use crate::{
    ids::{AgentStepId, GateId, RunId, UserId, WorkflowId, WorkspaceId},
    model_router::TaskType,
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
    /// The repository that its agents work on; the workspace's project `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RepositoryRef>,
    /// The id of the model that its agents ask first; the router picks when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Which repository: exactly one of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepositoryRef {
    /// One that the server keeps for the workspace, by its name: 1 to 64 of `a-z 0-9 -`. It is made when it
    /// is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64, pattern = "^[a-z0-9][a-z0-9-]*$")]
    pub project: Option<String>,
    /// One on the server's own disk, by an absolute path; the operator says which may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// One on another server, by its `https` address without credentials, which the operator gives. It is
    /// fetched when the run begins, and the change is pushed there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 2048)]
    pub url: Option<String>,
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
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunPlan {
    /// The steps, each after those it depends on; shared by all runs of a version of a workflow.
    #[schema(value_type = Vec<PlanStep>)]
    pub steps: Arc<PlanSteps>,
    /// When the plan was made.
    pub generated_at: Timestamp,
    /// Who made it: the id of a model, or `workflow` when its graph says it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planner: Option<String>,
    /// The sum of the steps' estimates, in US dollars.
    #[serde(default)]
    pub estimated_cost_usd: MicroUsd,
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
    /// The part that its agent plays, such as `dev`; absent where no agent works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What kind of work it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_type: Option<TaskType>,
    /// What the agent is told to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Why the planner is as sure as it says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
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
    /// The repository it works on, when any of its steps needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<RunRepository>,
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

/// The repository that a run works on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunRepository {
    /// The name of the project, for one that the server keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Where it is on the server's disk; for one on another server, its mirror.
    pub path: String,
    /// Its address, for one on another server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The commit that the work began from; absent in an empty repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_commit: Option<String>,
    /// The commit that the merge gate shows, or that was merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The branch that shows the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
}

/// `GET /runs/:runId/diff`: what a run has changed so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunDiff {
    /// The run's id.
    pub run_id: RunId,
    /// The commit that the work began from; absent in an empty repository.
    pub base_commit: Option<String>,
    /// The commit that holds all that is done; absent while nothing is.
    pub commit: Option<String>,
    /// The changed files.
    pub files: Vec<DiffFile>,
    /// The unified diff, cut when it is longer than 1 MiB.
    pub patch: String,
    /// Whether it was cut.
    pub truncated: bool,
}

/// One file of a diff.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiffFile {
    /// Its path.
    pub path: String,
    /// `added`, `modified`, `deleted`, `renamed` or `type-changed`.
    pub change: String,
    /// Lines that were added; absent for a binary file.
    pub added: Option<u64>,
    /// Lines that were removed; absent for a binary file.
    pub removed: Option<u64>,
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
    /// The agent's work on it: `GET /agent/steps/:stepId`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_step_id: Option<AgentStepId>,
    /// The commit that holds what it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
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
    #[param(pattern = "^[0-9a-f-]{36}$", format = Uuid)]
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
