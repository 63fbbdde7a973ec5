//! How an entity stands in the store: its journal entries, its snapshot, and the way back from them.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use cendriix_persistence::{
    StoreError,
    codec::{decode, encode},
    store::{Batch, Change, Entry, Key, Store, Stored},
};
use cendriix_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::machine::{Actor, Given, Machine, Records, Wanted};

/// How many outside commands an entity remembers the outcome of.
pub(super) const REMEMBERED: usize = 16;
/// How many events may follow a snapshot: each is taken in again when the entity wakes.
const SNAPSHOT_EVENTS: u64 = 32;
/// How much journal may follow a snapshot that is smaller, in bytes.
const TAIL_MAX: usize = 4 << 10;
/// How far from the largest snapshot a state is measured with each save, in bytes.
const SLACK: usize = 64 << 10;
/// The largest snapshot, in bytes.
pub const SNAPSHOT_MAX: usize = 1 << 20;

/// A journal entry: what one save brought about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journaled<E> {
    /// The outside command that caused it.
    pub command: Option<Uuid>,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Actor,
    /// What happened, in order.
    pub events: Vec<E>,
}

/// The same as it is written, without a copy of the events.
#[derive(Serialize)]
struct JournaledRef<'a, E> {
    command: Option<Uuid>,
    at: Timestamp,
    by: Actor,
    events: &'a [E],
}

/// A snapshot.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(Serialize))]
struct Snapshot<M> {
    machine: M,
    remembered: VecDeque<(Uuid, u64)>,
}

#[derive(Serialize)]
struct SnapshotRef<'a, M> {
    machine: &'a M,
    remembered: &'a VecDeque<(Uuid, u64)>,
}

/// An entity as it is in memory, without its actor.
#[derive(Clone, Debug)]
pub(super) struct Image<M> {
    /// Shared with whoever is shown it; a save changes a copy.
    pub(super) machine: Arc<M>,
    /// Commands that were taken, with the version they led to; the oldest is forgotten first.
    pub(super) remembered: VecDeque<(Uuid, u64)>,
    pub(super) version: u64,
    pub(super) seq: u64,
    snapshot_seq: u64,
    snapshot_len: usize,
    /// The length of the journal entries after the snapshot.
    tail_len: usize,
    pub(super) parked: bool,
}

/// The state would grow past [`SNAPSHOT_MAX`].
#[derive(Debug)]
pub(super) struct TooLarge;

impl<M: Machine> Image<M> {
    /// What a founding event leads to; `None` when it is no founding event.
    pub(super) fn found(first: &M::Event) -> Option<Self> {
        let machine = Arc::new(M::found(first)?);
        let remembered = VecDeque::new();
        Some(Self {
            machine,
            remembered,
            version: 0,
            seq: 0,
            snapshot_seq: 0,
            snapshot_len: 0,
            tail_len: 0,
            parked: false,
        })
    }

    /// Reads an entity back.
    pub(super) fn read(stored: &Stored) -> Result<Self, StoreError> {
        let snapshot: Snapshot<M> = decode(M::NAME, &stored.snapshot)?;
        let mut image = Self {
            machine: Arc::new(snapshot.machine),
            remembered: snapshot.remembered,
            version: stored.header.version,
            seq: stored.header.snapshot_seq,
            snapshot_seq: stored.header.snapshot_seq,
            snapshot_len: stored.snapshot.len(),
            tail_len: stored.tail.iter().map(|entry| entry.bytes.len()).sum(),
            parked: stored.header.parked,
        };
        for entry in &stored.tail {
            let skipped = (image.seq + 1).saturating_sub(entry.first_seq);
            let journaled: Journaled<M::Event> = decode(M::NAME, &entry.bytes)?;
            let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
            let events = journaled.events.get(skipped..).unwrap_or_default();
            image.take(journaled.command, events, entry.version);
        }
        Ok(image)
    }

    /// Rebuilds an entity from all of its journal, without looking at the snapshot.
    pub(super) fn replay(journal: &[Entry]) -> Result<Option<Self>, StoreError> {
        let mut image: Option<Self> = None;
        for entry in journal {
            let journaled: Journaled<M::Event> = decode(M::NAME, &entry.bytes)?;
            if image.is_none() {
                image = journaled.events.first().and_then(Self::found);
            }
            let Some(image) = &mut image else { return Ok(None) };
            image.take(journaled.command, &journaled.events, entry.version);
            image.version = entry.version;
        }
        Ok(image)
    }

    fn take(&mut self, command: Option<Uuid>, events: &[M::Event], version: u64) {
        let machine = Arc::make_mut(&mut self.machine);
        for event in events {
            self.seq += 1;
            machine.apply(self.seq, event);
        }
        if let Some(command) = command {
            self.remember(command, version);
        }
    }

    fn remember(&mut self, command: Uuid, version: u64) {
        if self.remembered.len() == REMEMBERED {
            self.remembered.pop_front();
        }
        self.remembered.push_back((command, version));
    }

    /// Takes events in and says what must be saved for it.
    pub(super) fn step(
        &mut self,
        key: Key,
        epoch: u64,
        command: Option<Uuid>,
        given: &Given,
        events: &[M::Event],
    ) -> Result<Change, TooLarge> {
        let journaled = JournaledRef { command, at: given.at, by: given.by.actor, events };
        self.take(command, events, self.version + 1);
        let wanted = self.machine.work();
        let batch = Batch {
            count: u32::try_from(events.len()).map_err(|_| TooLarge)?,
            bytes: encode(&journaled).map_err(|_| TooLarge)?,
        };
        self.tail_len += batch.bytes.len();
        let change = Change {
            key,
            epoch,
            expected_version: self.version,
            schema: M::SCHEMA,
            working: wanted.values().any(is_work),
            parked: false,
            due_at: wanted.values().filter_map(instant).min(),
            events: (batch.count > 0).then_some(batch),
            snapshot: self.snapshot()?,
        };
        self.parked = false;
        self.version += 1;
        Ok(change)
    }

    /// The change that says only when it is due, and by that forgets that it was told to look around.
    pub(super) fn quieted(&self, key: Key, epoch: u64) -> Change {
        let wanted = self.machine.work();
        Change {
            key,
            epoch,
            expected_version: self.version,
            schema: M::SCHEMA,
            working: !self.parked && wanted.values().any(is_work),
            parked: self.parked,
            due_at: if self.parked { None } else { wanted.values().filter_map(instant).min() },
            events: None,
            snapshot: None,
        }
    }

    /// The snapshot, when one is to be written now: at birth, once waking without it would take in many
    /// events or read more than it is long, and whenever the state may have become too large. So what a save
    /// writes does not grow with the state.
    fn snapshot(&mut self) -> Result<Option<Bytes>, TooLarge> {
        let many = self.seq - self.snapshot_seq >= SNAPSHOT_EVENTS;
        let long = self.tail_len > self.snapshot_len.max(TAIL_MAX);
        // Events may say little of what they make of a state: close to the largest one it is measured.
        let large = self.snapshot_len + 2 * self.tail_len + SLACK > SNAPSHOT_MAX;
        if self.snapshot_seq > 0 && !many && !long && !large {
            return Ok(None);
        }
        let bytes = encode(&SnapshotRef { machine: &*self.machine, remembered: &self.remembered });
        let bytes = bytes.map_err(|_| TooLarge)?;
        if bytes.len() > SNAPSHOT_MAX {
            return Err(TooLarge);
        }
        self.snapshot_len = bytes.len();
        self.snapshot_seq = self.seq;
        self.tail_len = 0;
        Ok(Some(bytes))
    }
}

/// Whether an entity that wants it is woken when the process starts. Who waits for a child is: what the child
/// told, it may have told a process that ended before it listened.
fn is_work<W>(wanted: &Wanted<W>) -> bool {
    matches!(wanted, Wanted::Do(_) | Wanted::Stop(_) | Wanted::Ask(_))
}

fn instant<W>(wanted: &Wanted<W>) -> Option<u64> {
    match wanted {
        Wanted::At(at) => Some(at.0),
        Wanted::Do(_) | Wanted::Stop(_) | Wanted::Ask(_) => None,
    }
}

/// Looks at a stored entity of machine `M` and gives it: its snapshot must be what its journal leads to.
///
/// # Errors
///
/// A sentence on what is wrong.
pub fn check<M: Machine + PartialEq>(stored: &Stored, journal: &[Entry]) -> Result<M, String> {
    let image = Image::<M>::read(stored).map_err(|error| error.to_string())?;
    let replayed = Image::<M>::replay(journal).map_err(|error| error.to_string())?;
    let Some(replayed) = replayed else {
        return Err("its journal does not begin with a founding event".into());
    };
    if replayed.machine != image.machine {
        return Err(format!(
            "its snapshot of event {} is not what its journal leads to",
            stored.header.snapshot_seq
        ));
    }
    let wanted = image.machine.work();
    let working = wanted.values().any(is_work);
    if working != stored.header.working && !stored.header.parked {
        return Err("a restart would not take its work up again".into());
    }
    Ok(Arc::unwrap_or_clone(image.machine))
}

/// Reads an entity as it is on disk, without waking it; `None` when there is none.
///
/// # Errors
///
/// When it cannot be read.
pub async fn load<M: Machine>(store: &dyn Store, id: Uuid) -> Result<Option<M>, StoreError> {
    let stored = store.load(Key { kind: M::KIND, id }).await?;
    Ok(stored
        .map(|stored| Image::<M>::read(&stored))
        .transpose()?
        .map(|image| Arc::unwrap_or_clone(image.machine)))
}

/// What brings a child to life in its parent's save: its change, and all that comes with its birth.
///
/// # Errors
///
/// When the child cannot begin like that.
pub fn child<M: Machine>(birth: &M::Birth, id: Uuid, given: &Given) -> Result<Records, M::Refusal> {
    let events = M::create(birth, id, given)?;
    let key = Key { kind: M::KIND, id };
    let born = events.first().and_then(Image::<M>::found).and_then(|mut image| {
        let change = image.step(key, 0, None, given, &events).ok()?;
        Some((change, image.machine.records(id, None, &events, given)))
    });
    // A machine whose first event founds nothing is a mistake that its own tests show; the empty change is
    // refused.
    let (change, mut records) = born.unwrap_or_else(|| {
        let change = Change {
            key,
            epoch: 0,
            expected_version: u64::MAX,
            schema: 0,
            working: false,
            parked: false,
            due_at: None,
            events: None,
            snapshot: None,
        };
        (change, Records::default())
    });
    records.children.push(change);
    Ok(records)
}

#[cfg(test)]
mod tests {
    use cendriix_protocol::ids;

    use super::*;
    use crate::golden;

    #[test]
    fn snapshots_and_journal_entries_are_written_and_read_as_ever() {
        let remembered = VecDeque::from([(Uuid::from_u128(8), 4), (Uuid::from_u128(9), 5)]);
        golden::holds::<Snapshot<String>>(
            "snapshot",
            &SnapshotRef { machine: &"a state", remembered: &remembered },
        );
        let user = ids::UserId(Uuid::from_u128(7));
        let by = Actor::User(user);
        let command = Some(Uuid::from_u128(9));
        let events = ["first", "second"].as_slice();
        let journaled = JournaledRef { command, at: Timestamp(1_780_000_000_000), by, events };
        golden::holds::<Journaled<String>>("journaled", &journaled);
        golden::holds::<Journaled<String>>(
            "journaled-system",
            &JournaledRef { command: None, by: Actor::System, ..journaled },
        );
        let by = Actor::Key { user, key: ids::ApiKeyId(Uuid::from_u128(8)) };
        golden::holds::<Journaled<String>>("journaled-key", &JournaledRef { by, ..journaled });
    }
}
