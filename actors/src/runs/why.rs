//! Why a run is where it is, and what it waits for, in sentences.

use cendriix_protocol::{
    runs::{WaitingFor, Why},
    time::Timestamp,
};

use super::state::{Activity, Reason, Run, Status, StepState};
use crate::kit::machine::Wanted;

/// Explains a run; a function of its saved state alone.
pub fn explain(run: &Run) -> Why {
    let mut waiting_for = waits(run);
    let allowed_actions: Vec<String> = run.allowed_actions().into_iter().map(str::to_owned).collect();
    if run.status == Status::Planned {
        waiting_for.push(WaitingFor {
            kind: "action".to_owned(),
            id: None,
            who: "anybody with role member or higher can start it with `advance`".to_owned(),
            since: run.status_since,
            deadline: None,
        });
    }
    let next_deadline = run.work().values().filter_map(instant).min();
    let mut text = vec![headline(run)];
    text.extend(waiting_for.iter().map(|waiting| match waiting.deadline {
        Some(deadline) => format!("Waits for: {} (until {deadline}).", waiting.who),
        None => format!("Waits for: {}.", waiting.who),
    }));
    if let Some(at) = run.cancel_requested_at.filter(|_| !run.status.is_end()) {
        text.push(format!("Somebody asked at {at} to cancel it; work under way gets 30 s to end."));
    }
    if !allowed_actions.is_empty() {
        text.push(format!("Possible: {}.", allowed_actions.join(", ")));
    }
    text.push(format!("Cost so far: {}.", run.cost));
    Why {
        status: (&run.status).into(),
        text: text.join("\n"),
        waiting_for,
        next_deadline,
        cost_usd: run.cost,
        allowed_actions,
    }
}

fn instant<W>(wanted: &Wanted<W>) -> Option<Timestamp> {
    match wanted {
        Wanted::At(at) => Some(*at),
        Wanted::Do(_) | Wanted::Stop(_) | Wanted::Ask(_) => None,
    }
}

fn headline(run: &Run) -> String {
    let done = run.progress.iter().filter(|step| matches!(step.state, StepState::Succeeded { .. })).count();
    let all = run.plan.steps.len();
    let since = run.status_since;
    let attempt = if run.attempt > 1 { format!(" in attempt {}", run.attempt) } else { String::new() };
    match (&run.status, run.status.reason()) {
        (_, Some(Reason { code, message })) => {
            format!("The run failed{attempt} at {since} ({code}): {message}.")
        }
        (Status::Cancelled, None) => {
            format!("The run was cancelled{attempt} at {since}, with {done} of {all} steps done.")
        }
        (Status::Merged, None) => {
            format!("The run is merged{attempt} since {since}; all {all} steps are done.")
        }
        (Status::Executing, None) => {
            format!("The run executes its steps{attempt} since {since}: {done} of {all} are done.")
        }
        (other, None) => {
            format!("The run is {}{attempt} since {since}; {done} of {all} steps are done.", other.name())
        }
    }
}

fn waits(run: &Run) -> Vec<WaitingFor> {
    let mut waiting = Vec::new();
    for gate in &run.gates {
        waiting.push(WaitingFor {
            kind: "gate".to_owned(),
            id: Some(gate.id.to_string()),
            who: format!("somebody with role {} or higher to decide: {}", gate.role.name(), gate.subject),
            since: gate.opened_at,
            deadline: Some(gate.expires_at),
        });
    }
    if run.status.is_end() {
        return waiting;
    }
    for (step, progress) in run.plan.steps.iter().zip(&run.progress) {
        if progress.state == StepState::Running {
            waiting.push(WaitingFor {
                kind: "step".to_owned(),
                id: Some(step.id.clone()),
                who: format!("step {} to end", step.id),
                since: progress.started_at.unwrap_or(run.status_since),
                deadline: None,
            });
        }
    }
    if let Some(activity) = run.activity().filter(|_| run.unknown.is_none()) {
        waiting.push(WaitingFor {
            kind: "action".to_owned(),
            id: None,
            who: name(activity).to_owned(),
            since: run.status_since,
            deadline: None,
        });
    }
    waiting
}

fn name(activity: Activity) -> &'static str {
    match activity {
        Activity::Test => "the tests to end",
        Activity::Review => "the review to end",
        Activity::OpenPullRequest => "the branch to be shown",
        Activity::Merge => "the merge to end",
        Activity::Deploy => "the deployment to end",
        Activity::Verify => "the deployment to be verified",
        Activity::Watch => "the health check to end",
        Activity::Heal => "the healing to end",
    }
}
