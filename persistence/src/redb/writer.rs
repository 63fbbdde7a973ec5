//! The writer thread: takes all saves that wait, puts them into one transaction, syncs once, answers each.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ::redb::{Database, Durability, ReadableTable, Table as Opened, WriteTransaction};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::{FORMAT, definition, failed, reader};
use crate::{
    codec::number,
    engine::{self, Heads, Range, Read, Table, Write},
    store::{Found, Observer, Outcome, Save, StoreError},
};

/// The most saves in one transaction.
const BATCH_MAX: usize = 1024;

pub(super) enum Request {
    Save(Save, oneshot::Sender<Outcome>),
    Barrier(oneshot::Sender<()>),
}

pub(super) struct Writer {
    pub(super) queue: mpsc::Receiver<Request>,
    pub(super) database: Arc<Database>,
    pub(super) commits: Arc<AtomicU64>,
    pub(super) died: watch::Sender<bool>,
    pub(super) quick_repair: bool,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) space: Option<FreeSpace>,
}

impl Writer {
    pub(super) fn run(mut self) {
        let mut heads = Heads::new();
        let mut requests = Vec::new();
        while self.queue.blocking_recv_many(&mut requests, BATCH_MAX) > 0 {
            let mut saves = Vec::with_capacity(requests.len());
            let mut barriers = Vec::new();
            for request in requests.drain(..) {
                match request {
                    Request::Save(save, answer) => saves.push((save, answer)),
                    Request::Barrier(answer) => barriers.push(answer),
                }
            }
            if !saves.is_empty() && !self.commit(saves, &mut heads) {
                // Whoever still waits sees its answer dropped, which means the same as `Unknown`.
                self.died.send_replace(true);
                return;
            }
            for barrier in barriers {
                barrier.send(()).ok();
            }
        }
    }

    /// Commits the saves and answers them; false when the engine failed.
    #[expect(clippy::disallowed_methods, reason = "how long a commit takes concerns no state")]
    fn commit(&mut self, saves: Vec<(Save, oneshot::Sender<Outcome>)>, heads: &mut Heads) -> bool {
        if self.space.as_mut().is_some_and(FreeSpace::is_short) {
            for (_, answer) in saves {
                answer.send(Outcome::Full).ok();
            }
            return true;
        }
        let began = Instant::now();
        match write(&self.database, self.quick_repair, &saves, heads) {
            Ok(outcomes) => {
                if outcomes.contains(&Outcome::Saved) {
                    self.commits.fetch_add(1, Ordering::Relaxed);
                    if let Some(observer) = &self.observer {
                        observer.committed(saves.len(), began.elapsed());
                    }
                }
                for ((_, answer), outcome) in saves.into_iter().zip(outcomes) {
                    answer.send(outcome).ok();
                }
                true
            }
            Err(error) => {
                tracing::error!(%error, "a commit failed; this process must be started again");
                if let Some(observer) = &self.observer {
                    observer.failed();
                }
                for (_, answer) in saves {
                    answer.send(Outcome::Unknown).ok();
                }
                false
            }
        }
    }
}

impl Drop for Writer {
    /// Answers everyone who handed in too late, also those who are doing so: a queue that is only dropped may
    /// keep their requests, and they would wait for ever. A panic in the engine is a failed commit too, and
    /// told as one.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.died.send_replace(true);
        }
        self.queue.close();
        while let Some(request) = self.queue.blocking_recv() {
            drop(request);
        }
    }
}

fn write(
    database: &Database,
    quick_repair: bool,
    saves: &[(Save, oneshot::Sender<Outcome>)],
    heads: &mut Heads,
) -> Result<Vec<Outcome>, StoreError> {
    let transaction = begin(database, quick_repair)?;
    let mut outcomes = Vec::with_capacity(saves.len());
    {
        let mut tables = Tables::open(&transaction)?;
        for (save, _) in saves {
            outcomes.push(engine::save(&mut tables, heads, save)?);
        }
    }
    if outcomes.contains(&Outcome::Saved) {
        transaction.commit().map_err(failed)?;
    } else {
        transaction.abort().map_err(failed)?;
    }
    Ok(outcomes)
}

fn begin(database: &Database, quick_repair: bool) -> Result<WriteTransaction, StoreError> {
    let mut transaction = database.begin_write().map_err(failed)?;
    transaction.set_durability(Durability::Immediate).map_err(failed)?;
    transaction.set_quick_repair(quick_repair);
    Ok(transaction)
}

const META_FORMAT: &[u8] = b"format";
const META_EPOCH: &[u8] = b"epoch";

/// Reads the file's format, which is 0 before the first opening.
pub(super) fn format(meta: &impl ReadableTable<&'static [u8], &'static [u8]>) -> Result<u64, StoreError> {
    Ok(number(reader::get(meta, META_FORMAT)?.as_deref()).unwrap_or(0))
}

/// Checks the file's format, before anything else in it is looked at, and counts this opening.
pub(super) fn begin_epoch(database: &Database) -> Result<u64, StoreError> {
    let transaction = begin(database, false)?;
    let found = format(&transaction.open_table(definition(Table::Meta)).map_err(failed)?)?;
    if found > u64::from(FORMAT) {
        return Err(StoreError::Newer { found: u32::try_from(found).unwrap_or(u32::MAX), known: FORMAT });
    }
    let epoch = {
        let mut tables = Tables::open(&transaction)?;
        let epoch = number(tables.get(Table::Meta, META_EPOCH)?.as_deref()).unwrap_or(0) + 1;
        tables.put(Table::Meta, META_FORMAT, &u64::from(FORMAT).to_be_bytes())?;
        tables.put(Table::Meta, META_EPOCH, &epoch.to_be_bytes())?;
        epoch
    };
    transaction.commit().map_err(failed)?;
    Ok(epoch)
}

/// All tables of a write transaction, each opened once.
struct Tables<'t>([Opened<'t, &'static [u8], &'static [u8]>; Table::ALL.len()]);

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        let mut opened = Vec::with_capacity(Table::ALL.len());
        for table in Table::ALL {
            opened.push(transaction.open_table(definition(table)).map_err(failed)?);
        }
        let all = opened.try_into().map_err(|_| StoreError::Engine("not all tables were opened".into()))?;
        Ok(Self(all))
    }
}

impl Read for Tables<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        reader::get(&self.0[table as usize], key)
    }

    fn range(&self, table: Table, range: Range) -> Result<Vec<Found>, StoreError> {
        reader::read_range(&self.0[table as usize], &range)
    }
}

impl Write for Tables<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.0[table as usize].insert(key, value).map_err(failed)?;
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.0[table as usize].remove(key).map_err(failed)?;
        Ok(())
    }
}

/// Copies every row of `from` into the tables of `into`.
pub(super) fn copy_rows(from: &::redb::ReadTransaction, into: &WriteTransaction) -> Result<(), StoreError> {
    for table in Table::ALL {
        let source = match from.open_table(definition(table)) {
            Ok(source) => source,
            Err(::redb::TableError::TableDoesNotExist(_)) => continue,
            Err(error) => return Err(failed(error)),
        };
        let mut target = into.open_table(definition(table)).map_err(failed)?;
        for row in source.iter().map_err(failed)? {
            let (key, value) = row.map_err(failed)?;
            target.insert(key.value(), value.value()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Watches the free space of the disk that the file is on, at most once a second.
pub(super) struct FreeSpace {
    path: PathBuf,
    min: u64,
    looked: Option<(Instant, bool)>,
}

impl FreeSpace {
    const LOOK_AGAIN: Duration = Duration::from_secs(1);

    pub(super) fn new(path: PathBuf, min: u64) -> Self {
        Self { path, min, looked: None }
    }

    #[expect(clippy::disallowed_methods, reason = "how old a look at the disk is concerns no state")]
    fn is_short(&mut self) -> bool {
        if let Some((at, short)) = self.looked
            && at.elapsed() < Self::LOOK_AGAIN
        {
            return short;
        }
        let free = match rustix::fs::statvfs(&self.path) {
            Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
            Err(error) => {
                tracing::warn!(%error, "cannot read how much space is free on the disk");
                u64::MAX
            }
        };
        let short = free < self.min;
        let was_short = self.looked.is_some_and(|(_, before)| before);
        if short && !was_short {
            let (path, free_min) = (self.path.display(), self.min);
            tracing::error!(free, free_min, %path, "the disk is nearly full; nothing is saved");
        } else if was_short && !short {
            tracing::info!(free, "the disk has space again");
        }
        self.looked = Some((Instant::now(), short));
        short
    }
}
