//! Binds the pure machine to the shell.

use std::collections::BTreeMap;

use cendriix_protocol::money::MicroUsd;
use uuid::Uuid;

use super::{
    records,
    state::{self, Birth, Command, Event, Mend, Reason, Refusal, Run, Seen, Timer, Work, WorkKey},
};
use crate::{
    kinds,
    kit::machine::{Effect, Given, Lost, Machine, Records, Wanted},
};

impl Machine for Run {
    const KIND: u8 = kinds::RUN;
    const NAME: &'static str = "run";
    const SCHEMA: u16 = 1;

    type Birth = Birth;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;
    type WorkKey = WorkKey;
    type Work = Work;

    fn create(birth: &Birth, id: Uuid, given: &Given) -> Result<Vec<Event>, Refusal> {
        Self::create(birth, id.into(), given)
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
        records::of(self, before, events, given)
    }

    fn due(&self, key: &WorkKey) -> Command {
        match key {
            WorkKey::Timer(timer) => Command::Due { timer: *timer },
            WorkKey::Step(_)
            | WorkKey::Ending { .. }
            | WorkKey::Asked(_)
            | WorkKey::Activity(_)
            | WorkKey::Look => Command::Due { timer: Timer::GraceEnds },
        }
    }

    fn lost(&self, key: &WorkKey, how: Lost) -> Command {
        let attempt = self.attempt;
        let reason = match how {
            Lost::Panicked(said) => {
                Reason::new("internal_error", format!("the program has a mistake: {said}"))
            }
            Lost::OutcomeUnknown => Reason::new("outcome_unknown", "nobody knows whether it happened"),
            Lost::Stopped => Reason::new("cancelled", "it was stopped"),
        };
        match key {
            WorkKey::Activity(activity) if activity.is_irrevocable() => {
                Command::OutcomeUnknown { activity: *activity, attempt }
            }
            WorkKey::Activity(activity) => {
                Command::Undone { activity: *activity, attempt, reason, mend: Mend::Nobody }
            }
            WorkKey::Step(step) => Command::StepFailed { step: *step, attempt, reason, cost: MicroUsd(0) },
            WorkKey::Ending { step, attempt } => {
                Command::StepEnded { step: *step, attempt: *attempt, cost: MicroUsd(0) }
            }
            WorkKey::Asked(id) => Command::AskedEnded { id: *id, cost: MicroUsd(0) },
            WorkKey::Look => Command::Looked { attempt, seen: Seen::Nothing },
            WorkKey::Timer(timer) => Command::Due { timer: *timer },
        }
    }

    fn unparks(command: &Command) -> bool {
        matches!(command, Command::Retry { .. } | Command::Cancel)
    }
}
