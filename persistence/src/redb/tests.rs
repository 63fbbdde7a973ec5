//! The engine on real files and on backends that fail.

use std::path::Path;

use super::*;
use crate::kit::{self, all_of};

mod copying;
mod failing;
mod golden;
mod grouping;
mod opening;

/// Plays the whole story into a file, closes it and gives what it shows.
async fn told(path: &Path) -> Vec<String> {
    let store = RedbStore::open(path, &Options::default()).unwrap();
    kit::tell(&store).await;
    all_of(&store).await
}

/// Changes a closed file without the engine knowing.
pub(crate) fn tamper(path: &Path, work: impl FnOnce(&::redb::WriteTransaction)) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    work(&transaction);
    transaction.commit().unwrap();
}

pub(crate) fn put(transaction: &::redb::WriteTransaction, table: Table, key: &[u8], value: &[u8]) {
    transaction.open_table(definition(table)).unwrap().insert(key, value).unwrap();
}

/// Takes out one row, which must be there.
pub(crate) fn take(transaction: &::redb::WriteTransaction, table: Table, key: &[u8]) {
    assert!(transaction.open_table(definition(table)).unwrap().remove(key).unwrap().is_some());
}
