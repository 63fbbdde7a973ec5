//! Reads of one moment: all tables as they were at one commit.

use ::redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableError};
use bytes::Bytes;

use super::{definition, failed};
use crate::{
    engine::{Range, Read, Table},
    store::{Found, StoreError},
};

/// A read transaction; keep it short, it holds back the pages it sees.
pub(super) struct Reader<'t> {
    transaction: &'t ReadTransaction,
}

type Open = ReadOnlyTable<&'static [u8], &'static [u8]>;

impl<'t> Reader<'t> {
    pub(super) fn new(transaction: &'t ReadTransaction) -> Self {
        Self { transaction }
    }

    /// A table that was never written does not exist yet and is empty.
    fn open(&self, table: Table) -> Result<Option<Open>, StoreError> {
        match self.transaction.open_table(definition(table)) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }
}

impl Read for Reader<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let Some(table) = self.open(table)? else { return Ok(None) };
        get(&table, key)
    }

    fn range(&self, table: Table, range: Range) -> Result<Vec<Found>, StoreError> {
        let Some(table) = self.open(table)? else { return Ok(Vec::new()) };
        read_range(&table, &range)
    }
}

pub(super) fn get(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
) -> Result<Option<Bytes>, StoreError> {
    Ok(table.get(key).map_err(failed)?.map(|value| Bytes::copy_from_slice(value.value())))
}

pub(super) fn read_range(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    range: &Range,
) -> Result<Vec<Found>, StoreError> {
    if range.is_empty() {
        return Ok(Vec::new());
    }
    let bounds = (range.from.as_ref().map(Vec::as_slice), range.to.as_ref().map(Vec::as_slice));
    let mut rows = table.range::<&[u8]>(bounds).map_err(failed)?;
    let mut found = Vec::new();
    while found.len() < range.limit {
        let Some(row) = (if range.reverse { rows.next_back() } else { rows.next() }) else { break };
        let (key, value) = row.map_err(failed)?;
        found.push((key.value().to_vec(), Bytes::copy_from_slice(value.value())));
    }
    Ok(found)
}
