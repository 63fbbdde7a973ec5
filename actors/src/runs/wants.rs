//! What a run wants done, what it waits for and what can be asked of it: functions of its saved state alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use cendriix_protocol::ids::AgentStepId;

use super::state::{
    Activity, CommitId, GRACE, GateKind, Run, Status, StepKind, StepState, Timer, Work, WorkKey,
};
use crate::kit::machine::{Wanted, child_id};

impl Run {
    /// Says what should be going on: after a command, and after a restart alike.
    pub fn work(&self) -> BTreeMap<WorkKey, Wanted<Work>> {
        let mut wanted = BTreeMap::new();
        for (step, attempt) in self.ending.iter().copied() {
            let work = Work::EndStep { step, attempt };
            wanted.insert(WorkKey::Ending { step, attempt }, Wanted::Do(work));
        }
        let cancelling = self.cancel_requested_at.is_some();
        for (id, attempt) in self.asked.iter().copied() {
            let is_over = cancelling || self.status.is_end() || attempt != self.attempt;
            let work = if is_over {
                Wanted::Do(Work::EndAsked { id })
            } else {
                Wanted::Ask(Work::AwaitAsked { id })
            };
            wanted.insert(WorkKey::Asked(id), work);
        }
        if self.status.is_end() && !matches!(self.status, Status::Operating { .. }) {
            return wanted;
        }
        let attempt = self.attempt;
        let want = |work| if cancelling { Wanted::Stop(work) } else { Wanted::Do(work) };
        for (place, progress) in (0_u32..).zip(&self.progress) {
            if progress.state != StepState::Running {
                continue;
            }
            let work = match self.plan.steps[place as usize].kind {
                StepKind::Transform => want(Work::Evaluate { step: place, attempt }),
                StepKind::Agent if cancelling => Wanted::Do(Work::EndStep { step: place, attempt }),
                StepKind::Agent => Wanted::Ask(Work::AwaitStep { step: place, attempt }),
                // A gate waits for a person and is never at work.
                StepKind::Gate { .. } => continue,
            };
            wanted.insert(WorkKey::Step(place), work);
        }
        let contained = !self.course.uncontained;
        if let Some(activity) = self.activity().filter(|_| self.unknown.is_none()) {
            wanted.insert(WorkKey::Activity(activity), want(Work::Perform { activity, attempt, contained }));
        }
        if self.awaits_look(attempt) {
            wanted.insert(WorkKey::Look, Wanted::Do(Work::Look { attempt }));
        }
        for gate in &self.gates {
            wanted.insert(WorkKey::Timer(Timer::GateExpires(gate.id)), Wanted::At(gate.expires_at));
        }
        if let Some(at) = self.cancel_requested_at.filter(|_| self.unknown.is_none()) {
            wanted.insert(WorkKey::Timer(Timer::GraceEnds), Wanted::At(at.after(GRACE)));
        }
        if let (Status::Operating { checking: false }, Some(every)) =
            (&self.status, self.course.watch_every_ms)
        {
            let next = self.updated_at.after(Duration::from_millis(every));
            wanted.insert(WorkKey::Timer(Timer::HealthCheck), Wanted::At(next));
        }
        wanted
    }

    /// Whether an interrupted merge has to be looked for in the repository, before a person is needed.
    pub(super) fn awaits_look(&self, attempt: u32) -> bool {
        let interrupted = self.unknown == Some(Activity::Merge) && self.attempt == attempt;
        interrupted && self.looked_in_vain_at.is_none()
    }

    /// What goes on after the steps, if it is not held by a gate.
    pub fn activity(&self) -> Option<Activity> {
        let open = |kind| self.gates.iter().any(|gate| gate.kind == kind);
        match self.status {
            Status::Testing => Some(Activity::Test),
            Status::Review => Some(Activity::Review),
            Status::PrOpened if self.commit.is_none() => Some(Activity::OpenPullRequest),
            Status::PrOpened => Some(Activity::Merge),
            Status::MergeApproval if !open(GateKind::Merge) => Some(Activity::Merge),
            Status::Deploying => Some(Activity::Deploy),
            Status::DeployVerifying => Some(Activity::Verify),
            Status::Operating { checking: true } => Some(Activity::Watch),
            Status::SelfHealing => Some(Activity::Heal),
            Status::PlanDraft
            | Status::PlanApproval
            | Status::Planned
            | Status::Executing
            | Status::MergeApproval
            | Status::Merged
            | Status::DeployApproval
            | Status::Operating { checking: false }
            | Status::Failed { .. }
            | Status::Cancelled => None,
        }
    }

    /// The agent at work on a step in an attempt.
    pub fn agent_step(&self, step: u32, attempt: u32) -> AgentStepId {
        let node = self.plan.steps.get(step as usize).map_or("", |step| step.id.as_str());
        AgentStepId(child_id(self.id.0, node, attempt))
    }

    /// Whether an attempt has come to its end.
    pub fn is_over(&self, attempt: u32) -> bool {
        attempt < self.attempt || self.status.is_end()
    }

    /// Whether nothing goes on by itself: the run has ended, or waits for somebody.
    pub fn rests(&self) -> bool {
        let goes_on = |(key, wanted): (&WorkKey, &Wanted<Work>)| {
            let is_aside = matches!(key, WorkKey::Ending { .. } | WorkKey::Asked(_));
            !is_aside && !matches!(wanted, Wanted::At(_))
        };
        !self.work().iter().any(goes_on)
    }

    /// The commits that hold what came before a step: its agents' checkpoints, or what the run began from.
    /// `None` asks for what comes after all steps.
    pub fn bases(&self, step: Option<u32>) -> Vec<CommitId> {
        let mut open: Vec<u32> = match step {
            Some(step) => {
                self.plan.steps.get(step as usize).map(|step| step.needs.clone()).unwrap_or_default()
            }
            None => self.last_steps(),
        };
        let mut found: BTreeMap<u32, CommitId> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        while let Some(place) = open.pop() {
            if !seen.insert(place) {
                continue;
            }
            let commit = self.progress.get(place as usize).and_then(|progress| progress.commit.clone());
            match (commit, self.plan.steps.get(place as usize)) {
                (Some(commit), _) => drop(found.insert(place, commit)),
                (None, Some(step)) => open.extend(&step.needs),
                (None, None) => (),
            }
        }
        // In the order of the plan, each once.
        let mut bases: Vec<CommitId> = Vec::new();
        for commit in found.into_values() {
            if !bases.contains(&commit) {
                bases.push(commit);
            }
        }
        let repository = self.repository.as_ref();
        if bases.is_empty() {
            bases.extend(repository.and_then(|repository| repository.base.clone()));
        }
        bases.extend(repository.and_then(|repository| repository.main.clone()));
        bases
    }

    /// The places of the steps that no other step comes after.
    fn last_steps(&self) -> Vec<u32> {
        let needed: BTreeSet<u32> =
            self.plan.steps.iter().flat_map(|step| step.needs.iter().copied()).collect();
        let all = 0..u32::try_from(self.plan.steps.len()).unwrap_or(u32::MAX);
        all.filter(|place| !needed.contains(place)).collect()
    }

    /// What can be asked of the run now.
    pub fn allowed_actions(&self) -> Vec<&'static str> {
        let mut allowed = Vec::new();
        if self.status == Status::Planned {
            allowed.push("advance");
        }
        if !self.gates.is_empty() {
            allowed.extend(["approve", "reject"]);
        }
        if !self.status.is_end() {
            allowed.push("cancel");
        }
        if matches!(self.status, Status::Failed { .. } | Status::Cancelled) {
            allowed.push("retry");
        }
        allowed
    }
}
