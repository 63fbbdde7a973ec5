//! A store that delays, fails and dies as a seed or a test says, over one that is sound.
//!
//! Like the engine on disk it has one writer with a queue: a save that was handed in may happen although the
//! actor that handed it in is gone, and a barrier passes through the same queue.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cendriix_persistence::{
    StoreError,
    chain::Link,
    memory::MemoryStore,
    store::{Entry, Found, Header, Key, Outcome, RowKey, Save, Scan, Store, Stored},
};
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

use super::tasks::Tasks;

/// How much goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    /// The longest delay at each await.
    pub(crate) delay: Duration,
    /// Of 1024 saves, how many end the process with an outcome that nobody hears.
    pub(crate) unknown: u32,
}

/// A store with faults.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: Arc<MemoryStore>,
    chance: Mutex<fastrand::Rng>,
    faults: Mutex<Faults>,
    full: AtomicBool,
    queue: mpsc::Sender<Entrusted>,
}

#[derive(Debug)]
enum Entrusted {
    Save(Box<Save>, oneshot::Sender<Outcome>),
    Barrier(oneshot::Sender<()>),
}

impl Faulty {
    /// Opens a store whose faults follow a seed.
    pub(crate) fn open(inner: MemoryStore, seed: u64, tasks: &Tasks) -> Arc<Self> {
        let (queue, entrusted) = mpsc::channel(64);
        let store = Arc::new(Self {
            inner: Arc::new(inner),
            chance: Mutex::new(fastrand::Rng::with_seed(seed)),
            faults: Mutex::new(Faults::default()),
            full: AtomicBool::new(false),
            queue,
        });
        tasks.spawn("writer", Arc::clone(&store).write(entrusted));
        store
    }

    pub(crate) fn set(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
    }

    pub(crate) fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    /// What lies below, without faults.
    pub(crate) fn sound(&self) -> &MemoryStore {
        &self.inner
    }

    async fn write(self: Arc<Self>, mut entrusted: mpsc::Receiver<Entrusted>) {
        while let Some(next) = entrusted.recv().await {
            self.pause().await;
            match next {
                Entrusted::Save(save, reply) => {
                    let outcome = self.save_or_die(*save).await;
                    reply.send(outcome).ok();
                }
                Entrusted::Barrier(reply) => drop(reply.send(())),
            }
        }
    }

    async fn save_or_die(&self, save: Save) -> Outcome {
        if self.is_dead() {
            return Outcome::Unknown;
        }
        if self.full.load(Ordering::Relaxed) {
            return Outcome::Full;
        }
        let (unlucky, lost) = {
            let unknown = self.faults.lock().unwrap().unknown;
            let mut chance = self.chance.lock().unwrap();
            (chance.u32(..1024) < unknown, chance.bool())
        };
        let outcome = if unlucky && lost { Outcome::Unknown } else { self.inner.save(save).await };
        if unlucky {
            self.inner.die();
            return Outcome::Unknown;
        }
        outcome
    }

    fn is_dead(&self) -> bool {
        *self.inner.dead().borrow()
    }

    async fn pause(&self) {
        let most = self.faults.lock().unwrap().delay;
        if most.is_zero() {
            return;
        }
        let pause = {
            let mut chance = self.chance.lock().unwrap();
            // Half of all awaits go through at once.
            if chance.bool() { Duration::ZERO } else { most.mul_f64(chance.f64()) }
        };
        tokio::time::sleep(pause).await;
    }

    async fn reading(&self) -> Result<&MemoryStore, StoreError> {
        self.pause().await;
        if self.is_dead() { Err(StoreError::Dead) } else { Ok(&self.inner) }
    }
}

#[async_trait]
impl Store for Faulty {
    async fn save(&self, save: Save) -> Outcome {
        let (reply, outcome) = oneshot::channel();
        if self.queue.send(Entrusted::Save(Box::new(save), reply)).await.is_err() {
            return Outcome::Unknown;
        }
        let outcome = outcome.await.unwrap_or(Outcome::Unknown);
        self.pause().await;
        outcome
    }

    async fn barrier(&self) {
        let (reply, passed) = oneshot::channel();
        if self.queue.send(Entrusted::Barrier(reply)).await.is_ok() {
            passed.await.ok();
        }
    }

    async fn load(&self, key: Key) -> Result<Option<Stored>, StoreError> {
        self.reading().await?.load(key).await
    }

    async fn header(&self, key: Key) -> Result<Option<Header>, StoreError> {
        self.reading().await?.header(key).await
    }

    async fn journal(&self, key: Key, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.reading().await?.journal(key, after, limit).await
    }

    async fn row(&self, key: &RowKey) -> Result<Option<Bytes>, StoreError> {
        self.reading().await?.row(key).await
    }

    async fn rows(&self, scan: Scan) -> Result<Vec<Found>, StoreError> {
        self.reading().await?.rows(scan).await
    }

    async fn working(&self, after: Option<Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.reading().await?.working(after, limit).await
    }

    async fn due(&self, at: u64, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.reading().await?.due(at, limit).await
    }

    async fn audit(&self, workspace: Uuid, from: u64, limit: usize) -> Result<Vec<Link>, StoreError> {
        self.reading().await?.audit(workspace, from, limit).await
    }

    async fn keys(&self, after: Option<Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.reading().await?.keys(after, limit).await
    }

    async fn audited(&self) -> Result<Vec<Uuid>, StoreError> {
        self.reading().await?.audited().await
    }

    async fn copy(&self, to: &Path) -> Result<(), StoreError> {
        self.inner.copy(to).await
    }

    fn waiting(&self) -> usize {
        self.inner.waiting()
    }

    fn commits(&self) -> u64 {
        self.inner.commits()
    }

    fn epoch(&self) -> u64 {
        self.inner.epoch()
    }

    fn dead(&self) -> watch::Receiver<bool> {
        self.inner.dead()
    }
}
