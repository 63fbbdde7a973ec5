//! Binds the pure machine to the shell, and says what a change brings with it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use super::state::{self, Birth, Command, Event, Late, Sandbox, Work, WorkKey};
use crate::{
    audit, kinds,
    kit::machine::{Effect, Given, Lost, Machine, Records, Wanted},
};

impl Machine for Sandbox {
    const KIND: u8 = kinds::SANDBOX;
    const NAME: &'static str = "sandbox";
    const SCHEMA: u16 = 1;

    type Birth = Birth;
    type Command = Command;
    type Event = Event;
    type Refusal = Late;
    type WorkKey = WorkKey;
    type Work = Work;

    fn create(birth: &Birth, id: Uuid, given: &Given) -> Result<Vec<Event>, Late> {
        Ok(Self::create(*birth, id.into(), given))
    }

    fn found(first: &Event) -> Option<Self> {
        Self::found(first)
    }

    fn decide(&self, command: &Command, given: &Given) -> Result<Vec<Event>, Late> {
        Self::decide(self, command, given)
    }

    fn apply(&mut self, _seq: u64, event: &Event) {
        Self::apply(self, event);
    }

    fn work(&self) -> BTreeMap<WorkKey, Wanted<Work>> {
        Self::work(self)
    }

    fn effect(work: &Work) -> Effect {
        state::effect(*work)
    }

    fn records(&self, _id: Uuid, _before: Option<&Self>, events: &[Event], given: &Given) -> Records {
        let entry = |event: &Event| -> (&str, Value) {
            match event {
                Event::Created { run, attempt, runtime, .. } => (
                    "sandbox.created",
                    json!({ "runId": run, "attempt": attempt, "runtimeType": runtime.name() }),
                ),
                Event::TerminationBegan { .. } => ("sandbox.terminating", json!({})),
                Event::Terminated { survivors, .. } => {
                    ("sandbox.terminated", json!({ "survivors": survivors }))
                }
            }
        };
        let resource = audit::Resource { kind: "sandbox", id: self.id.0 };
        let audit = events
            .iter()
            .map(entry)
            .map(|(event_type, payload)| audit::draft(self.workspace, given, event_type, resource, &payload));
        Records { audit: audit.collect(), ..Records::default() }
    }

    fn due(&self, _key: &WorkKey) -> Command {
        // It has no timers.
        Command::Unanswered
    }

    fn lost(&self, key: &WorkKey, _how: Lost) -> Command {
        match key {
            WorkKey::Attempt => Command::Unanswered,
            WorkKey::Commands => Command::Emptied { survivors: true },
        }
    }

    fn unparks(_command: &Command) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use cendriix_protocol::{
        ids::{RunId, SandboxId, WorkspaceId},
        time::Timestamp,
    };

    use super::*;
    use crate::{
        golden,
        sandboxes::state::{Runtime, Status},
    };

    #[test]
    fn sandboxes_and_their_events_are_written_and_read_as_ever() {
        let at = Timestamp(1_780_000_000_000);
        let (workspace, run) = (WorkspaceId(Uuid::from_u128(1)), RunId(Uuid::from_u128(2)));
        let id = SandboxId(Uuid::from_u128(3));
        let created = |runtime| Event::Created { id, workspace, run, attempt: 2, runtime, at };
        let events = [
            created(Runtime::Local),
            created(Runtime::None),
            Event::TerminationBegan { at },
            Event::Terminated { survivors: true, at },
        ];
        golden::holds::<Vec<Event>>("sandbox-events", &events.to_vec());
        let of = |status| Sandbox {
            id,
            workspace,
            run,
            attempt: 2,
            runtime: Runtime::Local,
            created_at: at,
            status,
        };
        let statuses =
            [Status::Running, Status::Terminating { since: at }, Status::Terminated { at, survivors: false }];
        golden::holds::<Vec<Sandbox>>("sandboxes", &statuses.map(of).to_vec());
    }
}
