//! What can be asked of a run, what happened to it, what it wants done, and why it refuses; pure.

use std::sync::Arc;

use cendriix_protocol::{
    ids::{AgentStepId, GateId, RunId, UserId, WorkflowId, WorkspaceId},
    money::MicroUsd,
    time::Timestamp,
    workspaces::Role,
};
use serde::{Deserialize, Serialize};

use super::state::{
    Activity, CommitId, Course, Decision, Gate, GateKind, Payload, Plan, Reason, Repository, Resolution,
    Spent, Status, Step,
};
use crate::kit::machine::Effect;

/// What somebody asks of a run, and what its work reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    Advance,
    Approve {
        gate: Option<GateId>,
        note: Option<String>,
        resolution: Option<Resolution>,
        role: Role,
    },
    Reject {
        gate: Option<GateId>,
        reason: Option<String>,
        role: Role,
    },
    Cancel,
    /// `repository`: how the repository stands by now.
    Retry {
        from: Option<String>,
        repository: Option<Repository>,
    },
    StepSucceeded {
        step: u32,
        attempt: u32,
        output: Payload,
        commit: Option<CommitId>,
        cost: MicroUsd,
    },
    StepFailed {
        step: u32,
        attempt: u32,
        reason: Reason,
        cost: MicroUsd,
    },
    /// The agent of a step that was still at work when its attempt ended has stopped.
    StepEnded {
        step: u32,
        attempt: u32,
        cost: MicroUsd,
    },
    /// Somebody wants an agent to do one thing on what the run has done so far.
    AskStep {
        id: AgentStepId,
        name: String,
        brief: Payload,
    },
    /// An agent that was asked for by itself has ended.
    AskedEnded {
        id: AgentStepId,
        cost: MicroUsd,
    },
    /// The tests ran, or the change was reviewed.
    Checked {
        activity: Activity,
        attempt: u32,
        passed: bool,
        mend: Mend,
        summary: String,
        report: Payload,
        spent: Vec<Spent>,
    },
    /// A step must not go on before a person agrees: policy or a budget says so.
    StepHeld {
        step: u32,
        attempt: u32,
        kind: GateKind,
        subject: String,
        pinned: Option<String>,
    },
    /// An activity ended well; with the commit that it showed or merged, and the branch that shows it.
    Done {
        activity: Activity,
        attempt: u32,
        commit: Option<String>,
        branch: Option<String>,
    },
    /// An activity ended badly.
    Undone {
        activity: Activity,
        attempt: u32,
        reason: Reason,
        mend: Mend,
    },
    /// The main branch is not where the work began any more, so that what was tested is not what would be
    /// merged.
    MainMoved {
        activity: Activity,
        attempt: u32,
        main: CommitId,
    },
    /// An irrevocable activity was interrupted.
    OutcomeUnknown {
        activity: Activity,
        attempt: u32,
    },
    /// Somebody looked whether an interrupted merge happened.
    Looked {
        attempt: u32,
        seen: Seen,
    },
    /// A timer's instant has come.
    Due {
        timer: Timer,
    },
}

/// What is seen of an interrupted merge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// It happened, with that commit of the main branch.
    Merged(CommitId),
    /// The main branch is without it.
    NotMerged,
    /// That cannot be told.
    Nothing,
}

/// Who can mend what keeps an activity from ending well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mend {
    /// Nobody within this attempt.
    Nobody,
    /// An agent, in a fix step.
    Agent,
    /// A person, outside the run.
    Person,
}

/// What a run waits for by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Timer {
    GateExpires(GateId),
    GraceEnds,
    HealthCheck,
}

/// What happened to a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    Created(Box<Created>),
    /// A planner made steps of the ticket; `detail` is what clients see of them.
    Planned {
        planner: String,
        detail: Payload,
        spent: Vec<Spent>,
        at: Timestamp,
    },
    Moved {
        status: Status,
        attempt: u32,
        at: Timestamp,
    },
    StepStarted {
        step: u32,
        attempt: u32,
        at: Timestamp,
    },
    StepSucceeded {
        step: u32,
        attempt: u32,
        output: Payload,
        at: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<CommitId>,
        #[serde(default, skip_serializing_if = "MicroUsd::is_zero")]
        cost: MicroUsd,
    },
    StepFailed {
        step: u32,
        attempt: u32,
        reason: Reason,
        at: Timestamp,
        #[serde(default, skip_serializing_if = "MicroUsd::is_zero")]
        cost: MicroUsd,
    },
    /// An agent that was left at work when its attempt ended has stopped.
    StepEnded {
        step: u32,
        attempt: u32,
        cost: MicroUsd,
        at: Timestamp,
    },
    /// The tests ran, or the change was reviewed.
    Checked {
        activity: Activity,
        attempt: u32,
        passed: bool,
        summary: String,
        report: Payload,
        spent: Vec<Spent>,
        at: Timestamp,
    },
    /// A fix step was put behind all others. `reason`: what it is to mend, where no check says so.
    FixAdded {
        step: Step,
        at: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    GateOpened {
        gate: Gate,
    },
    GateClosed {
        gate: GateId,
        decision: Decision,
        at: Timestamp,
    },
    /// The commit that is to be merged is known, or is another one.
    CommitPinned {
        commit: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<String>,
    },
    /// The main branch had moved; from here on the change is what it was, joined with that.
    CaughtUp {
        main: CommitId,
        at: Timestamp,
    },
    /// Somebody wants an agent to do one thing on what the run has done so far.
    StepAsked {
        id: AgentStepId,
        name: String,
        brief: Payload,
        at: Timestamp,
    },
    /// An agent that was asked for by itself has ended.
    AskedEnded {
        id: AgentStepId,
        cost: MicroUsd,
        at: Timestamp,
    },
    OutcomeUnknown {
        activity: Activity,
        at: Timestamp,
    },
    /// Whether an interrupted merge happened could not be told: a person has to say it.
    LookedInVain {
        at: Timestamp,
    },
    CancelRequested {
        by: Option<UserId>,
        at: Timestamp,
    },
    /// The next attempt began. `from`: what does not come after that step keeps its outcome.
    Retried {
        attempt: u32,
        from: Option<u32>,
        at: Timestamp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        repository: Option<Repository>,
    },
    /// An attempt ended.
    Ended {
        status: Status,
        attempt: u32,
        at: Timestamp,
    },
}

/// The founding event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    pub id: RunId,
    pub workspace: WorkspaceId,
    pub created_by: UserId,
    pub workflow: WorkflowId,
    pub workflow_version: u32,
    pub title: String,
    pub input: Payload,
    pub course: Course,
    pub plan: Arc<Plan>,
    pub advancing: bool,
    pub at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// What the shell must be doing while the run is as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Compute a step's output.
    Evaluate { step: u32, attempt: u32 },
    /// Bring the outcome of the agent that does a step.
    AwaitStep { step: u32, attempt: u32 },
    /// Stop the agent that does a step, and bring its outcome.
    EndStep { step: u32, attempt: u32 },
    /// Bring the outcome of an agent that was asked for by itself.
    AwaitAsked { id: AgentStepId },
    /// Stop such an agent, and bring its outcome.
    EndAsked { id: AgentStepId },
    /// Look whether an interrupted merge happened.
    Look { attempt: u32 },
    /// Do what comes after the steps. `contained`: what it starts is kept in a sandbox.
    Perform { activity: Activity, attempt: u32, contained: bool },
}

/// Names a piece of work or a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkKey {
    Step(u32),
    /// An agent that was left at work when its attempt ended.
    Ending {
        step: u32,
        attempt: u32,
    },
    Asked(AgentStepId),
    Activity(Activity),
    Look,
    Timer(Timer),
}

/// Why a command is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a run that is {status} does not allow {command}", status = .status.name())]
    WrongState { status: Status, command: &'static str },
    #[error("{} gates are open; say which one with gateId", .gates.len())]
    WhichGate { gates: Vec<GateId> },
    #[error("no such gate is open")]
    NoSuchGate,
    #[error("this gate is decided by role {} or higher", .needs.name())]
    RoleTooLow { needs: Role },
    #[error("say with `resolution` whether it happened or is to be repeated")]
    ResolutionMissing,
    #[error("the plan has no step {step:?}")]
    NoSuchStep { step: String },
    #[error("what is merged stays merged; retry without fromStepId goes on after the merge")]
    AlreadyMerged,
    #[error("a plan needs steps, each after those it depends on")]
    PlanUnsound,
    #[error("this run has no repository for an agent to work on")]
    NoRepository,
    #[error(
        "{} agents are at work that were asked for by themselves; ask again when one has ended",
        super::state::ASKED_MAX
    )]
    TooManyAsked,
    #[error("a report of an attempt or a step that is over")]
    Late,
}

impl Command {
    /// The command as people say it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Advance => "advance",
            Self::Approve { .. } => "approve",
            Self::Reject { .. } => "reject",
            Self::Cancel => "cancel",
            Self::Retry { .. } => "retry",
            Self::StepSucceeded { .. } => "step succeeded",
            Self::StepFailed { .. } => "step failed",
            Self::StepEnded { .. } => "step ended",
            Self::AskStep { .. } => "an agent step",
            Self::AskedEnded { .. } => "asked step ended",
            Self::Checked { .. } => "checked",
            Self::StepHeld { .. } => "step held",
            Self::Done { .. } => "done",
            Self::Undone { .. } => "undone",
            Self::MainMoved { .. } => "main moved",
            Self::OutcomeUnknown { .. } => "outcome unknown",
            Self::Looked { .. } => "looked",
            Self::Due { .. } => "due",
        }
    }
}

impl Activity {
    /// What it is called as a check.
    pub fn check(self) -> &'static str {
        if self == Self::Test { "testing" } else { "review" }
    }

    /// Whether it reaches outside and cannot be taken back.
    pub fn is_irrevocable(self) -> bool {
        effect(Work::Perform { activity: self, attempt: 0, contained: true }) == Effect::Irrevocable
    }
}

/// What repeating a piece of work would mean.
pub fn effect(work: Work) -> Effect {
    match work {
        Work::Evaluate { .. } => Effect::Pure,
        Work::Perform { activity: Activity::Test, contained: true, .. } => Effect::Contained,
        // A command outside a sandbox can do anything.
        Work::Perform { activity: Activity::Test, contained: false, .. } => Effect::Irrevocable,
        Work::AwaitStep { .. } | Work::AwaitAsked { .. } | Work::Look { .. } => Effect::ReadOnly,
        Work::Perform { activity: Activity::Review | Activity::Verify | Activity::Watch, .. } => {
            Effect::ReadOnly
        }
        Work::EndStep { .. }
        | Work::EndAsked { .. }
        | Work::Perform { activity: Activity::OpenPullRequest, .. } => Effect::Keyed,
        Work::Perform { activity: Activity::Merge | Activity::Deploy | Activity::Heal, .. } => {
            Effect::Irrevocable
        }
    }
}
