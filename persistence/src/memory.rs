//! The engine on maps: what it saves is gone with it, and nothing in it waits, so that virtual time passes
//! as it should.

use std::{collections::BTreeMap, sync::Arc, sync::Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    chain::Link,
    engine::{self, Heads, Range, Read, Table, Write},
    store::{Entry, Found, Header, Key, Outcome, RowKey, Save, Scan, Store, StoreError, Stored},
};

/// The engine on maps. A clone of its [`Disk`] can be opened again, as a file could.
#[derive(Debug)]
pub struct MemoryStore {
    disk: Disk,
    dead: watch::Sender<bool>,
    epoch: u64,
}

/// What would be on disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Content>>);

#[derive(Debug, Default)]
struct Content {
    tables: Tables,
    heads: Heads,
    commits: u64,
    epoch: u64,
}

#[derive(Debug, Default)]
struct Tables([BTreeMap<Vec<u8>, Bytes>; Table::ALL.len()]);

impl MemoryStore {
    /// Opens what `disk` holds.
    pub fn open(disk: Disk) -> Self {
        let epoch = disk.with(|content| {
            content.epoch += 1;
            content.epoch
        });
        Self { disk, dead: watch::Sender::new(false), epoch }
    }

    /// Declares the engine dead, as a failed commit would.
    pub fn die(&self) {
        self.dead.send_replace(true);
    }
}

impl Disk {
    fn with<T>(&self, work: impl FnOnce(&mut Content) -> T) -> T {
        let mut content = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&mut content)
    }
}

impl Read for Tables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0[table as usize].get(key).cloned())
    }

    fn range(&self, table: Table, range: Range) -> Result<Vec<Found>, StoreError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.0[table as usize].range::<Vec<u8>, _>((range.from, range.to));
        let own = |(key, value): (&Vec<u8>, &Bytes)| (key.clone(), value.clone());
        if range.reverse {
            Ok(rows.rev().take(range.limit).map(own).collect())
        } else {
            Ok(rows.take(range.limit).map(own).collect())
        }
    }
}

impl Write for Tables {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.0[table as usize].insert(key.to_vec(), Bytes::copy_from_slice(value));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.0[table as usize].remove(key);
        Ok(())
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn save(&self, save: Save) -> Outcome {
        if *self.dead.borrow() {
            return Outcome::Unknown;
        }
        self.disk.with(|content| {
            let outcome = engine::save(&mut content.tables, &mut content.heads, &save);
            content.commits += u64::from(matches!(outcome, Ok(Outcome::Saved)));
            outcome.unwrap_or_else(|_| {
                self.die();
                Outcome::Unknown
            })
        })
    }

    async fn barrier(&self) {}

    async fn load(&self, key: Key) -> Result<Option<Stored>, StoreError> {
        self.disk.with(|content| engine::load(&content.tables, key))
    }

    async fn header(&self, key: Key) -> Result<Option<Header>, StoreError> {
        self.disk.with(|content| engine::header(&content.tables, key))
    }

    async fn journal(&self, key: Key, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.disk.with(|content| engine::journal(&content.tables, key, after, limit))
    }

    async fn row(&self, key: &RowKey) -> Result<Option<Bytes>, StoreError> {
        self.disk.with(|content| engine::row(&content.tables, key))
    }

    async fn rows(&self, scan: Scan) -> Result<Vec<Found>, StoreError> {
        self.disk.with(|content| engine::rows(&content.tables, scan))
    }

    async fn working(&self, after: Option<Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.disk.with(|content| engine::working(&content.tables, after, limit))
    }

    async fn due(&self, at: u64, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.disk.with(|content| engine::due(&content.tables, at, limit))
    }

    async fn audit(&self, workspace: Uuid, from: u64, limit: usize) -> Result<Vec<Link>, StoreError> {
        self.disk.with(|content| engine::audit(&content.tables, workspace, from, limit))
    }

    async fn keys(&self, after: Option<Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.disk.with(|content| engine::keys(&content.tables, after, limit))
    }

    async fn audited(&self) -> Result<Vec<Uuid>, StoreError> {
        self.disk.with(|content| engine::audited(&content.tables))
    }

    async fn copy(&self, to: &std::path::Path) -> Result<(), StoreError> {
        let source = std::io::Error::from(std::io::ErrorKind::Unsupported);
        Err(StoreError::Io {
            what: format!("a store in memory cannot be copied to {}", to.display()),
            source,
        })
    }

    fn waiting(&self) -> usize {
        0
    }

    fn commits(&self) -> u64 {
        self.disk.with(|content| content.commits)
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn dead(&self) -> watch::Receiver<bool> {
        self.dead.subscribe()
    }
}
