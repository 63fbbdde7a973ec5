//! Binds the pure machine to the shell, and says what a change brings with it.

use std::collections::BTreeMap;

use cendriix_persistence::{
    codec::encode,
    store::{Key, Row, RowKey},
};
use cendriix_protocol::{
    agent_steps::{AgentStepStatus, StopReason},
    ids::{AgentStepId, RunId},
    money::MicroUsd,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::state::{self, AgentStep, Birth, Command, Event, Payload, Refusal, Work, WorkKey, badly};
use crate::{
    audit,
    content::Carries,
    kinds::{self, space},
    kit::machine::{Effect, Given, Lost, Machine, Records, Wanted},
    metering::spent::{Account, Spent},
};

impl Machine for AgentStep {
    const KIND: u8 = kinds::AGENT_STEP;
    const NAME: &'static str = "agent step";
    const SCHEMA: u16 = 1;

    type Birth = Birth;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;
    type WorkKey = WorkKey;
    type Work = Work;

    fn create(birth: &Birth, id: Uuid, given: &Given) -> Result<Vec<Event>, Refusal> {
        Ok(Self::create(birth, id.into(), given))
    }

    fn found(first: &Event) -> Option<Self> {
        Self::found(first)
    }

    fn decide(&self, command: &Command, given: &Given) -> Result<Vec<Event>, Refusal> {
        Self::decide(self, command, given)
    }

    fn apply(&mut self, seq: u64, event: &Event) {
        Self::apply(self, seq, event);
    }

    fn work(&self) -> BTreeMap<WorkKey, Wanted<Work>> {
        Self::work(self)
    }

    fn effect(work: &Work) -> Effect {
        state::effect(*work)
    }

    fn records(&self, _id: Uuid, before: Option<&Self>, events: &[Event], given: &Given) -> Records {
        let mut records = Records::default();
        if before.is_none_or(|before| ListRow::of(before) != ListRow::of(self))
            && let Ok(value) = encode(&ListRow::of(self))
        {
            let key = RowKey { space: space::AGENT_STEPS, key: ListRow::key(self.run, self.id) };
            records.rows.push(Row { key, value: Some(value) });
        }
        for event in events {
            self.record(&mut records, event, given);
        }
        records
    }

    fn due(&self, _key: &WorkKey) -> Command {
        Command::Cancel
    }

    fn lost(&self, _key: &WorkKey, how: Lost) -> Command {
        let end = match how {
            Lost::Panicked(said) => {
                badly(StopReason::Error, "internal_error", format!("the program has a mistake: {said}"))
            }
            Lost::OutcomeUnknown => {
                badly(StopReason::Error, "outcome_unknown", "nobody knows whether its calls were made")
            }
            Lost::Stopped => state::cancelled(),
        };
        Command::Broke { turn: self.turn(), end, spent: Vec::new() }
    }

    fn unparks(command: &Command) -> bool {
        matches!(command, Command::Cancel)
    }

    fn awaited_by(&self) -> Option<Key> {
        Some(Key { kind: kinds::RUN, id: self.run.0 })
    }
}

impl Carries for AgentStep {
    fn carried(event: &Event) -> Option<&Payload> {
        match event {
            Event::Created(created) => created.own.as_ref(),
            Event::Prepared { brief, .. } => Some(brief),
            Event::Thought { answer, .. } => Some(answer),
            Event::Acted { results, .. } => Some(results),
            Event::CancelRequested { .. } | Event::Ended { .. } => None,
        }
    }
}

impl AgentStep {
    fn record(&self, records: &mut Records, event: &Event, given: &Given) {
        let mut spend = |spent: &[Spent]| {
            let step = self.node.as_ref().map(|(_, id)| id.as_str());
            let account = Account { workspace: self.workspace, run: self.run, step, agent: Some(self.id.0) };
            records.rows.extend(spent.iter().map(|spent| spent.row(account, given.at)));
        };
        let mut entries: Vec<(&str, Value)> = Vec::new();
        match event {
            Event::Created(created) => entries.push((
                "agent_step.created",
                json!({ "runId": created.run, "name": created.name, "attempt": created.attempt }),
            )),
            Event::Prepared { base, .. } => entries.push(("agent_step.prepared", json!({ "base": base }))),
            Event::Thought { turn, spent, calls, .. } => {
                spend(spent);
                let model = spent.last().map(|spent| spent.model.as_str());
                let payload = json!({ "turn": turn, "model": model, "calls": calls });
                entries.push(("model_call", payload));
            }
            Event::Acted { turn, calls, commit, .. } => {
                entries.extend(calls.iter().map(|call| {
                    let payload = json!({
                        "turn": turn, "tool": call.name, "isError": call.is_error, "commit": commit,
                    });
                    ("tool_call", payload)
                }));
            }
            Event::CancelRequested { .. } => entries.push(("agent_step.cancel_requested", json!({}))),
            Event::Ended { end, spent, .. } => {
                spend(spent);
                let code = end.reason.as_ref().map(|reason| reason.code.as_str());
                entries.push(("agent_step.ended", json!({ "stopReason": end.stop, "code": code })));
                records.nudges.extend(self.awaited_by());
            }
        }
        for (event_type, payload) in entries {
            let resource = audit::Resource { kind: "agent_step", id: self.id.0 };
            records.audit.push(audit::draft(self.workspace, given, event_type, resource, &payload));
        }
    }
}

/// A step in its run's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListRow {
    pub(super) node: Option<String>,
    pub(super) attempt: u32,
    pub(super) name: String,
    pub(super) status: AgentStepStatus,
    pub(super) stop: Option<StopReason>,
    pub(super) turns: u32,
    pub(super) tokens: u64,
    pub(super) cost: MicroUsd,
    pub(super) created_at: Timestamp,
}

impl ListRow {
    pub(super) fn of(step: &AgentStep) -> Self {
        Self {
            node: step.node.as_ref().map(|(_, id)| id.clone()),
            attempt: step.attempt,
            name: step.name.clone(),
            status: super::wire::status(step),
            stop: step.ended().map(|end| end.stop),
            turns: u32::try_from(step.turns.len()).unwrap_or(u32::MAX),
            tokens: step.input_tokens + step.output_tokens,
            cost: step.cost,
            created_at: step.created_at,
        }
    }

    /// The row's key: run, then step.
    pub(super) fn key(run: RunId, step: AgentStepId) -> Vec<u8> {
        [run.0.as_bytes().as_slice(), step.0.as_bytes()].concat()
    }
}
