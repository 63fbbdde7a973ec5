//! From the saved state to what clients see.

use std::sync::Arc;

use cendriix_protocol::{
    ids::AgentStepId,
    model_router::TaskType,
    money::MicroUsd,
    runs::{self as wire, Phase, ReversibilityTier, RunEvent, RunEventKind, StepStatus},
    time::Timestamp,
    workflows::NodeKind,
};

use super::{
    follow::Fixes,
    state::{
        Activity, Decision, Event, Gate, GateKind, Payload, Plan, Progress, Reason, Repository, Run, Status,
        Step, StepKind, StepState,
    },
};
use crate::{
    kit::machine::{Actor, child_id},
    orchestrator::kind_name,
    repositories::{Change, CommitId, Diff},
    workflows::Compiled,
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
pub(super) fn step(run: &Run, place: u32, progress: &Progress) -> wire::RunStep {
    let planned = &run.plan.steps[place as usize];
    let works = planned.kind == StepKind::Agent && progress.attempt > 0;
    wire::RunStep {
        id: planned.id.clone(),
        agent_step_id: works.then(|| run.agent_step(place, progress.attempt)),
        commit: progress.commit.as_ref().map(ToString::to_string),
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

/// The plan of a run, as clients see it; `planned` are the steps that a planner made.
pub(super) fn plan(run: &Run, compiled: &Compiled, planned: Option<Vec<wire::PlanStep>>) -> wire::RunPlan {
    let own = run.plan.steps.len() - run.fix_steps as usize;
    let steps = match planned {
        None if run.fix_steps == 0 => Arc::clone(&compiled.shown),
        planned => {
            let mut steps = planned.unwrap_or_else(|| compiled.shown.to_vec());
            steps.extend(run.plan.steps.iter().skip(own).map(|step| fix_step(run, step)));
            Arc::new(steps.into())
        }
    };
    let estimated_cost_usd = steps.iter().map(|step| step.estimated_cost_usd).sum();
    let by = run.planned.as_ref().map(|(planner, _)| planner.clone());
    wire::RunPlan { steps, generated_at: run.created_at, planner: by, estimated_cost_usd }
}

fn fix_step(run: &Run, step: &Step) -> wire::PlanStep {
    wire::PlanStep {
        id: step.id.clone(),
        name: "Mend what was found".to_owned(),
        kind: kind_name(step.kind).to_owned(),
        depends_on: step.needs.iter().map(|need| run.plan.steps[*need as usize].id.clone()).collect(),
        estimated_cost_usd: MicroUsd(0),
        reversibility_tier: ReversibilityTier::Reversible,
        confidence_score: 0.5,
        gate: false,
        agent: Some("dev".to_owned()),
        task_type: Some(TaskType::CodeGeneration),
        prompt: None,
        reasons: vec!["a check did not pass".to_owned()],
    }
}

/// The steps of a workflow's plan, as clients see them.
pub(crate) fn plan_steps(plan: &Plan, compiled: &Compiled) -> Vec<wire::PlanStep> {
    let id = |place: &u32| plan.steps[*place as usize].id.clone();
    let steps = plan.steps.iter().map(|step| {
        let node = compiled.node(&step.id);
        let (agent, prompt, task_type) = match node.map(|node| &node.kind) {
            Some(NodeKind::Agent { agent, prompt, policy, .. }) => (
                Some(agent.clone().unwrap_or_else(|| "dev".to_owned())),
                prompt.clone(),
                Some(policy.as_ref().and_then(|policy| policy.task_type).unwrap_or(TaskType::CodeGeneration)),
            ),
            _ => (None, None, None),
        };
        wire::PlanStep {
            id: step.id.clone(),
            name: node.and_then(|node| node.name.clone()).unwrap_or_else(|| step.id.clone()),
            kind: kind_name(step.kind).to_owned(),
            depends_on: step.needs.iter().map(id).collect(),
            estimated_cost_usd: MicroUsd(0),
            // Nothing of what it does leaves the run before the merge.
            reversibility_tier: ReversibilityTier::Reversible,
            confidence_score: if agent.is_some() { 0.5 } else { 1.0 },
            gate: matches!(step.kind, StepKind::Gate { .. }),
            agent,
            task_type,
            prompt,
            reasons: Vec::new(),
        }
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
    } else if run.checks.iter().any(|check| check.activity == Activity::Review) {
        wire::Status::Review
    } else if !run.checks.is_empty() {
        wire::Status::Testing
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
        // A merge that something is in the way of is asked for again, also where no gate stood.
        wire::Status::MergeApproval => course.merge_gate || run.status == Status::MergeApproval,
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

/// An event of the journal as an event of the stream. `run` is the run after it; `fixes` are the fix steps up
/// to it, which the run's plan may have lost since.
pub(super) fn event(run: &Run, fixes: &Fixes, seq: u64, at: Timestamp, by: Actor, event: &Event) -> RunEvent {
    let find = |place: u32| fixes.step(run, place);
    let node = |place: u32| find(place).map_or_else(String::new, |step| step.id.clone());
    let kind = match event {
        Event::Created(created) => RunEventKind::RunCreated { title: created.title.clone() },
        Event::Moved { status, attempt, .. } => {
            RunEventKind::RunStatusChanged { status: status.into(), attempt: *attempt }
        }
        Event::StepStarted { step, attempt, .. } => started(run, find(*step), *attempt),
        Event::Checked { activity, attempt, passed, summary, report, .. } => RunEventKind::CheckCompleted {
            check: activity.check().to_owned(),
            attempt: *attempt,
            passed: *passed,
            summary: summary.clone(),
            report: inline(report),
        },
        Event::StepSucceeded { step, attempt, output, .. } => {
            RunEventKind::NodeRunCompleted { node_id: node(*step), attempt: *attempt, output: inline(output) }
        }
        Event::StepFailed { step, attempt, reason, .. } => {
            RunEventKind::NodeRunFailed { node_id: node(*step), attempt: *attempt, error: reason.into() }
        }
        Event::Planned { planner, .. } => RunEventKind::RunPlanned { planner: planner.clone() },
        Event::StepEnded { step, attempt, .. } => {
            RunEventKind::AgentStopped { node_id: node(*step), attempt: *attempt }
        }
        Event::FixAdded { step, reason, .. } => added(&step.id, reason.as_ref()),
        Event::CommitPinned { commit, branch } => {
            RunEventKind::CommitPinned { commit: commit.clone(), branch: branch.clone() }
        }
        Event::CaughtUp { main, .. } => RunEventKind::MainMoved { commit: main.to_string() },
        Event::StepAsked { id, name, .. } => asked(*id, name),
        Event::AskedEnded { id, .. } => RunEventKind::AgentStepEnded { agent_step_id: *id },
        Event::LookedInVain { .. } => RunEventKind::OutcomeUnknown { activity: "merge".to_owned() },
        Event::OutcomeUnknown { activity, .. } => {
            RunEventKind::OutcomeUnknown { activity: format!("{activity:?}").to_lowercase() }
        }
        Event::GateOpened { gate: opened } => {
            let node_id = opened.step.and_then(find).map(|step| step.id.clone());
            RunEventKind::GateOpened { gate: wire::Gate { node_id, ..gate(run, opened) } }
        }
        Event::GateClosed { gate, decision, .. } => {
            let (decision, said) = match decision {
                Decision::Approved { note } => ("approved", note.clone()),
                Decision::Denied { reason } => ("denied", reason.clone()),
                Decision::Expired => ("expired", None),
                Decision::Withdrawn => ("withdrawn", None),
            };
            let (by, decision) = (by.user(), decision.to_owned());
            RunEventKind::GateClosed { gate_id: *gate, decision, by, note: said }
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

fn asked(agent_step_id: AgentStepId, name: &str) -> RunEventKind {
    RunEventKind::AgentStepAsked { agent_step_id, name: name.to_owned() }
}

fn added(step: &str, reason: Option<&Reason>) -> RunEventKind {
    RunEventKind::StepAdded { node_id: step.to_owned(), reason: reason.map(Into::into) }
}

fn started(run: &Run, step: Option<&Step>, attempt: u32) -> RunEventKind {
    let works = step.filter(|step| step.kind == StepKind::Agent);
    let agent_step_id = works.map(|step| AgentStepId(child_id(run.id.0, &step.id, attempt)));
    let node_id = step.map_or_else(String::new, |step| step.id.clone());
    RunEventKind::NodeRunStarted { node_id, attempt, agent_step_id }
}

fn inline(payload: &Payload) -> Option<serde_json::Value> {
    match payload {
        Payload::Inline(text) => serde_json::from_str(text).ok(),
        Payload::Blob { .. } => None,
    }
}

/// What a run has changed, as clients see it.
pub(super) fn diff(run: &Run, base: &CommitId, head: &CommitId, diff: Diff) -> wire::RunDiff {
    let files = diff.files.into_iter().map(|file| {
        let lines = |count: usize| (!file.is_binary).then_some(count as u64);
        let (path, change) = match &file.change {
            Change::Added => (file.path.clone(), "added"),
            Change::Deleted => (file.path.clone(), "deleted"),
            Change::Modified => (file.path.clone(), "modified"),
            Change::Renamed { from } => (format!("{from} -> {}", file.path), "renamed"),
            Change::TypeChanged => (file.path.clone(), "type-changed"),
        };
        let (added, removed) = (lines(file.additions), lines(file.deletions));
        wire::DiffFile { path, change: change.to_owned(), added, removed }
    });
    wire::RunDiff {
        run_id: run.id,
        files: files.collect(),
        base_commit: run.repository.as_ref().and_then(Repository::main).map(|_| base.to_string()),
        commit: (head != base).then(|| head.to_string()),
        patch: diff.patch,
        truncated: diff.truncated,
    }
}
