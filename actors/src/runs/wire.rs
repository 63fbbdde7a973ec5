//! From the saved state to what clients see.

use std::sync::Arc;

use cendriix_protocol::{
    money::MicroUsd,
    runs::{self as wire, Phase, ReversibilityTier, RunEvent, RunEventKind, StepStatus},
    time::Timestamp,
    workflows::Definition,
};

use super::state::{
    Decision, Event, Gate, GateKind, Payload, Plan, Progress, Reason, Run, Status, StepKind, StepState,
};
use crate::{
    kit::machine::Actor,
    workflows::{Compiled, rules},
};

impl From<&Status> for wire::Status {
    fn from(status: &Status) -> Self {
        match status {
            Status::PlanDraft => Self::PlanDraft,
            Status::PlanApproval => Self::PlanApproval,
            Status::Planned => Self::Planned,
            Status::Executing => Self::Executing,
            Status::Testing => Self::Testing,
            Status::Review => Self::Review,
            Status::PrOpened => Self::PrOpened,
            Status::MergeApproval => Self::MergeApproval,
            Status::Merged => Self::Merged,
            Status::Deploying => Self::Deploying,
            Status::DeployApproval => Self::DeployApproval,
            Status::DeployVerifying => Self::DeployVerifying,
            Status::Operating { .. } => Self::Operating,
            Status::SelfHealing => Self::SelfHealing,
            Status::Failed { .. } => Self::Failed,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

impl From<&Reason> for wire::Reason {
    fn from(reason: &Reason) -> Self {
        Self { code: reason.code.clone(), message: reason.message.clone() }
    }
}

impl From<GateKind> for wire::GateKind {
    fn from(kind: GateKind) -> Self {
        match kind {
            GateKind::Plan => Self::Plan,
            GateKind::Step => Self::Step,
            GateKind::Policy => Self::Policy,
            GateKind::Budget => Self::Budget,
            GateKind::Merge => Self::Merge,
            GateKind::Deploy => Self::Deploy,
            GateKind::UnknownOutcome => Self::UnknownOutcome,
        }
    }
}

impl From<&StepState> for StepStatus {
    fn from(state: &StepState) -> Self {
        match state {
            StepState::Pending => Self::Pending,
            StepState::Running => Self::Running,
            StepState::Waiting { .. } => Self::Waiting,
            StepState::Succeeded { .. } => Self::Succeeded,
            StepState::Failed => Self::Failed,
            StepState::Cancelled => Self::Cancelled,
        }
    }
}

/// How far a step is, as clients see it.
pub(super) fn step(id: &str, progress: &Progress) -> wire::RunStep {
    wire::RunStep {
        id: id.to_owned(),
        status: (&progress.state).into(),
        attempt: progress.attempt,
        started_at: progress.started_at,
        completed_at: progress.completed_at,
    }
}

/// A gate, as clients see it.
pub(super) fn gate(run: &Run, gate: &Gate) -> wire::Gate {
    wire::Gate {
        id: gate.id,
        kind: gate.kind.into(),
        node_id: gate.step.and_then(|place| run.plan.steps.get(place as usize)).map(|step| step.id.clone()),
        role: gate.role,
        opened_at: gate.opened_at,
        expires_at: gate.expires_at,
        subject: gate.subject.clone(),
        pinned: gate.pinned.clone(),
    }
}

/// The plan of a run, as clients see it.
pub(super) fn plan(run: &Run, compiled: &Compiled) -> wire::RunPlan {
    // A run that has come to fix steps has more than its workflow says.
    let own = run.plan.steps.len() != compiled.shown.len();
    let steps = if own {
        Arc::new(plan_steps(&run.plan, &compiled.definition, &compiled.order))
    } else {
        Arc::clone(&compiled.shown)
    };
    wire::RunPlan { steps, generated_at: run.created_at }
}

/// The steps of a plan, as clients see them.
pub(crate) fn plan_steps(plan: &Plan, definition: &Definition, order: &rules::Order) -> Vec<wire::PlanStep> {
    let node = |place: usize| order.nodes.get(place).and_then(|node| definition.nodes.get(*node));
    let id = |place: &u32| plan.steps[*place as usize].id.clone();
    let steps = plan.steps.iter().enumerate().map(|(place, step)| wire::PlanStep {
        id: step.id.clone(),
        name: node(place).and_then(|node| node.name.clone()).unwrap_or_else(|| step.id.clone()),
        kind: match step.kind {
            StepKind::Transform => "transform",
            StepKind::Gate { .. } => "approval-gate",
            StepKind::Agent => "agent",
        }
        .to_owned(),
        depends_on: step.needs.iter().map(id).collect(),
        // Nothing of what it does costs anything or leaves the run.
        estimated_cost_usd: MicroUsd(0),
        reversibility_tier: ReversibilityTier::Reversible,
        confidence_score: 1.0,
        gate: matches!(step.kind, StepKind::Gate { .. }),
    });
    steps.collect()
}

/// The walk through all states, with what the present attempt has reached.
pub(super) fn stages(run: &Run) -> Vec<wire::Stage> {
    let current = wire::Status::from(&run.status);
    let path = &wire::Status::ALL[..18];
    // A run that ended badly has still reached what its progress shows.
    let furthest = path.iter().position(|status| *status == current).unwrap_or_else(|| furthest(run));
    let ended_badly = matches!(run.status, Status::Failed { .. } | Status::Cancelled);
    let mut stages: Vec<wire::Stage> = path
        .iter()
        .enumerate()
        .map(|(place, status)| wire::Stage {
            id: *status,
            phase: phase(*status),
            reached: place <= furthest && applies(run, *status),
            current: *status == current,
        })
        .collect();
    for status in [wire::Status::Failed, wire::Status::Cancelled] {
        let here = ended_badly && status == current;
        stages.push(wire::Stage { id: status, phase: None, reached: here, current: here });
    }
    stages
}

fn furthest(run: &Run) -> usize {
    let reached = if run.merged {
        wire::Status::Merged
    } else if run.commit.is_some() {
        wire::Status::PrOpened
    } else if run.progress.iter().any(|progress| progress.attempt == run.attempt) {
        wire::Status::Executing
    } else {
        wire::Status::PlanDraft
    };
    wire::Status::ALL.iter().position(|status| *status == reached).unwrap_or(0)
}

/// Gates, and what comes after the merge, are there only when the workflow has them.
fn applies(run: &Run, status: wire::Status) -> bool {
    let course = run.course;
    match status {
        wire::Status::PlanApproval => course.plan_gate,
        wire::Status::MergeApproval => course.merge_gate,
        wire::Status::Deploying | wire::Status::DeployVerifying | wire::Status::Operating => course.deploy,
        wire::Status::DeployApproval => course.deploy && course.deploy_gate,
        wire::Status::SelfHealing => course.deploy && matches!(run.status, Status::SelfHealing),
        wire::Status::IntakeQueued
        | wire::Status::Triaged
        | wire::Status::Scoped
        | wire::Status::PlanDraft
        | wire::Status::Planned
        | wire::Status::Routed
        | wire::Status::Executing
        | wire::Status::Testing
        | wire::Status::Review
        | wire::Status::PrOpened
        | wire::Status::Merged
        | wire::Status::Failed
        | wire::Status::Cancelled => true,
    }
}

fn phase(status: wire::Status) -> Option<Phase> {
    Some(match status {
        wire::Status::IntakeQueued
        | wire::Status::Triaged
        | wire::Status::Scoped
        | wire::Status::PlanDraft
        | wire::Status::PlanApproval
        | wire::Status::Planned => Phase::Intake,
        wire::Status::Routed | wire::Status::Executing | wire::Status::Testing => Phase::Build,
        wire::Status::Review
        | wire::Status::PrOpened
        | wire::Status::MergeApproval
        | wire::Status::Merged => Phase::Review,
        wire::Status::Deploying
        | wire::Status::DeployApproval
        | wire::Status::DeployVerifying
        | wire::Status::Operating
        | wire::Status::SelfHealing => Phase::DeployOperate,
        wire::Status::Failed | wire::Status::Cancelled => return None,
    })
}

/// An event of the journal as an event of the stream. `run` is the run after it: it knows the steps' ids.
pub(super) fn event(run: &Run, seq: u64, at: Timestamp, by: Actor, event: &Event) -> RunEvent {
    let node =
        |place: u32| run.plan.steps.get(place as usize).map_or_else(String::new, |step| step.id.clone());
    let kind = match event {
        Event::Created(created) => RunEventKind::RunCreated { title: created.title.clone() },
        Event::Moved { status, attempt, .. } => {
            RunEventKind::RunStatusChanged { status: status.into(), attempt: *attempt }
        }
        Event::StepStarted { step, attempt, .. } => {
            RunEventKind::NodeRunStarted { node_id: node(*step), attempt: *attempt }
        }
        Event::StepSucceeded { step, attempt, output, .. } => {
            RunEventKind::NodeRunCompleted { node_id: node(*step), attempt: *attempt, output: inline(output) }
        }
        Event::StepFailed { step, attempt, reason, .. } => {
            RunEventKind::NodeRunFailed { node_id: node(*step), attempt: *attempt, error: reason.into() }
        }
        Event::FixAdded { .. } | Event::CommitPinned { .. } | Event::OutcomeUnknown { .. } => {
            RunEventKind::RunStatusChanged { status: (&run.status).into(), attempt: run.attempt }
        }
        Event::GateOpened { gate: opened } => RunEventKind::GateOpened { gate: gate(run, opened) },
        Event::GateClosed { gate, decision, .. } => {
            let (decision, said) = match decision {
                Decision::Approved { note } => ("approved", note.clone()),
                Decision::Denied { reason } => ("denied", reason.clone()),
                Decision::Expired => ("expired", None),
                Decision::Withdrawn => ("withdrawn", None),
            };
            let by = match by {
                Actor::User(user) => Some(user),
                Actor::System => None,
            };
            RunEventKind::GateClosed { gate_id: *gate, decision: decision.to_owned(), by, note: said }
        }
        Event::CancelRequested { by, .. } => {
            RunEventKind::RunCancelRequested { by: by.unwrap_or(run.created_by) }
        }
        Event::Retried { attempt, from, .. } => {
            RunEventKind::RunRetried { attempt: *attempt, from_step_id: from.map(node) }
        }
        Event::Ended { status, attempt, .. } => {
            let reason = status.reason().map(Into::into);
            RunEventKind::RunCompleted { attempt: *attempt, status: status.into(), reason }
        }
    };
    RunEvent { run_id: run.id, seq, at, kind }
}

fn inline(payload: &Payload) -> Option<serde_json::Value> {
    match payload {
        Payload::Inline(text) => serde_json::from_str(text).ok(),
        Payload::Blob { .. } => None,
    }
}
