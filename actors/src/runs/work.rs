//! Performs what runs want: computes transforms, brings the outcomes of agents, and delivers the change.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use cendriix_protocol::{ids::AgentStepId, money::MicroUsd};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{
    counted,
    delivery::Delivery,
    inputs,
    state::{Command, Content, Event, GRACE, Mend, Payload, Reason, Run, StepState, Work, WorkKey},
};
use crate::{
    Error,
    agent_steps::{AgentSteps, Outcome},
    content::{Carries, Contents},
    kit::{Meters, Task, World, meters::RunMeters},
    workflows::{
        Compiled, Workflows,
        logic::{self, Reads},
    },
};

/// How often an outcome that cannot be read is tried.
const READ_TRIES: u32 = 5;
/// After how long something is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How much of what an agent said last is passed on, in bytes.
const TEXT_MAX: usize = 3 << 10;
/// Inputs above this size are computed on beside the other work, in bytes.
const APART_ABOVE: usize = 32 << 10;
/// How many such computations go on at once.
const APART_MAX: usize = 2;
/// How long one may take.
const APART_WITHIN: Duration = Duration::from_secs(30);

impl Carries for Run {
    fn carried(event: &Event) -> Option<&Payload> {
        match event {
            Event::Created(created) => Some(&created.input),
            Event::Planned { detail, .. } => Some(detail),
            Event::StepSucceeded { output, .. } => Some(output),
            Event::StepAsked { brief, .. } => Some(brief),
            Event::Checked { report, .. } => Some(report),
            Event::Moved { .. }
            | Event::StepStarted { .. }
            | Event::StepFailed { .. }
            | Event::StepEnded { .. }
            | Event::FixAdded { .. }
            | Event::GateOpened { .. }
            | Event::GateClosed { .. }
            | Event::CommitPinned { .. }
            | Event::CaughtUp { .. }
            | Event::AskedEnded { .. }
            | Event::OutcomeUnknown { .. }
            | Event::LookedInVain { .. }
            | Event::CancelRequested { .. }
            | Event::Retried { .. }
            | Event::Ended { .. } => None,
        }
    }
}

/// What runs reach.
#[derive(Debug)]
pub struct RunWorld {
    contents: Contents,
    workflows: Workflows,
    agent_steps: AgentSteps,
    delivery: Delivery,
    meters: RunMeters,
    apart: Arc<Semaphore>,
}

impl RunWorld {
    /// Runs that compute with these workflows, have these agents work, and deliver like that.
    pub fn new(
        contents: Contents,
        workflows: Workflows,
        agent_steps: AgentSteps,
        delivery: Delivery,
        meters: &Meters,
    ) -> Self {
        let (meters, apart) = (meters.runs.clone(), Arc::new(Semaphore::new(APART_MAX)));
        Self { contents, workflows, agent_steps, delivery, meters, apart }
    }

    async fn compiled(&self, run: &Run) -> Result<Arc<Compiled>, Error> {
        self.workflows.version(run.workspace, run.workflow, run.workflow_version).await
    }

    async fn evaluate(&self, run: &Run, step: usize) -> Result<Payload, Reason> {
        let unavailable = |error: Error| Reason::new("internal_error", error.to_string());
        let compiled = self.compiled(run).await.map_err(unavailable)?;
        let id = run.plan.steps[step].id.clone();
        let computes = || Reason::new("internal_error", "the step computes nothing");
        let reads = &compiled.logics.get(&id).ok_or_else(computes)?.reads;
        // Held before anything is read: those that wait for it hold no memory.
        let mut permit = if reads_blobs(run, reads) { Some(self.permit().await?) } else { None };
        let read = inputs::of(&self.contents, run, step, reads).await.map_err(unavailable)?;
        if read.len() > APART_ABOVE && permit.is_none() {
            permit = Some(self.permit().await?);
        }
        let output = match permit {
            None => evaluate(&compiled, &id, &read)?,
            Some(permit) => compute_apart(compiled, id, read, permit).await?,
        };
        self.contents.keep(run.workspace, output).await.map_err(unavailable)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Reason> {
        Arc::clone(&self.apart).acquire_owned().await.map_err(|_| stopping())
    }

    /// How an agent ended; `None` while it goes on.
    async fn outcome(&self, run: &Run, id: AgentStepId) -> Option<Outcome> {
        let mut pause = AGAIN_AFTER;
        for _ in 0..READ_TRIES {
            match self.agent_steps.outcome(id).await {
                Ok(outcome) => return outcome,
                Err(error) => {
                    tracing::warn!(run.id = %run.id, %error, "the outcome of an agent cannot be read");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
            }
        }
        let reason = Reason::new("internal_error", "what came of the agent's work cannot be read");
        Some(Outcome::lost(reason))
    }

    /// Has an agent stop, and tells how it ended; `None` when there is no such agent.
    async fn end(&self, run: &Run, id: AgentStepId) -> Option<Outcome> {
        // Told again until it has ended: nobody else would stop it, and what it costs belongs to this run.
        loop {
            match self.agent_steps.stop(id, GRACE).await {
                Ok(Some(outcome)) => return Some(outcome),
                Err(Error::Missing { .. }) => return None,
                Ok(None) => (),
                Err(error) => {
                    tracing::warn!(run.id = %run.id, %error, "an agent could not be told to stop");
                    tokio::time::sleep(AGAIN_AFTER).await;
                }
            }
        }
    }

    /// Has the agent of a step stop.
    async fn end_step(&self, run: &Run, key: WorkKey, step: u32, attempt: u32) -> Command {
        let outcome = self.end(run, run.agent_step(step, attempt)).await;
        let outcome = outcome.unwrap_or_else(|| Outcome::lost(Reason::new("cancelled", "it was stopped")));
        if let WorkKey::Ending { .. } = key {
            return Command::StepEnded { step, attempt, cost: outcome.cost };
        }
        told(step, attempt, outcome)
    }
}

fn told(step: u32, attempt: u32, outcome: Outcome) -> Command {
    let Outcome { reason, text, commit, cost, .. } = outcome;
    if let Some(reason) = reason {
        return Command::StepFailed { step, attempt, reason, cost };
    }
    // Long texts stand in the agent's own turns; what steps pass on is bounded.
    let text = &text[..text.floor_char_boundary(TEXT_MAX)];
    let output = Payload::Inline(json!({ "text": text, "commit": commit }).to_string());
    Command::StepSucceeded { step, attempt, output, commit, cost }
}

fn stopping() -> Reason {
    Reason::new("internal_error", "the server is stopping")
}

/// Whether something that a step looks at is large enough to be a blob.
fn reads_blobs(run: &Run, reads: &Reads) -> bool {
    let is_blob = |content: &Content| matches!(content, Content::Blob { .. });
    let outputs = run.plan.steps.iter().zip(&run.progress).filter(|(step, _)| match reads {
        Reads::Steps(steps) => steps.contains(&step.id),
        Reads::Any => true,
    });
    let mut outputs = outputs.filter_map(|(_, progress)| match &progress.state {
        StepState::Succeeded { output } => Some(output),
        StepState::Pending
        | StepState::Running
        | StepState::Waiting { .. }
        | StepState::Failed
        | StepState::Cancelled => None,
    });
    is_blob(&run.input) || outputs.any(is_blob)
}

fn evaluate(compiled: &Compiled, id: &str, read: &str) -> Result<String, Reason> {
    let logic: Option<&logic::Compiled> = compiled.logics.get(id);
    let logic = logic.ok_or_else(|| Reason::new("internal_error", "the step computes nothing"))?;
    logic.evaluate(read).map_err(|error| Reason::new("transform_failed", error))
}

async fn compute_apart(
    compiled: Arc<Compiled>,
    id: String,
    read: String,
    permit: OwnedSemaphorePermit,
) -> Result<String, Reason> {
    let computed = tokio::task::spawn_blocking(move || {
        let computed = evaluate(&compiled, &id, &read);
        drop(permit);
        computed
    });
    match tokio::time::timeout(APART_WITHIN, computed).await {
        Ok(Ok(computed)) => computed,
        Ok(Err(_)) => Err(stopping()),
        Err(_) => {
            Err(Reason::new("timeout", format!("it computed for more than {} s", APART_WITHIN.as_secs())))
        }
    }
}

#[async_trait]
impl World<Run> for RunWorld {
    fn happened(&self, events: &[Event]) {
        counted::count(&self.meters, events);
    }

    async fn perform(&self, task: Task<Run>) -> Option<Command> {
        let run = &*task.state;
        Some(match task.work {
            Work::Evaluate { step, attempt } => match self.evaluate(run, step as usize).await {
                Ok(output) => {
                    Command::StepSucceeded { step, attempt, output, commit: None, cost: MicroUsd(0) }
                }
                Err(reason) => Command::StepFailed { step, attempt, reason, cost: MicroUsd(0) },
            },
            Work::AwaitStep { step, attempt } => {
                told(step, attempt, self.outcome(run, run.agent_step(step, attempt)).await?)
            }
            Work::EndStep { step, attempt } => self.end_step(run, task.key, step, attempt).await,
            Work::AwaitAsked { id } => Command::AskedEnded { id, cost: self.outcome(run, id).await?.cost },
            Work::EndAsked { id } => {
                let cost = self.end(run, id).await.map_or(MicroUsd(0), |outcome| outcome.cost);
                Command::AskedEnded { id, cost }
            }
            Work::Look { attempt } => Command::Looked { attempt, seen: self.delivery.look(run).await },
            Work::Perform { activity, attempt, .. } => match self.compiled(run).await {
                Ok(compiled) => Box::pin(self.delivery.perform(&task, &compiled, activity)).await,
                Err(error) => {
                    let reason = Reason::new("internal_error", error.to_string());
                    Command::Undone { activity, attempt, reason, mend: Mend::Nobody }
                }
            },
        })
    }
}
