//! Brings crashed entities back, later each time, and gives up on those that keep crashing.

use std::time::Duration;

use cendriix_protocol::time::Timestamp;
use dashmap::DashMap;
use ractor::{ActorProcessingErr, ActorRef, SupervisionEvent};
use uuid::Uuid;

use super::clock::Clock;

/// How long a first crash is rested; doubled with each further one.
const REST: Duration = Duration::from_millis(10);
/// The longest rest.
const REST_MAX: Duration = Duration::from_secs(10);
/// After how long without a crash the earlier ones are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(1);
/// With which crash at the same version an entity is parked.
const PARKED_AT: u32 = 5;

/// Watches the entities of a kind. It outlives them all: none of their ends is its own.
#[derive(Debug)]
pub(super) struct Supervisor;

impl ractor::Actor for Supervisor {
    type Msg = ();
    type State = &'static str;
    type Arguments = &'static str;

    async fn pre_start(
        &self,
        _me: ActorRef<()>,
        name: &'static str,
    ) -> Result<&'static str, ActorProcessingErr> {
        Ok(name)
    }

    /// What becomes of the entity is decided where its state is dropped; here its end is only told.
    async fn handle_supervisor_evt(
        &self,
        _me: ActorRef<()>,
        event: SupervisionEvent,
        name: &mut &'static str,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(_, error) => {
                tracing::warn!(entity = *name, %error, "an entity crashed and will wake from disk");
            }
            SupervisionEvent::ActorStarted(_)
            | SupervisionEvent::ActorTerminated(..)
            | SupervisionEvent::ProcessGroupChanged(_) => (),
        }
        Ok(())
    }
}

/// Who crashed lately.
#[derive(Debug, Default)]
pub(super) struct Crashes(DashMap<Uuid, Crash>);

#[derive(Clone, Copy, Debug)]
struct Crash {
    count: u32,
    version: u64,
    at: Timestamp,
    until: Timestamp,
}

impl Crashes {
    /// Whether it still rests.
    pub(super) fn resting(&self, id: Uuid, now: Timestamp) -> bool {
        self.0.get(&id).is_some_and(|crash| now < crash.until)
    }

    /// Whether it crashed lately.
    pub(super) fn crashed(&self, id: Uuid) -> bool {
        self.0.contains_key(&id)
    }

    /// Takes note of a crash and says how long to rest; `None`: it is to be parked.
    pub(super) fn record(&self, id: Uuid, version: u64, now: Timestamp, clock: &Clock) -> Option<Duration> {
        let before = self.0.get(&id).map(|crash| *crash);
        let again = before.filter(|crash| crash.version == version && now.since(crash.at) < FORGOTTEN_AFTER);
        let count = again.map_or(1, |crash| crash.count + 1);
        let rest = REST.saturating_mul(1 << (count - 1).min(16)).min(REST_MAX);
        let rest = rest + clock.jitter(rest / 4);
        self.0.insert(id, Crash { count, version, at: now, until: now.after(rest) });
        (count < PARKED_AT).then_some(rest)
    }

    pub(super) fn forget(&self, id: Uuid) {
        self.0.remove(&id);
    }

    /// Forgets what is long ago.
    pub(super) fn sweep(&self, now: Timestamp) {
        self.0.retain(|_, crash| now.since(crash.at) < FORGOTTEN_AFTER);
    }
}
