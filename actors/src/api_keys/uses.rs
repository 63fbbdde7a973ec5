//! When keys were used last, to the minute: noted beside the requests, which never wait for it.

use std::{sync::Arc, time::Duration};

use cendriix_persistence::{
    codec::encode,
    store::{Guard, Outcome, Row, Save, SharedStore},
};
use cendriix_protocol::{
    ids::{ApiKeyId, WorkspaceId},
    time::Timestamp,
};
use dashmap::{DashMap, Entry};
use tokio::sync::Semaphore;

use super::stored::{line_key, use_key};
use crate::kit::tasks::Tasks;

/// A use is written at most this often.
const EVERY: Duration = Duration::from_mins(1);
/// How many keys are remembered to have been noted.
const NOTED_MAX: usize = 10_000;
/// How many notes may wait for the disk; further uses are noted later.
const WAITING_MAX: usize = 256;

/// Notes when keys were used. A clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Uses {
    store: SharedStore,
    tasks: Tasks,
    noted: Arc<DashMap<ApiKeyId, Timestamp>>,
    waiting: Arc<Semaphore>,
}

impl Uses {
    pub(super) fn new(store: SharedStore, tasks: Tasks) -> Self {
        let waiting = Arc::new(Semaphore::new(WAITING_MAX));
        Self { store, tasks, noted: Arc::default(), waiting }
    }

    /// Notes that a key was used, unless that was noted within the last minute.
    pub(super) fn note(&self, workspace: WorkspaceId, key: ApiKeyId, now: Timestamp) {
        let is_fresh = |noted: &Timestamp| now.since(*noted) < EVERY;
        if self.noted.get(&key).is_some_and(|noted| is_fresh(&noted)) {
            return;
        }
        let Ok(permit) = Arc::clone(&self.waiting).try_acquire_owned() else { return };
        if self.noted.len() >= NOTED_MAX {
            self.noted.clear();
        }
        match self.noted.entry(key) {
            // Another request was quicker.
            Entry::Occupied(noted) if is_fresh(noted.get()) => return,
            Entry::Occupied(mut noted) => drop(noted.insert(now)),
            Entry::Vacant(place) => drop(place.insert(now)),
        }
        let Ok(value) = encode(&now) else { return };
        let save = Save {
            // A key that was revoked meanwhile leaves nothing behind.
            guards: vec![Guard::Present(line_key(workspace, key))],
            rows: vec![Row { key: use_key(workspace, key), value: Some(value) }],
            ..Save::default()
        };
        let store = Arc::clone(&self.store);
        self.tasks.spawn("api key use", async move {
            match store.save(save).await {
                Outcome::Saved | Outcome::Refused(_) => (),
                outcome @ (Outcome::Conflict | Outcome::Full | Outcome::Unknown) => {
                    tracing::debug!(?outcome, "when an API key was used could not be noted");
                }
            }
            drop(permit);
        });
    }
}
