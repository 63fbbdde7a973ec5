//! What events make of the steps of a run; pure.

use std::sync::Arc;

use cendriix_protocol::{ids::AgentStepId, money::MicroUsd, time::Timestamp};

use super::state::{CommitId, Progress, Reason, Run, Status, Step, StepState};

impl Run {
    pub(super) fn start_step(&mut self, step: u32, attempt: u32, at: Timestamp) {
        self.step(step, at, |progress| {
            progress.state = StepState::Running;
            progress.attempt = attempt;
            progress.started_at = Some(at);
            progress.completed_at = None;
        });
    }

    pub(super) fn add_fix(&mut self, step: &Step, reason: Option<&Reason>, at: Timestamp) {
        self.to_mend = reason.cloned();
        Arc::make_mut(&mut self.plan).steps.push(step.clone());
        self.progress.push(Progress::NONE);
        self.fixes += 1;
        self.fix_steps += 1;
        self.updated_at = at;
    }

    /// An agent that was left at work when its attempt ended has stopped.
    pub(super) fn end_late(&mut self, step: u32, attempt: u32, cost: MicroUsd, at: Timestamp) {
        self.ending.retain(|ending| ending != &(step, attempt));
        self.cost = self.cost + cost;
        self.updated_at = at;
    }

    /// An agent that was asked for by itself has ended.
    pub(super) fn end_asked(&mut self, id: AgentStepId, cost: MicroUsd, at: Timestamp) {
        self.asked.retain(|(asked, _)| *asked != id);
        self.cost = self.cost + cost;
        self.updated_at = at;
    }

    pub(super) fn step(&mut self, step: u32, at: Timestamp, change: impl FnOnce(&mut Progress)) {
        self.updated_at = at;
        if let Some(progress) = self.progress.get_mut(step as usize) {
            change(progress);
        }
    }

    pub(super) fn end_step(
        &mut self,
        step: u32,
        at: Timestamp,
        cost: MicroUsd,
        state: StepState,
        commit: Option<CommitId>,
    ) {
        self.cost = self.cost + cost;
        self.step(step, at, |progress| {
            progress.state = state;
            progress.completed_at = Some(at);
            progress.commit = commit;
        });
    }

    pub(super) fn begin_again(&mut self, attempt: u32, from: Option<u32>, at: Timestamp) {
        let again = self.from(from);
        for (progress, again) in self.progress.iter_mut().zip(again) {
            if again {
                *progress = Progress { attempt: progress.attempt, ..Progress::NONE };
            }
        }
        if from.is_none() && !self.merged {
            let planned = self.plan.steps.len() - self.fix_steps as usize;
            Arc::make_mut(&mut self.plan).steps.truncate(planned);
            self.progress.truncate(planned);
            self.fix_steps = 0;
        }
        if !self.merged {
            self.commit = None;
        }
        if let Status::Failed { reason } = &self.status {
            self.earlier = Some(reason.clone());
        }
        self.attempt = attempt;
        // An agent that is to mend something again needs to know what was found.
        if from.is_none() {
            self.checks.clear();
        }
        self.fixes = 0;
        self.catch_ups = 0;
        self.cancel_requested_at = None;
        self.plan_approved = false;
        self.gates.clear();
        self.status = Status::PlanDraft;
        self.status_since = at;
        self.updated_at = at;
    }

    /// Which steps begin again: all of them, or that one, what comes after it and what has not succeeded.
    /// After the merge none does.
    fn from(&self, from: Option<u32>) -> Vec<bool> {
        let mut again: Vec<bool> = Vec::with_capacity(self.progress.len());
        for (place, step) in self.plan.steps.iter().enumerate() {
            let succeeded = matches!(self.progress[place].state, StepState::Succeeded { .. });
            let after = step.needs.iter().any(|need| again.get(*need as usize).copied().unwrap_or(false));
            let begins = match from {
                None => true,
                Some(from) => from as usize == place || after || !succeeded,
            };
            again.push(begins && !self.merged);
        }
        again
    }
}
