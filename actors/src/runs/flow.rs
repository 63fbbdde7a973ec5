//! What one command brings about, event by event: each is applied to a draft at once, so that the next can
//! follow from it.

use cendriix_protocol::{
    ids::{self, AgentStepId, GateId},
    money::MicroUsd,
    time::Timestamp,
    workspaces::Role,
};
use std::time::Duration;

use super::state::{
    Activity, CATCH_UPS_MAX, Command, CommitId, Decision, Event, FIXES_MAX, GATE_EXPIRES_AFTER, GRACE, Gate,
    GateKind, Mend, PARALLEL_MAX, Payload, Progress, Reason, Refusal, Repository, Resolution, Run, Seen,
    Status, Step, StepKind, StepState, Timer,
};
use crate::kit::machine::Given;

/// The code of a step, and of its run, that takes a language model where there is none.
pub(crate) const NEEDS_MODEL: &str = "needs_model";

/// A run as it would be, and the events that lead there.
pub(super) struct Draft {
    run: Run,
    given: Given,
    events: Vec<Event>,
}

impl Draft {
    pub(super) fn new(run: Run, given: Given) -> Self {
        Self { run, given, events: Vec::new() }
    }

    pub(super) fn events(self) -> Vec<Event> {
        self.events
    }

    pub(super) fn emit(&mut self, event: Event) {
        self.run.apply(self.run.seq + 1, &event);
        self.events.push(event);
    }

    fn at(&self) -> Timestamp {
        self.given.at
    }

    fn move_to(&mut self, status: Status) {
        let (at, attempt) = (self.at(), self.run.attempt);
        self.emit(Event::Moved { status, attempt, at });
    }

    /// Ends the attempt there; gates that are open are withdrawn.
    fn end(&mut self, status: Status) {
        let at = self.at();
        let open: Vec<GateId> = self.run.gates.iter().map(|gate| gate.id).collect();
        for gate in open {
            self.emit(Event::GateClosed { gate, decision: Decision::Withdrawn, at });
        }
        let attempt = self.run.attempt;
        self.emit(Event::Ended { status, attempt, at });
    }

    fn fail(&mut self, reason: Reason) {
        self.end(Status::Failed { reason });
    }

    /// From the draft of the plan to where somebody is needed, or on.
    pub(super) fn begin(&mut self) {
        if self.run.merged {
            return self.deploy();
        }
        if self.run.course.plan_gate && !self.run.plan_approved {
            self.move_to(Status::PlanApproval);
            let version = self.run.plan.version;
            let subject = format!("approve the plan of {} steps", self.run.plan.steps.len());
            self.open(
                GateKind::Plan,
                None,
                Role::Member,
                GATE_EXPIRES_AFTER,
                subject,
                Some(format!("plan {version}")),
            );
        } else if self.run.advancing || self.run.attempt > 1 {
            // A retry needs no advance.
            self.execute();
        } else {
            self.move_to(Status::Planned);
        }
    }

    /// Starts the steps.
    pub(super) fn execute(&mut self) {
        self.move_to(Status::Executing);
        self.schedule();
    }

    /// Starts every step that can start, or goes on when all have succeeded.
    fn schedule(&mut self) {
        if self.run.cancel_requested_at.is_some() {
            return self.settle_cancel();
        }
        let mut running = self.under_way();
        for place in 0..self.run.plan.steps.len() {
            if running >= PARALLEL_MAX {
                return;
            }
            if self.is_ready(place) {
                running += usize::from(self.start(u32::try_from(place).unwrap_or(u32::MAX)));
            }
        }
        if self.run.progress.iter().all(|step| matches!(step.state, StepState::Succeeded { .. })) {
            self.after_steps();
        }
    }

    /// How many steps are at work. One that is held keeps its place, since it goes on once a person agrees.
    fn under_way(&self) -> usize {
        let steps = self.run.plan.steps.iter().zip(&self.run.progress);
        let at_work = |(step, progress): &(&Step, &Progress)| match progress.state {
            StepState::Running => true,
            StepState::Waiting { .. } => !matches!(step.kind, StepKind::Gate { .. }),
            StepState::Pending | StepState::Succeeded { .. } | StepState::Failed | StepState::Cancelled => {
                false
            }
        };
        steps.filter(at_work).count()
    }

    fn is_ready(&self, place: usize) -> bool {
        let succeeded =
            |need: &u32| matches!(self.run.progress[*need as usize].state, StepState::Succeeded { .. });
        self.run.progress[place].state == StepState::Pending
            && self.run.plan.steps[place].needs.iter().all(succeeded)
    }

    /// Starts one step; true when it is work.
    fn start(&mut self, step: u32) -> bool {
        let (at, attempt) = (self.at(), self.run.attempt);
        self.emit(Event::StepStarted { step, attempt, at });
        let Step { kind, id, .. } = self.run.plan.steps[step as usize].clone();
        let StepKind::Gate { role, timeout_ms } = kind else { return true };
        let subject = format!("approve {id}");
        self.open(GateKind::Step, Some(step), role, Duration::from_millis(timeout_ms), subject, None);
        false
    }

    fn open(
        &mut self,
        kind: GateKind,
        step: Option<u32>,
        role: Role,
        waits: Duration,
        subject: String,
        pinned: Option<String>,
    ) {
        let at = self.at();
        // One decision may open several gates: each takes the next id.
        let random = self.given.random.wrapping_add(self.events.len() as u128);
        let id = GateId(ids::compose(at.0, ids::shard_of(self.run.id.0), random));
        let gate = Gate { id, kind, step, role, opened_at: at, expires_at: at.after(waits), subject, pinned };
        self.emit(Event::GateOpened { gate });
    }

    pub(super) fn ask_step(&mut self, id: AgentStepId, name: &str, brief: &Payload) {
        let (name, brief, at) = (name.to_owned(), brief.clone(), self.at());
        self.emit(Event::StepAsked { id, name, brief, at });
    }

    pub(super) fn step_succeeded(
        &mut self,
        step: u32,
        output: Payload,
        commit: Option<CommitId>,
        cost: MicroUsd,
    ) {
        let (at, attempt) = (self.at(), self.run.attempt);
        self.emit(Event::StepSucceeded { step, attempt, output, at, commit, cost });
        self.schedule();
    }

    pub(super) fn step_failed(&mut self, step: u32, reason: &Reason, cost: MicroUsd) {
        let (at, attempt) = (self.at(), self.run.attempt);
        let id = &self.run.plan.steps[step as usize].id;
        // What a program or a person can do about it is the same for the run as for its step.
        let code = if reason.code == NEEDS_MODEL { NEEDS_MODEL } else { "step_failed" };
        let failed = Reason::new(code, format!("step {id} failed: {}", reason.message));
        self.emit(Event::StepFailed { step, attempt, reason: reason.clone(), at, cost });
        if self.run.cancel_requested_at.is_some() {
            return self.settle_cancel();
        }
        self.fail(failed);
    }

    pub(super) fn hold_step(&mut self, step: u32, kind: GateKind, subject: String, pinned: Option<String>) {
        if self.run.cancel_requested_at.is_some() {
            let reason = Reason::new("cancelled", "the run is being cancelled");
            return self.step_failed(step, &reason, MicroUsd(0));
        }
        let kind = if kind == GateKind::Budget { kind } else { GateKind::Policy };
        self.open(kind, Some(step), Role::Member, GATE_EXPIRES_AFTER, subject, pinned);
    }

    fn after_steps(&mut self) {
        if self.run.course.testing { self.move_to(Status::Testing) } else { self.after_tests() }
    }

    fn after_tests(&mut self) {
        if self.run.course.review { self.move_to(Status::Review) } else { self.after_review() }
    }

    fn after_review(&mut self) {
        if self.run.course.pull_request { self.move_to(Status::PrOpened) } else { self.after_merge() }
    }

    /// The commit is known: a person approves exactly that one, or it is merged.
    fn before_merge(&mut self, commit: String, branch: Option<String>) {
        let subject = format!("merge commit {commit}");
        self.emit(Event::CommitPinned { commit: commit.clone(), branch });
        if self.run.course.merge_gate {
            self.move_to(Status::MergeApproval);
            self.open(GateKind::Merge, None, Role::Member, GATE_EXPIRES_AFTER, subject, Some(commit));
        }
    }

    fn after_merge(&mut self) {
        if self.run.course.deploy {
            self.move_to(Status::Merged);
            self.deploy();
        } else {
            self.end(Status::Merged);
        }
    }

    fn deploy(&mut self) {
        if self.run.course.deploy {
            self.move_to(Status::Deploying);
        } else {
            self.end(Status::Merged);
        }
    }

    fn after_deploy(&mut self) {
        if self.run.course.deploy_gate {
            self.move_to(Status::DeployApproval);
            let subject = "keep what was deployed".to_owned();
            self.open(
                GateKind::Deploy,
                None,
                Role::Member,
                GATE_EXPIRES_AFTER,
                subject,
                self.run.commit.clone(),
            );
        } else {
            self.verify();
        }
    }

    fn verify(&mut self) {
        if self.run.course.verify {
            self.move_to(Status::DeployVerifying);
        } else {
            self.end(Status::Operating { checking: false });
        }
    }

    /// The tests or the review came to an end.
    pub(super) fn checked(&mut self, command: &Command) {
        let Command::Checked { activity, passed, mend, summary, report, spent, .. } = command.clone() else {
            return;
        };
        let (at, attempt) = (self.at(), self.run.attempt);
        let said = summary.clone();
        self.emit(Event::Checked { activity, attempt, passed, summary, report, spent, at });
        let code = if activity == Activity::Test { "tests_failed" } else { "review_failed" };
        if passed {
            self.done(activity, None, None);
        } else if mend == Mend::Agent && self.may_fix() {
            self.fix(None);
        } else {
            self.undone(activity, Reason::new(code, said), Mend::Nobody);
        }
    }

    pub(super) fn done(&mut self, activity: Activity, commit: Option<String>, branch: Option<String>) {
        let cancelling = self.run.cancel_requested_at.is_some();
        match activity {
            // What has happened to the outside world has happened: it is recorded although a cancel was asked
            // for.
            Activity::Merge => {
                if let Some(commit) = commit {
                    self.emit(Event::CommitPinned { commit, branch });
                }
                if cancelling { self.end(Status::Merged) } else { self.after_merge() }
            }
            Activity::Deploy | Activity::Heal if cancelling => {
                self.end(Status::Operating { checking: false });
            }
            _ if cancelling => self.end(Status::Cancelled),
            Activity::Test => self.after_tests(),
            Activity::Review => self.after_review(),
            Activity::OpenPullRequest => match commit {
                Some(commit) => self.before_merge(commit, branch),
                // Nothing has changed: there is nothing to show, to approve or to merge.
                None => self.after_merge(),
            },
            Activity::Deploy => self.after_deploy(),
            Activity::Verify | Activity::Heal => self.end(Status::Operating { checking: false }),
            Activity::Watch => self.move_to(Status::Operating { checking: false }),
        }
    }

    pub(super) fn undone(&mut self, activity: Activity, reason: Reason, mend: Mend) {
        if self.run.cancel_requested_at.is_some() {
            return self.end(Status::Cancelled);
        }
        match (activity, mend) {
            (Activity::Test | Activity::Review | Activity::OpenPullRequest, Mend::Agent)
                if self.may_fix() =>
            {
                self.fix(Some(reason));
            }
            (Activity::Merge, Mend::Person) => self.ask_again(&reason),
            (Activity::Watch, _) => self.move_to(Status::SelfHealing),
            _ => self.fail(reason),
        }
    }

    /// Nothing was merged, and only a person can make way for it: whoever has done so approves once more.
    fn ask_again(&mut self, reason: &Reason) {
        let Some(commit) = self.run.commit.clone() else { return self.fail(reason.clone()) };
        if self.run.status != Status::MergeApproval {
            self.move_to(Status::MergeApproval);
        }
        let subject = format!("merge commit {commit}, which could not be done: {}", reason.message);
        self.open(GateKind::Merge, None, Role::Member, GATE_EXPIRES_AFTER, subject, Some(commit));
    }

    /// The change is brought up to where the main branch is, and begins again to be tested: what is merged
    /// is what was tested, reviewed and approved.
    pub(super) fn main_moved(&mut self, main: &CommitId) {
        if self.run.cancel_requested_at.is_some() {
            return self.end(Status::Cancelled);
        }
        if self.run.catch_ups >= CATCH_UPS_MAX {
            let said = format!(
                "the main branch moved {CATCH_UPS_MAX} times while the change was tested and approved; retry"
            );
            return self.fail(Reason::new("main_moved", said));
        }
        let at = self.at();
        self.emit(Event::CaughtUp { main: main.clone(), at });
        self.after_steps();
    }

    fn may_fix(&self) -> bool {
        self.run.fixes < FIXES_MAX && self.run.cancel_requested_at.is_none()
    }

    /// Back to `executing`, with a fix step behind all others.
    fn fix(&mut self, reason: Option<Reason>) {
        let at = self.at();
        let taken = |id: &str| self.run.plan.steps.iter().any(|step| step.id == id);
        let number = (1..u32::MAX).find(|number| !taken(&format!("fix-{number}"))).unwrap_or(u32::MAX);
        let needs = (0..u32::try_from(self.run.plan.steps.len()).unwrap_or(u32::MAX)).collect();
        let step = Step { id: format!("fix-{number}"), kind: StepKind::Agent, needs };
        self.emit(Event::FixAdded { step, at, reason });
        self.execute();
    }

    pub(super) fn outcome_unknown(&mut self, activity: Activity) {
        let at = self.at();
        self.emit(Event::OutcomeUnknown { activity, at });
        let what = match activity {
            Activity::Merge => "the merge",
            Activity::Deploy => "the deployment",
            Activity::Heal => "the healing",
            Activity::Test
            | Activity::Review
            | Activity::OpenPullRequest
            | Activity::Verify
            | Activity::Watch => "an effect",
        };
        let subject =
            format!("{what} was interrupted: look whether it happened, then say so, or have it repeated");
        self.open(
            GateKind::UnknownOutcome,
            None,
            Role::Member,
            GATE_EXPIRES_AFTER,
            subject,
            self.run.commit.clone(),
        );
    }

    /// What was seen of an interrupted merge.
    pub(super) fn looked(&mut self, seen: &Seen) {
        let at = self.at();
        let open = self.run.gates.iter().find(|gate| gate.kind == GateKind::UnknownOutcome);
        let (said, merged) = match seen {
            Seen::Merged(commit) => ("the main branch holds the commit", Some(commit.to_string())),
            Seen::NotMerged => ("the main branch is without it", None),
            Seen::Nothing => return self.emit(Event::LookedInVain { at }),
        };
        let Some(gate) = open.map(|gate| gate.id) else { return self.emit(Event::LookedInVain { at }) };
        let decision = Decision::Approved { note: Some(said.to_owned()) };
        self.emit(Event::GateClosed { gate, decision, at });
        if merged.is_some() {
            self.done(Activity::Merge, merged, None);
        } else if self.run.cancel_requested_at.is_some() {
            self.end(Status::Cancelled);
        }
    }

    fn gate(&self, wanted: Option<GateId>, role: Role, command: &'static str) -> Result<Gate, Refusal> {
        let gate = match (wanted, self.run.gates.as_slice()) {
            (None, []) => return Err(Refusal::WrongState { status: self.run.status.clone(), command }),
            (None, [only]) => only,
            (None, all) => {
                return Err(Refusal::WhichGate { gates: all.iter().map(|gate| gate.id).collect() });
            }
            (Some(id), all) => all.iter().find(|gate| gate.id == id).ok_or(Refusal::NoSuchGate)?,
        };
        if role < gate.role { Err(Refusal::RoleTooLow { needs: gate.role }) } else { Ok(gate.clone()) }
    }

    pub(super) fn approve(
        &mut self,
        gate: Option<GateId>,
        note: Option<String>,
        resolution: Option<Resolution>,
        role: Role,
    ) -> Result<(), Refusal> {
        let gate = self.gate(gate, role, "approve")?;
        if gate.kind == GateKind::UnknownOutcome && resolution.is_none() {
            return Err(Refusal::ResolutionMissing);
        }
        let (at, unknown) = (self.at(), self.run.unknown);
        let said = serde_json::json!({ "approved": true, "by": self.given.by.to_string(), "note": note })
            .to_string();
        self.emit(Event::GateClosed { gate: gate.id, decision: Decision::Approved { note }, at });
        match (gate.kind, gate.step) {
            (GateKind::Plan, _) => self.begin(),
            (GateKind::Step, Some(step)) => {
                self.step_succeeded(step, Payload::Inline(said), None, MicroUsd(0));
            }
            (GateKind::Deploy, _) => self.verify(),
            (GateKind::UnknownOutcome, _) => {
                if let (Some(activity), Some(Resolution::Happened)) = (unknown, resolution) {
                    self.done(activity, self.run.commit.clone(), None);
                } else if self.run.cancel_requested_at.is_some() {
                    self.end(Status::Cancelled);
                }
            }
            // Its work goes on by itself.
            (GateKind::Step | GateKind::Policy | GateKind::Budget | GateKind::Merge, _) => (),
        }
        Ok(())
    }

    pub(super) fn reject(
        &mut self,
        gate: Option<GateId>,
        reason: Option<String>,
        role: Role,
    ) -> Result<(), Refusal> {
        let gate = self.gate(gate, role, "reject")?;
        let at = self.at();
        let said = reason.clone().unwrap_or_else(|| "without a reason".to_owned());
        self.emit(Event::GateClosed { gate: gate.id, decision: Decision::Denied { reason }, at });
        self.fail(Reason::new("gate_denied", format!("a person denied: {} ({said})", gate.subject)));
        Ok(())
    }

    pub(super) fn cancel(&mut self) {
        if self.run.cancel_requested_at.is_some() {
            return;
        }
        let at = self.at();
        self.emit(Event::CancelRequested { by: self.given.by.actor.user(), at });
        // What computes only is dropped; everything else gets the time to end by itself, or a person says how
        // it ended.
        let goes_on = self.agents_work() || self.run.activity().is_some();
        if !goes_on {
            self.end(Status::Cancelled);
        }
    }

    /// Ends the run once no agent works on it any more.
    fn settle_cancel(&mut self) {
        if !self.agents_work() {
            self.end(Status::Cancelled);
        }
    }

    fn agents_work(&self) -> bool {
        let mut steps = self.run.plan.steps.iter().zip(&self.run.progress);
        steps.any(|(step, progress)| progress.state == StepState::Running && step.kind == StepKind::Agent)
    }

    pub(super) fn retry(
        &mut self,
        from: Option<&str>,
        repository: Option<Repository>,
    ) -> Result<(), Refusal> {
        let place = |id: &str| self.run.plan.steps.iter().position(|step| step.id == id);
        let from = match from {
            None => None,
            Some(_) if self.run.merged => return Err(Refusal::AlreadyMerged),
            Some(id) => Some(place(id).ok_or_else(|| Refusal::NoSuchStep { step: id.to_owned() })?),
        };
        let (at, attempt) = (self.at(), self.run.attempt + 1);
        // What is kept was made from the old base, and what is to be merged stays what was approved.
        let repository = repository.filter(|_| from.is_none() && !self.run.merged);
        let from = from.and_then(|place| u32::try_from(place).ok());
        self.emit(Event::Retried { attempt, from, at, repository });
        self.begin();
        Ok(())
    }

    pub(super) fn due(&mut self, timer: Timer) -> Result<(), Refusal> {
        match timer {
            Timer::GateExpires(id) => {
                let gate = self.run.gates.iter().find(|gate| gate.id == id).cloned().ok_or(Refusal::Late)?;
                if self.at() < gate.expires_at {
                    return Err(Refusal::Late);
                }
                let at = self.at();
                self.emit(Event::GateClosed { gate: id, decision: Decision::Expired, at });
                self.fail(Reason::new("gate_expired", format!("nobody decided in time: {}", gate.subject)));
            }
            Timer::GraceEnds => {
                let ends = self.run.cancel_requested_at.map(|at| at.after(GRACE));
                if self.run.unknown.is_some() || ends.is_none_or(|ends| self.at() < ends) {
                    return Err(Refusal::Late);
                }
                match self.run.activity().filter(|activity| activity.is_irrevocable()) {
                    // Nobody may say "cancelled" of what perhaps happened.
                    Some(activity) => self.outcome_unknown(activity),
                    None => self.end(Status::Cancelled),
                }
            }
            Timer::HealthCheck => {
                if self.run.status != (Status::Operating { checking: false }) {
                    return Err(Refusal::Late);
                }
                self.move_to(Status::Operating { checking: true });
            }
        }
        Ok(())
    }
}
