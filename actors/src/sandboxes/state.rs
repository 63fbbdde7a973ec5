//! The sandbox of one attempt of a run, as a pure state machine.
//!
//! ```text
//! Running ──its attempt is over──▶ Terminating ──its commands are gone──▶ Terminated
//! ```
//!
//! It is born before the first command of the attempt begins, and sleeps while nothing is asked of it.
//!
//! **Invariant:** a command begins only in a sandbox that is `Running`, and none is left in one that is
//! `Terminated` unless its end says so.

use std::collections::BTreeMap;

use cendriix_protocol::{
    ids::{RunId, SandboxId, WorkspaceId},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::kit::machine::{Effect, Given, Wanted};

/// A sandbox and everything needed to end it after a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    pub id: SandboxId,
    pub workspace: WorkspaceId,
    pub run: RunId,
    pub attempt: u32,
    pub runtime: Runtime,
    pub created_at: Timestamp,
    pub status: Status,
}

/// What contains its commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Runtime {
    /// The best that the machine has.
    Local,
    /// Nothing; somebody asked for that.
    None,
}

impl Runtime {
    /// What it is called on the wire and in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::None => "none",
        }
    }
}

/// Where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Running,
    Terminating { since: Timestamp },
    Terminated { at: Timestamp, survivors: bool },
}

/// What one begins with.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    pub workspace: WorkspaceId,
    pub run: RunId,
    pub attempt: u32,
    pub runtime: Runtime,
}

/// What work reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The attempt that it is for has ended.
    AttemptOver,
    /// Nobody could say whether the attempt has ended.
    Unanswered,
    /// Its commands were ended; `survivors` when some would not die.
    Emptied { survivors: bool },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    Created {
        id: SandboxId,
        workspace: WorkspaceId,
        run: RunId,
        attempt: u32,
        runtime: Runtime,
        at: Timestamp,
    },
    TerminationBegan {
        at: Timestamp,
    },
    Terminated {
        survivors: bool,
        at: Timestamp,
    },
}

/// Why a command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox is past that")]
pub struct Late;

/// Names a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkKey {
    Attempt,
    Commands,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Learn whether the attempt has ended.
    AskRun,
    /// End all commands.
    Empty,
}

/// What repeating a piece of work would mean.
pub fn effect(work: Work) -> Effect {
    match work {
        Work::AskRun => Effect::ReadOnly,
        Work::Empty => Effect::Contained,
    }
}

impl Sandbox {
    /// The sandbox that an event of birth founds; `None` for any other event.
    pub fn found(first: &Event) -> Option<Self> {
        match *first {
            Event::Created { id, workspace, run, attempt, runtime, at } => {
                Some(Self { id, workspace, run, attempt, runtime, created_at: at, status: Status::Running })
            }
            Event::TerminationBegan { .. } | Event::Terminated { .. } => None,
        }
    }

    /// Says what a birth brings about.
    pub fn create(birth: Birth, id: SandboxId, given: &Given) -> Vec<Event> {
        let Birth { workspace, run, attempt, runtime } = birth;
        vec![Event::Created { id, workspace, run, attempt, runtime, at: given.at }]
    }

    /// Says what `command` would bring about, without changing anything.
    ///
    /// # Errors
    ///
    /// [`Late`] when it is past that already.
    pub fn decide(&self, command: &Command, given: &Given) -> Result<Vec<Event>, Late> {
        let at = given.at;
        match (&self.status, command) {
            (_, Command::Unanswered) => Ok(Vec::new()),
            (Status::Running, Command::AttemptOver) => Ok(vec![Event::TerminationBegan { at }]),
            (Status::Terminating { .. }, Command::Emptied { survivors }) => {
                Ok(vec![Event::Terminated { survivors: *survivors, at }])
            }
            (Status::Terminating { .. } | Status::Terminated { .. }, Command::AttemptOver)
            | (Status::Running | Status::Terminated { .. }, Command::Emptied { .. }) => Err(Late),
        }
    }

    /// Takes an event in; the only place that changes it.
    pub fn apply(&mut self, event: &Event) {
        match *event {
            Event::Created { .. } => (),
            Event::TerminationBegan { at } => self.status = Status::Terminating { since: at },
            Event::Terminated { survivors, at } => self.status = Status::Terminated { at, survivors },
        }
    }

    /// Says what should be going on; a function of the state alone.
    pub fn work(&self) -> BTreeMap<WorkKey, Wanted<Work>> {
        match self.status {
            Status::Running => BTreeMap::from([(WorkKey::Attempt, Wanted::Ask(Work::AskRun))]),
            Status::Terminating { .. } => BTreeMap::from([(WorkKey::Commands, Wanted::Do(Work::Empty))]),
            Status::Terminated { .. } => BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::kit::{Cause, machine::Actor};

    const SYSTEM: Cause = Cause { actor: Actor::System, request: None };
    const GIVEN: Given = Given { at: Timestamp(1_780_000_000_000), by: SYSTEM, random: 0 };

    fn born() -> Sandbox {
        let (workspace, run) = (WorkspaceId(Uuid::from_u128(1)), RunId(Uuid::from_u128(2)));
        let birth = Birth { workspace, run, attempt: 1, runtime: Runtime::Local };
        let events = Sandbox::create(birth, SandboxId(Uuid::from_u128(3)), &GIVEN);
        Sandbox::found(&events[0]).unwrap()
    }

    fn wants(sandbox: &Sandbox) -> Vec<WorkKey> {
        sandbox.work().into_keys().collect()
    }

    #[test]
    fn it_asks_for_its_attempt_then_ends_its_commands_and_then_wants_nothing() {
        let mut sandbox = born();
        let mut seen = vec![(sandbox.status.clone(), wants(&sandbox))];
        for command in [Command::Unanswered, Command::AttemptOver, Command::Emptied { survivors: false }] {
            for event in sandbox.decide(&command, &GIVEN).unwrap() {
                sandbox.apply(&event);
            }
            seen.push((sandbox.status.clone(), wants(&sandbox)));
        }
        let at = GIVEN.at;
        assert_eq!(
            seen,
            [
                (Status::Running, vec![WorkKey::Attempt]),
                (Status::Running, vec![WorkKey::Attempt]),
                (Status::Terminating { since: at }, vec![WorkKey::Commands]),
                (Status::Terminated { at, survivors: false }, vec![]),
            ]
        );
    }

    proptest! {
        #[test]
        fn it_ends_once_and_never_comes_back(commands in prop::collection::vec(0..4_u8, 0..20)) {
            let mut sandbox = born();
            for number in commands {
                let command = match number {
                    0 => Command::AttemptOver,
                    1 => Command::Unanswered,
                    other => Command::Emptied { survivors: other == 2 },
                };
                let before = sandbox.clone();
                let events = sandbox.decide(&command, &GIVEN).unwrap_or_default();
                for event in &events {
                    sandbox.apply(event);
                }
                if let Status::Terminated { .. } = before.status {
                    prop_assert_eq!(&before, &sandbox);
                }
            }
        }
    }
}
