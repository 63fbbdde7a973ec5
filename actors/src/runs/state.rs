//! The life of a run, as a pure state machine.
//!
//! ```text
//! PlanDraft ─▶ [PlanApproval] ─▶ Planned ──Advance──▶ Executing ─▶ Testing ─▶ Review ─▶ PrOpened
//!                                                        ▲            │          │         │
//!                                                        └─ fix step ─┴──────────┘         ▼
//!                                                          (twice at most)          [MergeApproval]
//!                                                                                          ▼
//!            Operating ◀─ DeployVerifying ◀─ [DeployApproval] ◀─ Deploying ◀──────────── Merged
//!              │   ▲
//!              ▼   │                       from anywhere: Failed, Cancelled; only Retry leaves those two
//!            SelfHealing
//! ```
//!
//! States that do not apply to a run (its [`Course`] says which do) are passed in the same commit.
//!
//! **Invariant:** `decide` never changes the run and `apply` never refuses, so a saved event can always be
//! applied again.
//! **Invariant:** `work` depends on the saved run alone: what wakes after a crash asks it and carries on.
//! **Invariant:** a report of an attempt that is over changes nothing.

use std::{sync::Arc, time::Duration};

use cendriix_protocol::{
    ids::{AgentStepId, GateId, RunId, UserId, WorkflowId, WorkspaceId},
    money::MicroUsd,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use super::flow::Draft;
pub use super::{
    commands::{Command, Created, Event, Mend, Refusal, Seen, Timer, Work, WorkKey, effect},
    gates::{Decision, Gate, GateKind, Resolution},
    plan::{
        Check, CommitId, Content, Course, Payload, Plan, Progress, Reason, Repository, Source, Spent, Step,
        StepKind, StepState, spent,
    },
};
use crate::kit::machine::Given;

/// How many steps of a run may go on at the same time.
pub const PARALLEL_MAX: usize = 64;
/// How often red tests, blocking findings or contradicting changes lead back to `executing`.
pub const FIXES_MAX: u32 = 2;
/// How often an attempt is brought up to a main branch that moved.
pub const CATCH_UPS_MAX: u32 = 8;
/// How many agents that were asked for by themselves may work on a run at the same time.
pub const ASKED_MAX: usize = 16;
/// How long work may take to come to its end after a cancellation.
pub const GRACE: Duration = Duration::from_secs(30);
/// How long a gate waits for a person unless the workflow says otherwise.
pub const GATE_EXPIRES_AFTER: Duration = Duration::from_hours(24);

/// A run and everything needed to continue it after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub id: RunId,
    pub workspace: WorkspaceId,
    pub created_by: UserId,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub workflow: WorkflowId,
    pub workflow_version: u32,
    pub title: String,
    /// Where the input stands.
    pub input: Content,
    pub course: Course,
    /// The steps as planned; shared, since only a new plan changes it.
    pub plan: Arc<Plan>,
    /// How far each step is, in the order of the plan.
    pub progress: Vec<Progress>,
    /// Counts the attempts, from 1.
    pub attempt: u32,
    pub status: Status,
    pub status_since: Timestamp,
    pub gates: Vec<Gate>,
    /// Whether the run starts by itself once it is planned.
    pub advancing: bool,
    /// When somebody asked to cancel this attempt; nothing once it has ended.
    pub cancel_requested_at: Option<Timestamp>,
    /// How many fix steps this attempt has had.
    pub fixes: u32,
    /// How many steps at the end of the plan are fix steps.
    pub fix_steps: u32,
    /// Whether the plan, as it is, was approved in this attempt.
    pub plan_approved: bool,
    /// The commit that the merge gate shows, or that was merged.
    pub commit: Option<String>,
    /// Whether the merge happened; it stays so over all attempts.
    pub merged: bool,
    /// An activity of which nobody knows whether it happened; its gate is open.
    pub unknown: Option<Activity>,
    pub cost: MicroUsd,
    /// The last event that was applied.
    pub seq: u64,
    /// The repository it works on, when any of it needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<Repository>,
    /// The model that its agents ask first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Who made its plan, and where it stands in full; absent when the workflow says it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<(String, Content)>,
    /// What the tests and reviews of this attempt found, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// The branch that shows the change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// How often this attempt was brought up to a main branch that had moved.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub catch_ups: u32,
    /// Agents that were asked for by themselves and have not ended, and in which attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<(AgentStepId, u32)>,
    /// Agents that were at work when their attempt ended, and have not stopped yet: step and attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ending: Vec<(u32, u32)>,
    /// When it was looked, in vain, whether the unknown effect happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub looked_in_vain_at: Option<Timestamp>,
    /// What the last fix step is to mend, where it is not what a check found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_mend: Option<Reason>,
    /// Why the attempt before this one did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Reason>,
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    PlanDraft,
    PlanApproval,
    Planned,
    Executing,
    Testing,
    Review,
    PrOpened,
    MergeApproval,
    Merged,
    Deploying,
    DeployApproval,
    DeployVerifying,
    Operating { checking: bool },
    SelfHealing,
    Failed { reason: Reason },
    Cancelled,
}

/// What a run does after its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Activity {
    Test,
    Review,
    OpenPullRequest,
    Merge,
    Deploy,
    Verify,
    Watch,
    Heal,
}

/// What a run begins with.
#[derive(Clone, Debug)]
pub struct Birth {
    pub workspace: WorkspaceId,
    pub created_by: UserId,
    pub workflow: WorkflowId,
    pub workflow_version: u32,
    pub title: String,
    pub input: Payload,
    pub course: Course,
    pub plan: Arc<Plan>,
    /// Whether the run starts by itself once it is planned.
    pub advancing: bool,
    /// The repository it works on, when any of it needs one.
    pub repository: Option<Repository>,
    /// The model that its agents ask first.
    pub model: Option<String>,
    /// What a planner made of the ticket.
    pub planned: Option<Planned>,
}

/// What a planner made of a ticket.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Who made it.
    pub planner: String,
    /// What clients see of the steps.
    pub detail: Payload,
    /// What making it cost.
    pub spent: Vec<Spent>,
}

impl Run {
    /// The run that an event of birth founds; `None` for any other event.
    pub fn found(first: &Event) -> Option<Self> {
        let Event::Created(created) = first else { return None };
        Some(Self {
            id: created.id,
            workspace: created.workspace,
            created_by: created.created_by,
            created_at: created.at,
            updated_at: created.at,
            workflow: created.workflow,
            workflow_version: created.workflow_version,
            title: created.title.clone(),
            input: created.input.at(1),
            course: created.course,
            plan: Arc::clone(&created.plan),
            progress: vec![Progress::NONE; created.plan.steps.len()],
            attempt: 1,
            status: Status::PlanDraft,
            status_since: created.at,
            gates: Vec::new(),
            advancing: created.advancing,
            cancel_requested_at: None,
            fixes: 0,
            fix_steps: 0,
            plan_approved: false,
            commit: None,
            merged: false,
            unknown: None,
            cost: MicroUsd(0),
            seq: 0,
            repository: created.repository.clone(),
            model: created.model.clone(),
            planned: None,
            checks: Vec::new(),
            branch: None,
            catch_ups: 0,
            asked: Vec::new(),
            ending: Vec::new(),
            looked_in_vain_at: None,
            to_mend: None,
            earlier: None,
        })
    }

    /// Says what a birth brings about.
    ///
    /// # Errors
    ///
    /// When the plan has no steps or is not in order.
    pub fn create(birth: &Birth, id: RunId, given: &Given) -> Result<Vec<Event>, Refusal> {
        let steps = birth.plan.steps.iter().enumerate();
        let ordered =
            steps.clone().all(|(place, step)| step.needs.iter().all(|need| (*need as usize) < place));
        if birth.plan.steps.is_empty() || !ordered {
            return Err(Refusal::PlanUnsound);
        }
        let created = Event::Created(Box::new(Created {
            id,
            workspace: birth.workspace,
            created_by: birth.created_by,
            workflow: birth.workflow,
            workflow_version: birth.workflow_version,
            title: birth.title.clone(),
            input: birth.input.clone(),
            course: birth.course,
            plan: Arc::clone(&birth.plan),
            advancing: birth.advancing,
            at: given.at,
            repository: birth.repository.clone(),
            model: birth.model.clone(),
        }));
        let Some(run) = Self::found(&created) else { return Err(Refusal::PlanUnsound) };
        let mut draft = Draft::new(run, *given);
        draft.emit(created);
        if let Some(Planned { planner, detail, spent }) = birth.planned.clone() {
            draft.emit(Event::Planned { planner, detail, spent, at: given.at });
        }
        draft.begin();
        Ok(draft.events())
    }

    /// Says what `command` would bring about, without changing the run.
    ///
    /// # Errors
    ///
    /// [`Refusal`] when the present state does not allow it.
    pub fn decide(&self, command: &Command, given: &Given) -> Result<Vec<Event>, Refusal> {
        let mut draft = Draft::new(self.clone(), *given);
        match (&self.status, command) {
            (Status::Failed { .. } | Status::Cancelled, Command::Retry { from, repository }) => {
                draft.retry(from.as_deref(), repository.clone())?;
            }
            (Status::Planned, Command::Advance) => draft.execute(),
            (_, Command::Approve { gate, note, resolution, role }) => {
                draft.approve(*gate, note.clone(), *resolution, *role)?;
            }
            (_, Command::Reject { gate, reason, role }) => draft.reject(*gate, reason.clone(), *role)?,
            (status, Command::Cancel) if !status.is_end() => draft.cancel(),
            (_, Command::StepSucceeded { step, attempt, output, commit, cost }) => {
                self.expect_step(*step, *attempt)?;
                draft.step_succeeded(*step, output.clone(), commit.clone(), *cost);
            }
            (_, Command::StepFailed { step, attempt, reason, cost }) => {
                self.expect_step(*step, *attempt)?;
                draft.step_failed(*step, reason, *cost);
            }
            (_, Command::StepEnded { step, attempt, cost }) => {
                if !self.ending.contains(&(*step, *attempt)) {
                    return Err(Refusal::Late);
                }
                let (step, attempt, cost, at) = (*step, *attempt, *cost, given.at);
                draft.emit(Event::StepEnded { step, attempt, cost, at });
            }
            (_, Command::Checked { activity, attempt, .. }) => {
                self.expect_activity(*activity, *attempt)?;
                draft.checked(command);
            }
            (_, Command::AskStep { id, name, brief }) => {
                self.expect_askable()?;
                draft.ask_step(*id, name, brief);
            }
            (_, Command::AskedEnded { id, cost }) => {
                if !self.asked.iter().any(|(asked, _)| asked == id) {
                    return Err(Refusal::Late);
                }
                draft.emit(Event::AskedEnded { id: *id, cost: *cost, at: given.at });
            }
            (_, Command::StepHeld { step, attempt, kind, subject, pinned }) => {
                self.expect_step(*step, *attempt)?;
                draft.hold_step(*step, *kind, subject.clone(), pinned.clone());
            }
            (_, Command::Done { activity, attempt, commit, branch }) => {
                self.expect_activity(*activity, *attempt)?;
                draft.done(*activity, commit.clone(), branch.clone());
            }
            (_, Command::Undone { activity, attempt, reason, mend }) => {
                self.expect_activity(*activity, *attempt)?;
                draft.undone(*activity, reason.clone(), *mend);
            }
            (_, Command::MainMoved { activity, attempt, main }) => {
                self.expect_activity(*activity, *attempt)?;
                draft.main_moved(main);
            }
            (_, Command::OutcomeUnknown { activity, attempt }) => {
                self.expect_activity(*activity, *attempt)?;
                draft.outcome_unknown(*activity);
            }
            (_, Command::Looked { attempt, .. }) if !self.awaits_look(*attempt) => return Err(Refusal::Late),
            (_, Command::Looked { seen, .. }) => draft.looked(seen),
            (_, Command::Due { timer }) => draft.due(*timer)?,
            (status, Command::Advance | Command::Cancel | Command::Retry { .. }) => {
                return Err(Refusal::WrongState { status: status.clone(), command: command.name() });
            }
        }
        Ok(draft.events())
    }

    /// An agent may be asked for while the run goes on and has what it works on.
    fn expect_askable(&self) -> Result<(), Refusal> {
        if self.status.is_end() || self.cancel_requested_at.is_some() {
            return Err(Refusal::WrongState { status: self.status.clone(), command: "an agent step" });
        }
        if self.repository.is_none() {
            return Err(Refusal::NoRepository);
        }
        if self.asked.len() < ASKED_MAX { Ok(()) } else { Err(Refusal::TooManyAsked) }
    }

    /// A report counts only while its step runs in its attempt.
    fn expect_step(&self, step: u32, attempt: u32) -> Result<(), Refusal> {
        let running = self.progress.get(step as usize).is_some_and(|step| step.state == StepState::Running);
        if running && attempt == self.attempt && !self.status.is_end() { Ok(()) } else { Err(Refusal::Late) }
    }

    /// A report counts only while its activity goes on in its attempt. Once nobody knew its outcome, a person
    /// says it.
    fn expect_activity(&self, activity: Activity, attempt: u32) -> Result<(), Refusal> {
        let goes_on = self.activity() == Some(activity) && self.unknown.is_none();
        if goes_on && attempt == self.attempt { Ok(()) } else { Err(Refusal::Late) }
    }

    /// Takes an event in. The only place where a run changes.
    pub fn apply(&mut self, seq: u64, event: &Event) {
        self.seq = seq;
        match event {
            Event::Created(_) => (),
            Event::Planned { planner, detail, spent, .. } => {
                self.planned = Some((planner.clone(), detail.at(seq)));
                self.spend(spent);
            }
            Event::Moved { status, at, .. } | Event::Ended { status, at, .. } => self.enter(status, *at),
            Event::StepStarted { step, attempt, at } => self.start_step(*step, *attempt, *at),
            Event::StepSucceeded { step, output, at, commit, cost, .. } => {
                let output = output.at(seq);
                self.end_step(*step, *at, *cost, StepState::Succeeded { output }, commit.clone());
            }
            Event::StepFailed { step, at, cost, .. } => {
                self.end_step(*step, *at, *cost, StepState::Failed, None);
            }
            Event::StepEnded { step, attempt, cost, at } => self.end_late(*step, *attempt, *cost, *at),
            Event::FixAdded { step, at, reason } => self.add_fix(step, reason.as_ref(), *at),
            Event::StepAsked { id, at, .. } => {
                self.asked.push((*id, self.attempt));
                self.updated_at = *at;
            }
            Event::AskedEnded { id, cost, at } => self.end_asked(*id, *cost, *at),
            Event::Checked { activity, passed, summary, report, spent, at, .. } => {
                let (summary, report) = (summary.clone(), report.at(seq));
                self.checks.push(Check { activity: *activity, passed: *passed, summary, report });
                self.spend(spent);
                self.updated_at = *at;
            }
            Event::GateOpened { gate } => {
                if let Some(step) = gate.step {
                    self.step(step, gate.opened_at, |progress| {
                        progress.state = StepState::Waiting { gate: gate.id };
                        progress.started_at = progress.started_at.or(Some(gate.opened_at));
                    });
                }
                self.updated_at = gate.opened_at;
                self.gates.push(gate.clone());
            }
            Event::GateClosed { gate, decision, at } => self.close(*gate, decision, *at),
            Event::CommitPinned { commit, branch } => {
                self.commit = Some(commit.clone());
                self.branch = branch.clone().or(self.branch.take());
            }
            Event::CaughtUp { main, at } => self.catch_up(main, *at),
            Event::OutcomeUnknown { activity, at } => self.doubt(*activity, None, *at),
            Event::LookedInVain { at } => self.doubt(Activity::Merge, Some(*at), *at),
            Event::CancelRequested { at, .. } => {
                self.cancel_requested_at = Some(*at);
                self.updated_at = *at;
            }
            Event::Retried { attempt, from, at, repository } => {
                self.repository = repository.clone().or(self.repository.take());
                self.begin_again(*attempt, *from, *at);
            }
        }
    }

    fn spend(&mut self, spent: &[Spent]) {
        self.cost = self.cost + spent::cost(spent);
    }

    fn catch_up(&mut self, main: &CommitId, at: Timestamp) {
        if let Some(repository) = &mut self.repository {
            repository.main = Some(main.clone());
        }
        self.catch_ups += 1;
        self.commit = None;
        self.updated_at = at;
    }

    fn doubt(&mut self, activity: Activity, looked_in_vain_at: Option<Timestamp>, at: Timestamp) {
        self.unknown = Some(activity);
        self.looked_in_vain_at = looked_in_vain_at;
        self.updated_at = at;
    }

    fn enter(&mut self, status: &Status, at: Timestamp) {
        self.status = status.clone();
        self.status_since = at;
        self.updated_at = at;
        if *status == Status::Merged {
            self.merged = true;
        }
        if status.is_end() {
            for (place, progress) in (0_u32..).zip(&mut self.progress) {
                if matches!(progress.state, StepState::Running | StepState::Waiting { .. }) {
                    if self.plan.steps[place as usize].kind == StepKind::Agent {
                        self.ending.push((place, progress.attempt));
                    }
                    progress.state = StepState::Cancelled;
                    progress.completed_at = Some(at);
                }
            }
            self.unknown = None;
            self.cancel_requested_at = None;
        }
    }

    fn close(&mut self, gate: GateId, decision: &Decision, at: Timestamp) {
        self.updated_at = at;
        let Some(place) = self.gates.iter().position(|open| open.id == gate) else { return };
        let gate = self.gates.remove(place);
        if !matches!(decision, Decision::Approved { .. }) {
            return;
        }
        match (gate.kind, gate.step) {
            (GateKind::Plan, _) => self.plan_approved = true,
            (GateKind::UnknownOutcome, _) => self.unknown = None,
            (GateKind::Policy | GateKind::Budget, Some(step)) => {
                self.step(step, at, |progress| progress.state = StepState::Running);
            }
            (
                GateKind::Step | GateKind::Policy | GateKind::Budget | GateKind::Merge | GateKind::Deploy,
                _,
            ) => (),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Status {
    /// Whether an attempt has ended there. A run that goes on to deploy passes through `Merged` in the same
    /// commit.
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Merged | Self::Operating { .. } | Self::Failed { .. } | Self::Cancelled)
    }

    /// Why it is no good end, if it is none.
    pub fn reason(&self) -> Option<&Reason> {
        if let Self::Failed { reason } = self { Some(reason) } else { None }
    }

    /// The status as people and the wire say it.
    pub fn name(&self) -> &'static str {
        cendriix_protocol::runs::Status::from(self).name()
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
