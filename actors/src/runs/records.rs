//! What a change of a run brings with it: its row in the workspace's list, and its entries in the audit log.

use cendriix_persistence::{
    codec::encode,
    store::{Key, Row, RowKey},
};
use cendriix_protocol::{
    ids::{RunId, WorkflowId, WorkspaceId},
    money::MicroUsd,
    runs as wire,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::state::{Decision, Event, Payload, Reason, Run, StepKind};
use crate::{
    agent_steps::{self, AgentStep},
    audit,
    kinds::{self, space},
    kit::{
        machine::{Given, Records},
        stored,
    },
    metering::spent::Account,
    sandboxes::Attempt,
};

/// A run in its workspace's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListRow {
    pub(super) workflow: WorkflowId,
    pub(super) title: String,
    pub(super) status: wire::Status,
    pub(super) attempt: u32,
    pub(super) open_gates: u32,
    pub(super) cost: MicroUsd,
    pub(super) created_at: Timestamp,
    pub(super) status_since: Timestamp,
}

impl ListRow {
    fn of(run: &Run) -> Self {
        Self {
            workflow: run.workflow,
            title: run.title.clone(),
            status: (&run.status).into(),
            attempt: run.attempt,
            open_gates: u32::try_from(run.gates.len()).unwrap_or(u32::MAX),
            cost: run.cost,
            created_at: run.created_at,
            status_since: run.status_since,
        }
    }

    /// The row's key: workspace, then run; runs sort by time.
    pub(super) fn key(workspace: WorkspaceId, run: RunId) -> Vec<u8> {
        [workspace.0.as_bytes().as_slice(), run.0.as_bytes()].concat()
    }
}

/// What a change brings with it.
pub(super) fn of(run: &Run, before: Option<&Run>, events: &[Event], given: &Given) -> Records {
    let mut records = Records::default();
    let unchanged = before.is_some_and(|before| {
        before.status == run.status
            && before.gates.len() == run.gates.len()
            && (before.attempt, before.cost) == (run.attempt, run.cost)
    });
    if !unchanged && let Ok(value) = encode(&ListRow::of(run)) {
        let key = RowKey { space: space::RUNS, key: ListRow::key(run.workspace, run.id) };
        records.rows.push(Row { key, value: Some(value) });
    }
    let mut entries: Vec<(&str, Value)> = events.iter().filter_map(|event| entry(run, event)).collect();
    if entries.is_empty() {
        entries.push(("run.status_changed", json!({ "status": run.status.name() })));
    }
    for (event_type, payload) in entries {
        let resource = audit::Resource { kind: "run", id: run.id.0 };
        records.audit.push(audit::draft(run.workspace, given, event_type, resource, &payload));
    }
    for event in events {
        match event {
            Event::Planned { spent, .. } | Event::Checked { spent, .. } => {
                let account = Account { workspace: run.workspace, run: run.id, step: None, agent: None };
                records.rows.extend(spent.iter().map(|spent| spent.row(account, given.at)));
            }
            Event::StepStarted { step, .. } => records.join(agent(run, *step, given)),
            Event::StepAsked { id, name, brief, .. } => {
                records.join(asked(run, id.0, name.clone(), brief.clone(), given));
            }
            Event::Ended { attempt, .. } if run.repository.is_some() => {
                // Its sandbox ends with the attempt; where there was none, nobody hears it.
                let attempt = Attempt { workspace: run.workspace, run: run.id, number: *attempt };
                records.nudges.push(Key { kind: kinds::SANDBOX, id: attempt.sandbox().0 });
            }
            Event::Created(_)
            | Event::Moved { .. }
            | Event::StepSucceeded { .. }
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
            | Event::Ended { .. } => (),
        }
    }
    records
}

/// The agent that comes to life with the start of a step, when it takes one.
fn agent(run: &Run, place: u32, given: &Given) -> Records {
    let step = &run.plan.steps[place as usize];
    if step.kind != StepKind::Agent {
        return Records::default();
    }
    let node = Some((place, step.id.clone()));
    let child = run.agent_step(place, run.attempt).0;
    born(run, child, node, step.id.clone(), None, given)
}

/// An agent that somebody asks for by itself, which works on all that was done so far.
fn asked(run: &Run, child: Uuid, name: String, brief: Payload, given: &Given) -> Records {
    born(run, child, None, name, Some(brief), given)
}

fn born(
    run: &Run,
    child: Uuid,
    node: Option<(u32, String)>,
    name: String,
    own: Option<Payload>,
    given: &Given,
) -> Records {
    let Some(repository) = &run.repository else { return Records::default() };
    let birth = agent_steps::Birth {
        run: run.id,
        workspace: run.workspace,
        attempt: run.attempt,
        source: repository.source.clone(),
        bases: run.bases(node.as_ref().map(|(place, _)| *place)),
        node,
        name,
        own,
    };
    // Nothing keeps an agent's step from being born.
    stored::child::<AgentStep>(&birth, child, given).unwrap_or_default()
}

/// The audit entry of an event, for those that have one of their own.
fn entry(run: &Run, event: &Event) -> Option<(&'static str, Value)> {
    let step = |place: u32| run.plan.steps.get(place as usize).map(|step| step.id.as_str());
    match event {
        Event::Created(created) => Some((
            "run.created",
            json!({
                "title": created.title, "workflowId": created.workflow,
                "workflowVersion": created.workflow_version,
                "steps": created.plan.steps.len(),
            }),
        )),
        Event::Planned { planner, .. } => Some(("run.planned", json!({ "planner": planner }))),
        Event::StepSucceeded { step: place, .. } => Some(("step.completed", json!({ "step": step(*place) }))),
        Event::Checked { activity, passed, summary, .. } => Some((
            "check.completed",
            json!({ "check": activity.check(), "passed": passed, "summary": summary }),
        )),
        Event::CommitPinned { commit, branch } => {
            Some(("commit.pinned", json!({ "commit": commit, "branch": branch })))
        }
        Event::StepFailed { step: place, reason, .. } => Some((
            "step.failed",
            json!({ "step": step(*place), "code": reason.code, "message": reason.message }),
        )),
        Event::GateOpened { gate } => Some((
            "approval.requested",
            json!({ "gateId": gate.id, "subject": gate.subject, "role": gate.role, "pinned": gate.pinned }),
        )),
        Event::GateClosed { gate, decision, .. } => Some(match decision {
            Decision::Approved { note } => ("approval.granted", json!({ "gateId": gate, "note": note })),
            Decision::Denied { reason } => ("approval.rejected", json!({ "gateId": gate, "reason": reason })),
            Decision::Expired => ("approval.expired", json!({ "gateId": gate })),
            Decision::Withdrawn => ("approval.withdrawn", json!({ "gateId": gate })),
        }),
        Event::CancelRequested { .. } => Some(("run.cancel_requested", json!({}))),
        Event::Retried { attempt, from, .. } => {
            Some(("run.retried", json!({ "attempt": attempt, "fromStepId": from.and_then(step) })))
        }
        Event::CaughtUp { main, .. } => Some(("run.caught_up", json!({ "main": main }))),
        Event::StepAsked { id, name, .. } => Some(("step.asked", json!({ "agentStepId": id, "name": name }))),
        Event::OutcomeUnknown { activity, .. } => {
            Some(("run.outcome_unknown", json!({ "activity": format!("{activity:?}").to_lowercase() })))
        }
        Event::Ended { status, attempt, .. } => Some(match status.reason() {
            Some(Reason { code, message }) => {
                ("run.failed", json!({ "attempt": attempt, "code": code, "message": message }))
            }
            None => ("run.completed", json!({ "attempt": attempt, "status": status.name() })),
        }),
        Event::Moved { .. }
        | Event::StepStarted { .. }
        | Event::StepEnded { .. }
        | Event::AskedEnded { .. }
        | Event::LookedInVain { .. }
        | Event::FixAdded { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;

    #[test]
    fn lines_of_the_list_are_written_and_read_as_ever() {
        let row = ListRow {
            workflow: WorkflowId(Uuid::from_u128(2)),
            title: "a run".into(),
            status: wire::Status::MergeApproval,
            attempt: 2,
            open_gates: 1,
            cost: MicroUsd(12),
            created_at: Timestamp(1_780_000_000_000),
            status_since: Timestamp(1_780_000_000_500),
        };
        golden::holds::<ListRow>("run-line", &row);
        golden::holds::<Vec<wire::Status>>("run-line-statuses", &wire::Status::ALL.to_vec());
    }
}
