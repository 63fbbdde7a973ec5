//! What every kind of entity shares on a node, and when entities go to sleep.

use std::{sync::Arc, time::Duration};

use cendriix_persistence::{placement::Placement, store::SharedStore};
use tokio_util::sync::CancellationToken;

use super::{clock::Clock, meters::Meters, stream::Hub, sweeper::Kinds, tasks::Tasks};

/// What every kind of entity shares on a node.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Where entities are kept.
    pub store: SharedStore,
    /// Who owns which id.
    pub placement: Arc<dyn Placement>,
    /// Time, ids and chance.
    pub clock: Clock,
    /// How far each journal has come.
    pub hub: Hub,
    /// All tasks.
    pub tasks: Tasks,
    /// All kinds of entities.
    pub kinds: Kinds,
    /// How many entities stay awake and for how long.
    pub rest: Rest,
    /// What is counted.
    pub meters: Meters,
    /// Cancelled when the node stops.
    pub stop: CancellationToken,
}

/// When entities go to sleep.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    /// After how long without a message an entity without work goes to sleep.
    pub idle: Duration,
    /// How many may be awake before those without work go to sleep at once.
    pub awake_max: usize,
}

impl Default for Rest {
    fn default() -> Self {
        Self { idle: Duration::from_secs(5), awake_max: 10_000 }
    }
}
