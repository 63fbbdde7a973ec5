//! One task per node that wakes what is due and puts to sleep what is idle; no entity has a timer of its own.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use cendriix_persistence::store::Key;
use futures::{StreamExt, stream};
use uuid::Uuid;

use super::{directory::Shared, tasks::Tasks};

/// How often the sweeper looks; also how late a timer may be.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many entities wake at a time.
const WAKING: usize = 64;
/// How many are read from the store at a time.
const PAGE: usize = 1000;

/// What the sweeper needs of a kind of entity.
#[async_trait]
pub(super) trait Kind: Send + Sync {
    async fn wake(&self, id: Uuid);
    async fn nudge(&self, id: Uuid);
    fn is_awake(&self, id: Uuid) -> bool;
    fn sweep(&self);
    fn measure(&self);
    async fn stop(&self);
}

/// What becomes of work that an earlier process left unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Former {
    /// It goes on.
    TakenUp,
    /// It is left as it is; only what is asked something goes on, and what that waits for.
    Left,
}

/// All kinds of entities of a node.
#[derive(Clone, Default)]
pub struct Kinds(Arc<RwLock<BTreeMap<u8, Arc<dyn Kind>>>>);

impl std::fmt::Debug for Kinds {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Kinds").finish_non_exhaustive()
    }
}

impl Kinds {
    pub(super) fn register(&self, number: u8, kind: Arc<dyn Kind>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(number, kind);
    }

    fn get(&self, number: u8) -> Option<Arc<dyn Kind>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    fn all(&self) -> Vec<Arc<dyn Kind>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Wakes children that have just been saved.
    pub(super) fn wake_all(&self, tasks: &Tasks, keys: &[Key]) {
        for key in keys {
            if let Some(kind) = self.get(key.kind) {
                let id = key.id;
                tasks.spawn("wake child", async move { kind.wake(id).await });
            }
        }
    }

    /// Tells entities to look around. Their due rows are on disk: what gets lost here, the sweeper does
    /// later.
    pub(super) fn nudge_all(&self, tasks: &Tasks, keys: &[Key]) {
        for key in keys {
            if let Some(kind) = self.get(key.kind) {
                let id = key.id;
                tasks.spawn("nudge", async move { kind.nudge(id).await });
            }
        }
    }

    /// Brings what is measured rather than counted up to date.
    pub fn measure(&self) {
        for kind in self.all() {
            kind.measure();
        }
    }

    /// Puts all entities to sleep for good, and forgets the kinds.
    pub async fn stop(&self) {
        for kind in self.all() {
            kind.stop().await;
        }
        // Kinds hold what they share, and that holds the kinds.
        self.0.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Wakes every entity that had work when the store was closed. Bounded: 64 at a time.
pub async fn resume(shared: &Shared) {
    let mut after = None;
    let mut woken = 0_usize;
    loop {
        let keys = match shared.store.working(after, PAGE).await {
            Ok(keys) => keys,
            Err(error) => return tracing::error!(%error, "cannot read which entities have work"),
        };
        let Some(last) = keys.last() else { break };
        after = Some(*last);
        woken += keys.len();
        stream::iter(keys).for_each_concurrent(WAKING, |key| wake(shared, key)).await;
    }
    if woken > 0 {
        tracing::info!(entities = woken, "took up the work of before");
    }
}

async fn wake(shared: &Shared, key: Key) {
    if let Some(kind) = shared.kinds.get(key.kind) {
        kind.wake(key.id).await;
    } else {
        tracing::error!(kind = key.kind, id = %key.id, "nobody knows this kind of entity");
    }
}

/// Looks, again and again, for what is due and what is idle, until the node stops. Where former work is left,
/// nobody wakes because of it, and nobody goes to sleep: what is awake is what goes on.
pub async fn sweep(shared: Shared, former: Former) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => (),
            () = shared.stop.cancelled() => return,
        }
        match shared.store.due(shared.clock.now().0, PAGE).await {
            Ok(due) => {
                stream::iter(due)
                    .for_each_concurrent(WAKING, |key| {
                        let kind = shared.kinds.get(key.kind);
                        let kind = kind.filter(|kind| former == Former::TakenUp || kind.is_awake(key.id));
                        async move {
                            if let Some(kind) = kind {
                                kind.nudge(key.id).await;
                            }
                        }
                    })
                    .await;
            }
            Err(error) => tracing::error!(%error, "cannot read which entities are due"),
        }
        if former == Former::Left {
            continue;
        }
        for kind in shared.kinds.all() {
            kind.sweep();
        }
    }
}
