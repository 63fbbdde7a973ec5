//! Copies of a store that goes on, and the way back.
//!
//! **Invariant:** what could not be written to its end leaves no file behind that looks like a copy or a
//! store.

use std::path::Path;

use ::redb::{Builder, Database, ReadableDatabase};

use super::{definition, explain, failed, writer};
use crate::{engine::Table, folders, store::StoreError};

/// Writes all rows of one moment into a new file.
pub(super) fn copy(database: &Database, to: &Path) -> Result<(), StoreError> {
    refuse_to_overwrite(to)?;
    let written = write(database, to);
    if written.is_err() {
        drop(std::fs::remove_file(to));
    }
    written
}

fn write(database: &Database, to: &Path) -> Result<(), StoreError> {
    let source = database.begin_read().map_err(failed)?;
    let target = Builder::new().create(to).map_err(|error| explain(&to.display().to_string(), error))?;
    let transaction = target.begin_write().map_err(failed)?;
    writer::copy_rows(&source, &transaction)?;
    transaction.commit().map_err(failed)?;
    sync_name(to)
}

/// Puts a copy in place at `to` after looking at all of it, so that a damaged or newer copy is refused
/// before it is used.
///
/// # Errors
///
/// When `to` exists, the copy is damaged or newer than this program, or the disk refuses.
pub fn restore(copy: &Path, to: &Path) -> Result<(), StoreError> {
    refuse_to_overwrite(to)?;
    let draft = to.with_extension("restoring");
    let put = put(copy, &draft, to);
    if put.is_err() {
        drop(std::fs::remove_file(&draft));
    }
    put
}

fn put(copy: &Path, draft: &Path, to: &Path) -> Result<(), StoreError> {
    let refused = |source| StoreError::Io {
        what: format!("cannot copy {} to {}", copy.display(), to.display()),
        source,
    };
    std::fs::copy(copy, draft).map_err(refused)?;
    check(draft, &copy.display().to_string())?;
    std::fs::rename(draft, to).map_err(refused)?;
    sync_name(to)
}

/// Reads every page of the file; `shown` is how errors name it.
fn check(file: &Path, shown: &str) -> Result<(), StoreError> {
    let damaged = |detail: String| StoreError::Damaged { path: shown.to_owned(), detail };
    let database =
        Builder::new().set_check_integrity_on_open(true).open(file).map_err(|error| explain(shown, error))?;
    let transaction = database.begin_read().map_err(failed)?;
    let meta = transaction.open_table(definition(Table::Meta)).map_err(|error| damaged(error.to_string()))?;
    if writer::format(&meta)? == 0 {
        return Err(damaged("it holds no store".into()));
    }
    drop((meta, transaction));
    // Refuses a newer format as every opening does.
    writer::begin_epoch(&database)?;
    Ok(())
}

fn refuse_to_overwrite(to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(StoreError::Io {
            what: format!("will not overwrite {}; name a file that is not there", to.display()),
            source,
        });
    }
    Ok(())
}

/// Makes the file's name survive a power cut.
pub(super) fn sync_name(file: &Path) -> Result<(), StoreError> {
    let refused =
        |source| StoreError::Io { what: format!("cannot sync the directory of {}", file.display()), source };
    file.parent().map_or(Ok(()), folders::sync).map_err(refused)
}
