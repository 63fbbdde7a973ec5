//! The embedded engine: one file, one writer thread with group commit, reads beside it.
//!
//! **Invariant:** the writer never waits to fill a batch; it takes what is there. **Invariant:** after a
//! failed commit nobody is told more than [`Outcome::Unknown`], the engine is dead, and only opening the file
//! again tells what is on disk.

mod backup;
mod reader;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use ::redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageBackend, TableDefinition};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use uuid::Uuid;

pub use backup::restore;

use crate::{
    chain::Link,
    engine::{self, Table},
    store::{Entry, Found, Header, Key, Observer, Outcome, RowKey, Save, Scan, Store, StoreError, Stored},
};

/// The format of the file; grows when an older program could no longer read it.
pub const FORMAT: u32 = 1;

/// How the file is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much memory pages may take, in bytes.
    pub cache_bytes: usize,
    /// How many saves may wait for the writer; one more waits outside.
    pub queue: usize,
    /// How much space must stay free on the disk, in bytes; below it saves are answered with
    /// [`Outcome::Full`].
    pub free_bytes_min: u64,
    /// Who is told of every commit.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20, queue: 4096, free_bytes_min: 64 << 20, observer: None }
    }
}

/// The embedded engine.
pub struct RedbStore {
    database: Arc<Database>,
    requests: Option<mpsc::Sender<writer::Request>>,
    thread: Option<std::thread::JoinHandle<()>>,
    commits: Arc<AtomicU64>,
    dead: watch::Receiver<bool>,
    epoch: u64,
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RedbStore").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

/// Whether it was the file's content that was not as it must be, and not the operating system that refused.
fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
}

/// What the operating system refused is told apart from what the engine finds wrong: only the latter may be
/// damage.
#[expect(clippy::wildcard_enum_match_arm, reason = "the engine has many errors and will have more")]
fn failed(error: impl Into<::redb::Error>) -> StoreError {
    match error.into() {
        ::redb::Error::Io(source) if !is_damage(&source) => {
            StoreError::Io { what: "cannot read or write the data file".into(), source }
        }
        other => StoreError::Engine(other.to_string()),
    }
}

impl RedbStore {
    /// Opens the file at `path`, and makes it when it is not there.
    ///
    /// # Errors
    ///
    /// When another process has it open, when it is damaged or newer than this program, or the disk refuses.
    pub fn open(path: &Path, options: &Options) -> Result<Self, StoreError> {
        let shown = path.display().to_string();
        if !path.exists() {
            create(path, &shown)?;
        }
        let database = Builder::new().set_cache_size(options.cache_bytes).open(path);
        let database = database.map_err(|error| explain(&shown, error))?;
        backup::sync_name(path)?;
        let quick_repair = std::fs::metadata(path).is_ok_and(|file| file.len() > 1 << 30);
        Self::start(database, options, Some(path.to_owned()), quick_repair, &shown)
    }

    /// Opens whatever the backend holds; for tests of failing disks.
    ///
    /// # Errors
    ///
    /// As [`RedbStore::open`].
    pub fn open_backend(backend: impl StorageBackend, options: &Options) -> Result<Self, StoreError> {
        let database = Builder::new().set_cache_size(options.cache_bytes).create_with_backend(backend);
        Self::start(database.map_err(|error| explain("(backend)", error))?, options, None, false, "(backend)")
    }

    fn start(
        database: Database,
        options: &Options,
        path: Option<PathBuf>,
        quick_repair: bool,
        shown: &str,
    ) -> Result<Self, StoreError> {
        let epoch = match writer::begin_epoch(&database) {
            Err(StoreError::Engine(detail)) => Err(StoreError::Damaged { path: shown.to_owned(), detail }),
            begun => begun,
        }?;
        let database = Arc::new(database);
        let commits = Arc::new(AtomicU64::new(0));
        let (died, dead) = watch::channel(false);
        let (requests, queue) = mpsc::channel(options.queue);
        let writer = writer::Writer {
            queue,
            database: Arc::clone(&database),
            commits: Arc::clone(&commits),
            died,
            quick_repair,
            observer: options.observer.clone(),
            space: path.map(|path| writer::FreeSpace::new(path, options.free_bytes_min)),
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run())
            .map_err(|source| StoreError::Io { what: "cannot start the writer thread".into(), source })?;
        Ok(Self { database, requests: Some(requests), thread: Some(thread), commits, dead, epoch })
    }

    fn read<T>(&self, read: impl FnOnce(&reader::Reader) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        read(&reader::Reader::new(&transaction))
    }

    /// The writer's answer; nothing when it died without one. A request that reached the queue just as the
    /// writer went is never dropped by the queue, so the answer alone would be waited for in vain.
    async fn answered<T>(&self, mut answer: oneshot::Receiver<T>) -> Option<T> {
        let mut dead = self.dead.clone();
        tokio::select! {
            biased;
            answered = &mut answer => answered.ok(),
            _ = dead.wait_for(|dead| *dead) => answer.try_recv().ok(),
        }
    }

    async fn ask(&self, request: writer::Request) {
        // A writer that is gone drops its answers, which the one who asked sees as `Unknown`.
        if let Some(requests) = &self.requests {
            drop(requests.send(request).await);
        }
    }
}

impl Drop for RedbStore {
    /// Waits until everything that was handed in is on disk.
    fn drop(&mut self) {
        drop(self.requests.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Makes an empty file whole before it gets its name: a crash meanwhile leaves a draft, not half a data file.
fn create(path: &Path, shown: &str) -> Result<(), StoreError> {
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    drop(std::fs::remove_file(&draft));
    let whole = Builder::new().create(&draft).map_err(|error| explain(shown, error)).map(drop);
    let named = whole.and_then(|()| match std::fs::hard_link(&draft, path) {
        Ok(()) => Ok(()),
        // Another process was first; whether it still has the file open is seen next.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        // Not every file system has links.
        Err(_) => std::fs::rename(&draft, path).map_err(|source| StoreError::Io {
            what: format!("cannot create the data file {shown}"),
            source,
        }),
    });
    drop(std::fs::remove_file(&draft));
    named
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the engine has many errors and will have more")]
fn explain(path: &str, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            StoreError::Locked { path }
        }
        DatabaseError::Storage(::redb::StorageError::Io(source)) if !is_damage(&source) => {
            let advice = "see that its directory exists, may be written and has space";
            StoreError::Io { what: format!("cannot open the data file {path}; {advice}"), source }
        }
        other => StoreError::Damaged { path, detail: other.to_string() },
    }
}

#[async_trait]
impl Store for RedbStore {
    async fn save(&self, save: Save) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        self.ask(writer::Request::Save(save, answer)).await;
        self.answered(outcome).await.unwrap_or(Outcome::Unknown)
    }

    async fn barrier(&self) {
        let (answer, done) = oneshot::channel();
        self.ask(writer::Request::Barrier(answer)).await;
        self.answered(done).await;
    }

    async fn load(&self, key: Key) -> Result<Option<Stored>, StoreError> {
        self.read(|tables| engine::load(tables, key))
    }

    async fn header(&self, key: Key) -> Result<Option<Header>, StoreError> {
        self.read(|tables| engine::header(tables, key))
    }

    async fn journal(&self, key: Key, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.read(|tables| engine::journal(tables, key, after, limit))
    }

    async fn row(&self, key: &RowKey) -> Result<Option<Bytes>, StoreError> {
        self.read(|tables| engine::row(tables, key))
    }

    async fn rows(&self, scan: Scan) -> Result<Vec<Found>, StoreError> {
        self.read(|tables| engine::rows(tables, scan))
    }

    async fn working(&self, after: Option<Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.read(|tables| engine::working(tables, after, limit))
    }

    async fn due(&self, at: u64, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.read(|tables| engine::due(tables, at, limit))
    }

    async fn audit(&self, workspace: Uuid, from: u64, limit: usize) -> Result<Vec<Link>, StoreError> {
        self.read(|tables| engine::audit(tables, workspace, from, limit))
    }

    async fn keys(&self, after: Option<Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
        self.read(|tables| engine::keys(tables, after, limit))
    }

    async fn audited(&self) -> Result<Vec<Uuid>, StoreError> {
        self.read(|tables| engine::audited(tables))
    }

    async fn copy(&self, to: &Path) -> Result<(), StoreError> {
        let (database, to) = (Arc::clone(&self.database), to.to_owned());
        match tokio::task::spawn_blocking(move || backup::copy(&database, &to)).await {
            Ok(done) => done,
            Err(error) => Err(StoreError::Engine(error.to_string())),
        }
    }

    fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> usize {
        self.requests.as_ref().map_or(0, |requests| requests.max_capacity() - requests.capacity())
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn dead(&self) -> watch::Receiver<bool> {
        self.dead.clone()
    }
}

#[cfg(test)]
pub(crate) mod tests;
