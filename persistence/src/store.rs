//! What can be saved and read, whatever the engine.
//!
//! **Invariant:** a [`Save`] happens as a whole or not at all, and once [`Outcome::Saved`] was answered it
//! survives `kill -9`. **Invariant:** a refused save never fails those that share its commit.

use std::{ops::Bound, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use uuid::Uuid;

/// What an entity or record is kept under: its kind and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// A number of the area that keeps it; never reused for another.
    pub kind: u8,
    /// Its id.
    pub id: Uuid,
}

impl Key {
    /// The key as bytes that sort by kind, then time.
    pub fn bytes(self) -> [u8; 17] {
        let mut bytes = [0; 17];
        bytes[0] = self.kind;
        bytes[1..].copy_from_slice(self.id.as_bytes());
        bytes
    }

    /// Reads [`Key::bytes`] back.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, id) = bytes.split_first()?;
        Some(Self { kind: *kind, id: Uuid::from_slice(id).ok()? })
    }
}

/// What is known of an entity without reading its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The epoch of the owner that wrote last. An older one can no longer write.
    pub epoch: u64,
    /// Counts the saves, from 1; for compare-and-set and `ETag`.
    pub version: u64,
    /// Counts the events, from 1; the id of the last one.
    pub seq: u64,
    /// The last event that the snapshot contains.
    pub snapshot_seq: u64,
    /// When the entity must be woken, in milliseconds since 1970.
    pub due_at: Option<u64>,
    /// The version of the stored type.
    pub schema: u16,
    /// Whether work goes on that a restart must take up again.
    pub working: bool,
    /// Whether the entity crashed so often that it is left alone until somebody retries.
    pub parked: bool,
}

/// Events of one save, encoded by the entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How many events it holds; each takes one `seq`.
    pub count: u32,
    /// The events and who caused them.
    pub bytes: Bytes,
}

/// The change of one entity or record.
#[derive(Clone, Debug)]
pub struct Change {
    /// What changes.
    pub key: Key,
    /// The writer's epoch as the owner of the key's shard.
    pub epoch: u64,
    /// The version that was read; 0 creates.
    pub expected_version: u64,
    /// The version of the stored type.
    pub schema: u16,
    /// See [`Header::working`].
    pub working: bool,
    /// See [`Header::parked`].
    pub parked: bool,
    /// See [`Header::due_at`]; 0 is stored as 1, the earliest instant there is.
    pub due_at: Option<u64>,
    /// What happened, if anything did.
    pub events: Option<Batch>,
    /// The state after it; may be left out when events allow it to be rebuilt from the snapshot before.
    pub snapshot: Option<Bytes>,
}

/// A row's table and key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// A number of the area's table; never reused for another.
    pub space: u8,
    /// The key within it; sorts bytewise.
    pub key: Vec<u8>,
}

/// A row to write, or to delete when it has no value.
#[derive(Clone, Debug)]
pub struct Row {
    /// Which row.
    pub key: RowKey,
    /// Its value.
    pub value: Option<Bytes>,
}

/// What must hold for a save to happen; checked inside its transaction.
#[derive(Clone, Debug)]
pub enum Guard {
    /// The row does not exist.
    Absent(RowKey),
    /// The row exists.
    Present(RowKey),
    /// The counter, after adding `by`, is at most `limit`; then it is stored so. An absent counter is 0.
    Add {
        /// Which counter; its row holds eight bytes, big-endian.
        counter: RowKey,
        /// What to add, or to take away. A counter never falls below 0.
        by: i64,
        /// The most it may become.
        limit: i64,
    },
}

/// An entry for the audit log; the engine gives it its number and its place in the chain.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Whose log it is.
    pub workspace: Uuid,
    /// SHA-256 of the entry's canonical form.
    pub digest: [u8; 32],
    /// The entry.
    pub body: Bytes,
}

/// Everything that happens together.
#[derive(Clone, Debug, Default)]
pub struct Save {
    /// The entity that acts, and the children it creates; each at most once.
    pub changes: Vec<Change>,
    /// What must hold.
    pub guards: Vec<Guard>,
    /// Index rows and others.
    pub rows: Vec<Row>,
    /// Entries for the audit log.
    pub audit: Vec<Draft>,
    /// Entities that are to be woken at once, whatever they wait for; those that do not exist are left out.
    pub nudges: Vec<Key>,
}

/// What became of a save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is on disk.
    Saved,
    /// Somebody else changed one of its entities, or owns it by now.
    Conflict,
    /// The guard of that index does not hold.
    Refused(usize),
    /// There is too little space left on the disk; nothing was saved.
    Full,
    /// Nobody knows: the engine failed while committing. The process must end and read the disk again.
    Unknown,
}

/// An entity as it is stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What is known without reading the state.
    pub header: Header,
    /// The last snapshot.
    pub snapshot: Bytes,
    /// The events after the snapshot.
    pub tail: Vec<Entry>,
}

/// Some events as they stand in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The `seq` of the first of them.
    pub first_seq: u64,
    /// The version that the save brought about.
    pub version: u64,
    /// As they came in [`Batch::bytes`].
    pub bytes: Bytes,
}

/// Which rows are asked for.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Which table.
    pub space: u8,
    /// Where to begin.
    pub from: Bound<Vec<u8>>,
    /// Where to end.
    pub to: Bound<Vec<u8>>,
    /// From the end to the beginning.
    pub reverse: bool,
    /// At most so many.
    pub limit: usize,
}

impl Scan {
    /// All rows whose key begins with `prefix`.
    pub fn prefix(space: u8, prefix: &[u8], limit: usize) -> Self {
        let to = following(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        Self { space, from: Bound::Included(prefix.to_vec()), to, reverse: false, limit }
    }

    /// The same rows, last first, and of those only what stands before `cursor`; never others, whatever the
    /// cursor.
    #[must_use]
    pub fn newest_first(mut self, cursor: Option<Vec<u8>>) -> Self {
        self.reverse = true;
        if let Some(cursor) = cursor {
            let within = match &self.to {
                Bound::Included(end) | Bound::Excluded(end) => cursor <= *end,
                Bound::Unbounded => true,
            };
            if within {
                self.to = Bound::Excluded(cursor);
            }
        }
        self
    }
}

/// The first key that does not begin with `prefix`, if there is one.
pub(crate) fn following(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// A row that was read: its key within the table, and its value.
pub type Found = (Vec<u8>, Bytes);

/// Reading or opening failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the file open.
    #[error(
        "the data file {path} is in use by another process; stop that server or name another --data directory"
    )]
    Locked {
        /// The file.
        path: String,
    },
    /// The file was written by a later version of this program.
    #[error(
        "the data file is of format {found}, this program reads up to {known}; use the newer program or a \
            backup"
    )]
    Newer {
        /// The file's format.
        found: u32,
        /// The latest format that is understood.
        known: u32,
    },
    /// The file is no data file, or damaged.
    #[error(
        "the data file {path} is damaged or no data file at all ({detail}); restore a backup with `cendriix \
            restore`"
    )]
    Damaged {
        /// The file.
        path: String,
        /// What the engine says.
        detail: String,
    },
    /// A stored value cannot be understood.
    #[error("a stored {what} cannot be read: {detail}")]
    Unreadable {
        /// Which value.
        what: &'static str,
        /// Why.
        detail: String,
    },
    /// The operating system refused.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// The engine failed.
    #[error("the storage engine failed: {0}")]
    Engine(String),
    /// The engine failed earlier; the process must be started again.
    #[error("the storage engine has failed and this process must be started again")]
    Dead,
}

/// A storage engine.
#[async_trait]
pub trait Store: std::fmt::Debug + Send + Sync + 'static {
    /// Saves, and answers once the outcome is on disk. Waits while the engine's bounded queue is full.
    async fn save(&self, save: Save) -> Outcome;
    /// Waits until everything that was handed in before is on disk or refused.
    async fn barrier(&self);
    /// Reads an entity.
    async fn load(&self, key: Key) -> Result<Option<Stored>, StoreError>;
    /// Reads what is known of an entity without its state.
    async fn header(&self, key: Key) -> Result<Option<Header>, StoreError>;
    /// Reads journal entries that hold events after `after`, at most `limit` entries.
    async fn journal(&self, key: Key, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError>;
    /// Reads a row.
    async fn row(&self, key: &RowKey) -> Result<Option<Bytes>, StoreError>;
    /// Reads rows in order.
    async fn rows(&self, scan: Scan) -> Result<Vec<Found>, StoreError>;
    /// Reads which entities had work when they were last saved, in order of key, after `after`.
    async fn working(&self, after: Option<Key>, limit: usize) -> Result<Vec<Key>, StoreError>;
    /// Reads which entities are due at `at` (milliseconds since 1970) or before, earliest first.
    async fn due(&self, at: u64, limit: usize) -> Result<Vec<Key>, StoreError>;
    /// Reads audit entries of a workspace from number `from` on.
    async fn audit(
        &self,
        workspace: Uuid,
        from: u64,
        limit: usize,
    ) -> Result<Vec<crate::chain::Link>, StoreError>;
    /// Reads all keys of stored entities in order, after `after`.
    async fn keys(&self, after: Option<Key>, limit: usize) -> Result<Vec<Key>, StoreError>;
    /// Reads which workspaces have an audit log.
    async fn audited(&self) -> Result<Vec<Uuid>, StoreError>;
    /// Writes a consistent copy of the whole store while it goes on, to a new file at `to`.
    async fn copy(&self, to: &std::path::Path) -> Result<(), StoreError>;
    /// Counts the commits since the engine was opened.
    fn commits(&self) -> u64;
    /// How many saves wait for the disk.
    fn waiting(&self) -> usize;
    /// Counts how often the store was opened for writing; the epoch of a single node.
    fn epoch(&self) -> u64;
    /// Becomes true when the engine has failed and the process must end.
    fn dead(&self) -> watch::Receiver<bool>;
}

/// Is told of every commit; must not wait.
pub trait Observer: std::fmt::Debug + Send + Sync {
    /// A transaction with so many saves is on disk, and it took so long.
    fn committed(&self, saves: usize, took: std::time::Duration);
    /// A transaction failed, and the engine with it.
    fn failed(&self);
}

/// A store that many parts share.
pub type SharedStore = Arc<dyn Store>;
