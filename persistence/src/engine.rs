//! What a save does, written once over ordered tables of bytes; each engine brings the tables.
//!
//! | table | key | value |
//! |---|---|---|
//! | headers | kind, id | fixed layout of [`codec`](crate::codec) |
//! | snapshots | kind, id | `MessagePack` of the area |
//! | journal | kind, id, seq of the first event | version, then `MessagePack` of the area |
//! | wakes | instant (0 = has work), kind, id | nothing |
//! | rows | space, key of the area | of the area |
//! | audit | workspace, number | hash before, hash, `MessagePack` of the area |
//! | meta | name | number |
//!
//! **Invariant:** everything that can refuse a save is read before the first of its writes.

use std::{collections::HashMap, ops::Bound};

use bytes::Bytes;
use uuid::Uuid;

use crate::{
    chain::{self, Head},
    codec::{number, read_header, write_header},
    store::{
        Change, Entry, Found, Guard, Header, Key, Outcome, RowKey, Save, Scan, StoreError, Stored, following,
    },
};

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Table {
    Headers,
    Snapshots,
    Journal,
    Wakes,
    Rows,
    Audit,
    Meta,
}

impl Table {
    pub(crate) const ALL: [Self; 7] =
        [Self::Headers, Self::Snapshots, Self::Journal, Self::Wakes, Self::Rows, Self::Audit, Self::Meta];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Headers => "headers",
            Self::Snapshots => "snapshots",
            Self::Journal => "journal",
            Self::Wakes => "wakes",
            Self::Rows => "rows",
            Self::Audit => "audit",
            Self::Meta => "meta",
        }
    }
}

/// A range of keys, its direction and how much of it.
pub(crate) struct Range {
    pub(crate) from: Bound<Vec<u8>>,
    pub(crate) to: Bound<Vec<u8>>,
    pub(crate) reverse: bool,
    pub(crate) limit: usize,
}

impl Range {
    fn prefix(prefix: &[u8], limit: usize) -> Self {
        let to = following(prefix).map_or(Bound::Unbounded, Bound::Excluded);
        Self { from: Bound::Included(prefix.to_vec()), to, reverse: false, limit }
    }

    fn reversed(self) -> Self {
        Self { reverse: true, ..self }
    }

    /// Whether no key can lie within.
    pub(crate) fn is_empty(&self) -> bool {
        match (&self.from, &self.to) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to))
            | (Bound::Excluded(from), Bound::Included(to)) => from >= to,
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        }
    }
}

/// Tables that can be read.
pub(crate) trait Read {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;
    fn range(&self, table: Table, range: Range) -> Result<Vec<Found>, StoreError>;
}

/// Tables that can be written too.
pub(crate) trait Write: Read {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), StoreError>;
    fn delete(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError>;
}

/// The ends of the chains that were written lately, so that they need not be read for every entry.
pub(crate) type Heads = HashMap<Uuid, Head>;

/// How many ends of chains are remembered.
const HEADS_MAX: usize = 4096;

/// Does what `save` says, or nothing.
pub(crate) fn save(tables: &mut impl Write, heads: &mut Heads, save: &Save) -> Result<Outcome, StoreError> {
    let mut before = Vec::with_capacity(save.changes.len());
    for (index, change) in save.changes.iter().enumerate() {
        let header = header(tables, change.key)?.unwrap_or_default();
        let twice = save.changes[..index].iter().any(|earlier| earlier.key == change.key);
        if header.version != change.expected_version || header.epoch > change.epoch || twice {
            return Ok(Outcome::Conflict);
        }
        before.push(header);
    }
    let mut counters = Vec::new();
    for (index, guard) in save.guards.iter().enumerate() {
        if !holds(tables, guard, &mut counters)? {
            return Ok(Outcome::Refused(index));
        }
    }
    for (change, before) in save.changes.iter().zip(before) {
        write_change(tables, change, &before)?;
    }
    for (key, value) in counters {
        tables.put(Table::Rows, &key, &value.to_be_bytes())?;
    }
    for row in &save.rows {
        match &row.value {
            Some(value) => tables.put(Table::Rows, &row_key(&row.key), value)?,
            None => tables.delete(Table::Rows, &row_key(&row.key))?,
        }
    }
    for draft in &save.audit {
        let head = head(tables, heads, draft.workspace)?;
        let hash = head.following(&draft.digest);
        let next = Head { seq: head.seq + 1, hash };
        tables.put(
            Table::Audit,
            &chain::key(draft.workspace, next.seq),
            &chain::write(&head.hash, &hash, &draft.body),
        )?;
        heads.insert(draft.workspace, next);
    }
    for key in &save.nudges {
        nudge(tables, *key)?;
    }
    Ok(Outcome::Saved)
}

/// Makes an entity due at once, without changing its version; its next save says again when it is due.
fn nudge(tables: &mut impl Write, key: Key) -> Result<(), StoreError> {
    let Some(before) = header(tables, key)? else { return Ok(()) };
    let after = Header { due_at: Some(1), ..before };
    tables.put(Table::Headers, &key.bytes(), &write_header(&after))?;
    move_wakes(tables, key, &before, &after)
}

/// Whether the guard holds; what a counter becomes is put into `counters`, where later guards of the save
/// find it.
fn holds(tables: &impl Read, guard: &Guard, counters: &mut Vec<(Vec<u8>, i64)>) -> Result<bool, StoreError> {
    match guard {
        Guard::Absent(key) => Ok(tables.get(Table::Rows, &row_key(key))?.is_none()),
        Guard::Present(key) => Ok(tables.get(Table::Rows, &row_key(key))?.is_some()),
        Guard::Add { counter, by, limit } => {
            let key = row_key(counter);
            let earlier = counters.iter().position(|(name, _)| *name == key);
            let now = match earlier {
                Some(place) => counters[place].1,
                None => read_counter(tables.get(Table::Rows, &key)?.as_deref())?,
            };
            let next = now.saturating_add(*by).max(0);
            match earlier {
                Some(place) => counters[place].1 = next,
                None => counters.push((key, next)),
            }
            Ok(next <= *limit)
        }
    }
}

fn read_counter(value: Option<&[u8]>) -> Result<i64, StoreError> {
    let Some(value) = value else { return Ok(0) };
    let bytes = value
        .try_into()
        .map_err(|_| StoreError::Unreadable { what: "counter", detail: "not eight bytes".into() })?;
    Ok(i64::from_be_bytes(bytes))
}

fn write_change(tables: &mut impl Write, change: &Change, before: &Header) -> Result<(), StoreError> {
    let key = change.key.bytes();
    let count = change.events.as_ref().map_or(0, |batch| u64::from(batch.count));
    let seq = before.seq + count;
    let after = Header {
        epoch: change.epoch,
        version: before.version + 1,
        seq,
        snapshot_seq: if change.snapshot.is_some() { seq } else { before.snapshot_seq },
        due_at: change.due_at.map(|at| at.max(1)),
        schema: change.schema,
        working: change.working,
        parked: change.parked,
    };
    tables.put(Table::Headers, &key, &write_header(&after))?;
    if let Some(snapshot) = &change.snapshot {
        tables.put(Table::Snapshots, &key, snapshot)?;
    }
    if let Some(batch) = &change.events {
        let mut value = Vec::with_capacity(8 + batch.bytes.len());
        value.extend_from_slice(&after.version.to_be_bytes());
        value.extend_from_slice(&batch.bytes);
        tables.put(Table::Journal, &journal_key(change.key, before.seq + 1), &value)?;
    }
    move_wakes(tables, change.key, before, &after)
}

fn move_wakes(tables: &mut impl Write, key: Key, before: &Header, after: &Header) -> Result<(), StoreError> {
    let (old, new) = (wakes(before), wakes(after));
    for at in old.into_iter().filter(|at| !new.contains(at)).flatten() {
        tables.delete(Table::Wakes, &wake_key(at, key))?;
    }
    for at in new.into_iter().filter(|at| !old.contains(at)).flatten() {
        tables.put(Table::Wakes, &wake_key(at, key), &[])?;
    }
    Ok(())
}

/// The instants under which an entity stands among the wakes; 0 means that it has work.
fn wakes(header: &Header) -> [Option<u64>; 2] {
    [header.working.then_some(0), header.due_at]
}

fn head(tables: &impl Read, heads: &mut Heads, workspace: Uuid) -> Result<Head, StoreError> {
    if let Some(head) = heads.get(&workspace) {
        return Ok(*head);
    }
    if heads.len() >= HEADS_MAX {
        heads.clear();
    }
    let last = tables.range(Table::Audit, Range::prefix(workspace.as_bytes(), 1).reversed())?;
    let head = match last.first() {
        Some((key, value)) => chain::read(key, value).map(|link| Head { seq: link.seq, hash: link.hash })?,
        None => Head::default(),
    };
    heads.insert(workspace, head);
    Ok(head)
}

pub(crate) fn header(tables: &impl Read, key: Key) -> Result<Option<Header>, StoreError> {
    tables.get(Table::Headers, &key.bytes())?.map(|bytes| read_header(&bytes)).transpose()
}

pub(crate) fn load(tables: &impl Read, key: Key) -> Result<Option<Stored>, StoreError> {
    let Some(header) = header(tables, key)? else { return Ok(None) };
    let missing = || StoreError::Unreadable { what: "snapshot", detail: "it is missing".into() };
    let snapshot = tables.get(Table::Snapshots, &key.bytes())?.ok_or_else(missing)?;
    let tail = if header.seq > header.snapshot_seq {
        journal(tables, key, header.snapshot_seq, usize::MAX)?
    } else {
        Vec::new()
    };
    Ok(Some(Stored { header, snapshot, tail }))
}

pub(crate) fn journal(
    tables: &impl Read,
    key: Key,
    after: u64,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    if header(tables, key)?.is_none_or(|header| header.seq <= after) {
        return Ok(Vec::new());
    }
    let prefix = key.bytes();
    // The entry that holds event `after + 1` may begin before it.
    let holding = Range {
        from: Bound::Included(prefix.to_vec()),
        to: Bound::Included(journal_key(key, after.saturating_add(1)).to_vec()),
        reverse: true,
        limit: 1,
    };
    let first = tables.range(Table::Journal, holding)?.pop().map_or(prefix.to_vec(), |(key, _)| key);
    let range = Range { from: Bound::Included(first), ..Range::prefix(&prefix, limit) };
    tables.range(Table::Journal, range)?.into_iter().map(|(key, value)| read_entry(&key, &value)).collect()
}

fn read_entry(key: &[u8], value: &Bytes) -> Result<Entry, StoreError> {
    let unreadable =
        || StoreError::Unreadable { what: "journal entry", detail: "its key or value is too short".into() };
    let first_seq = number(key.get(17..)).ok_or_else(unreadable)?;
    let version = number(Some(value)).ok_or_else(unreadable)?;
    Ok(Entry { first_seq, version, bytes: value.slice(8..) })
}

pub(crate) fn row(tables: &impl Read, key: &RowKey) -> Result<Option<Bytes>, StoreError> {
    tables.get(Table::Rows, &row_key(key))
}

pub(crate) fn rows(tables: &impl Read, scan: Scan) -> Result<Vec<Found>, StoreError> {
    let space = scan.space;
    let place = |key: Vec<u8>| row_key(&RowKey { space, key });
    let end = || following(&[space]).map_or(Bound::Unbounded, Bound::Excluded);
    let from = match scan.from {
        Bound::Included(key) => Bound::Included(place(key)),
        Bound::Excluded(key) => Bound::Excluded(place(key)),
        Bound::Unbounded => Bound::Included(vec![space]),
    };
    let to = match scan.to {
        Bound::Included(key) => Bound::Included(place(key)),
        Bound::Excluded(key) => Bound::Excluded(place(key)),
        Bound::Unbounded => end(),
    };
    let found = tables.range(Table::Rows, Range { from, to, reverse: scan.reverse, limit: scan.limit })?;
    Ok(found.into_iter().map(|(key, value)| (key[1..].to_vec(), value)).collect())
}

pub(crate) fn working(tables: &impl Read, after: Option<Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
    let from = after.map_or(Bound::Included(vec![0; 8]), |key| Bound::Excluded(wake_key(0, key).to_vec()));
    let to = Bound::Excluded(1_u64.to_be_bytes().to_vec());
    woken(tables, Range { from, to, reverse: false, limit })
}

pub(crate) fn due(tables: &impl Read, at: u64, limit: usize) -> Result<Vec<Key>, StoreError> {
    let from = Bound::Included(1_u64.to_be_bytes().to_vec());
    let to = Bound::Excluded(at.saturating_add(1).to_be_bytes().to_vec());
    woken(tables, Range { from, to, reverse: false, limit })
}

fn woken(tables: &impl Read, range: Range) -> Result<Vec<Key>, StoreError> {
    let found = tables.range(Table::Wakes, range)?;
    Ok(found.iter().filter_map(|(key, _)| Key::read(key.get(8..)?)).collect())
}

pub(crate) fn audit(
    tables: &impl Read,
    workspace: Uuid,
    from: u64,
    limit: usize,
) -> Result<Vec<chain::Link>, StoreError> {
    let from = Bound::Included(chain::key(workspace, from).to_vec());
    let range = Range { from, ..Range::prefix(workspace.as_bytes(), limit) };
    tables.range(Table::Audit, range)?.iter().map(|(key, value)| chain::read(key, value)).collect()
}

pub(crate) fn audited(tables: &impl Read) -> Result<Vec<Uuid>, StoreError> {
    let mut workspaces = Vec::new();
    let mut from = Bound::Unbounded;
    loop {
        let range = Range { from, to: Bound::Unbounded, reverse: false, limit: 1 };
        let Some((key, _)) = tables.range(Table::Audit, range)?.into_iter().next() else {
            return Ok(workspaces);
        };
        let Some(workspace) = key.get(..16).and_then(|id| Uuid::from_slice(id).ok()) else {
            return Ok(workspaces);
        };
        workspaces.push(workspace);
        from = Bound::Excluded(chain::key(workspace, u64::MAX).to_vec());
    }
}

pub(crate) fn keys(tables: &impl Read, after: Option<Key>, limit: usize) -> Result<Vec<Key>, StoreError> {
    let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.bytes().to_vec()));
    let range = Range { from, to: Bound::Unbounded, reverse: false, limit };
    Ok(tables.range(Table::Headers, range)?.iter().filter_map(|(key, _)| Key::read(key)).collect())
}

fn row_key(key: &RowKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + key.key.len());
    bytes.push(key.space);
    bytes.extend_from_slice(&key.key);
    bytes
}

fn journal_key(key: Key, first_seq: u64) -> [u8; 25] {
    let mut bytes = [0; 25];
    bytes[..17].copy_from_slice(&key.bytes());
    bytes[17..].copy_from_slice(&first_seq.to_be_bytes());
    bytes
}

fn wake_key(at: u64, key: Key) -> [u8; 25] {
    let mut bytes = [0; 25];
    bytes[..8].copy_from_slice(&at.to_be_bytes());
    bytes[8..].copy_from_slice(&key.bytes());
    bytes
}

#[cfg(test)]
mod tests;
