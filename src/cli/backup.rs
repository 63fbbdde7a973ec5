//! `backup`, `restore` and `verify`.
//!
//! A backup is one tar archive: `manifest.json`, a consistent copy of the database, then the blobs, then the
//! repositories that the server keeps. Signing keys are left out, so a restored server signs with a new key
//! and everybody logs in again. Repositories that users have elsewhere are theirs to keep.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use cendriix_actors::repositories::Repositories;
use cendriix_persistence::{
    StoreError,
    redb::{self, FORMAT},
    store::Store,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Done, Failure, client, output, session};
use crate::{Config, data_dir::DataDir};

const MANIFEST: &str = "manifest.json";
const DATABASE: &str = "store.redb";
const BLOBS: &str = "blobs";
const REPOSITORIES: &str = "repositories";

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    product: String,
    version: String,
    format: u32,
}

/// A backup could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The archive is not one of ours.
    #[error("{0} is no backup of cendriix, or is damaged: {1}")]
    NoBackup(PathBuf, String),
    /// The target is in use.
    #[error("{0} holds data already; restore into an empty directory with --data")]
    NotEmpty(PathBuf),
}

fn io_error(what: String) -> impl FnOnce(io::Error) -> BackupError {
    move |source| BackupError::Io { what, source }
}

/// Writes a backup of a store that may go on, and says how many bytes it has.
///
/// # Errors
///
/// When the target exists, or the store or the disk fails.
pub async fn write(store: &dyn Store, data: &DataDir, to: &Path) -> Result<u64, BackupError> {
    if to.exists() {
        let exists = io::ErrorKind::AlreadyExists.into();
        return Err(BackupError::Io { what: format!("will not overwrite {}", to.display()), source: exists });
    }
    // The database is copied before the blobs, so every blob that it refers to is there to be copied after
    // it.
    let copy = data.path().join(format!("backup-{}.redb", std::process::id()));
    drop(fs::remove_file(&copy));
    let copied = store.copy(&copy).await;
    let (data, target, source) = (data.clone(), to.to_owned(), copy.clone());
    let packed = match copied {
        Ok(()) => tokio::task::spawn_blocking(move || pack(&source, &data, &target)).await,
        Err(error) => Ok(Err(error.into())),
    };
    drop(fs::remove_file(&copy));
    packed.unwrap_or_else(|error| {
        Err(BackupError::Io { what: "the backup broke off".into(), source: io::Error::other(error) })
    })
}

fn pack(database: &Path, data: &DataDir, to: &Path) -> Result<u64, BackupError> {
    let failed = || io_error(format!("cannot write {}", to.display()));
    let draft = to.with_extension("partial");
    let file = fs::File::create(&draft).map_err(failed())?;
    let mut archive = tar::Builder::new(io::BufWriter::new(file));
    let manifest =
        Manifest { product: "cendriix".into(), version: env!("CARGO_PKG_VERSION").into(), format: FORMAT };
    let manifest = serde_json::to_vec(&manifest).unwrap_or_default();
    let mut header = tar::Header::new_gnu();
    header.set_size(manifest.len() as u64);
    header.set_mode(0o600);
    archive.append_data(&mut header, MANIFEST, manifest.as_slice()).map_err(failed())?;
    archive.append_path_with_name(database, DATABASE).map_err(failed())?;
    if data.blobs().is_dir() {
        archive.append_dir_all(BLOBS, data.blobs()).map_err(failed())?;
    }
    if data.repositories().is_dir() {
        append_repositories(&mut archive, &data.repositories()).map_err(failed())?;
    }
    let mut file = archive.into_inner().map_err(failed())?;
    file.flush().map_err(failed())?;
    file.get_ref().sync_all().map_err(failed())?;
    let bytes = file.get_ref().metadata().map_err(failed())?.len();
    fs::rename(&draft, to).map_err(failed())?;
    Ok(bytes)
}

/// Copies repositories that may be written to meanwhile: of each folder first what leads to objects, then the
/// objects. Objects are never changed, so whatever a reference led to when it was copied is copied after it.
fn append_repositories<W: io::Write>(archive: &mut tar::Builder<W>, root: &Path) -> io::Result<()> {
    let mut folders = vec![(PathBuf::from(REPOSITORIES), root.to_owned())];
    while let Some((name, folder)) = folders.pop() {
        archive.append_dir(&name, &folder)?;
        let mut later = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (path, name) = (entry.path(), name.join(entry.file_name()));
            let is_passing = path.extension().is_some_and(|end| end == "lock") || is_draft(&path);
            if entry.file_type()?.is_dir() {
                later.push((name, path));
            } else if !is_passing {
                match archive.append_path_with_name(&path, &name) {
                    // A reference may have been removed since the folder was listed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => (),
                    appended => appended?,
                }
            }
        }
        // The last one is taken first: objects come after everything else.
        later.sort_by_key(|(name, _)| !name.ends_with("objects"));
        folders.extend(later);
    }
    Ok(())
}

/// Whether a file is an object that is still being written.
fn is_draft(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("tmp_"))
}

/// Takes a backup: of the server that runs on the data directory, or of the directory itself.
pub(super) async fn take(config: &Config, to: &Path, json: bool) -> Done {
    let to = std::path::absolute(to).map_err(Failure::of)?;
    let data = holding(config)?;
    let bytes = match session::store(config, &data).await {
        Ok(store) => write(&store, &data, &to).await.map_err(Failure::of)?,
        Err(StoreError::Locked { .. }) => {
            let answer: serde_json::Value =
                client::operate(&client::control(config)?, "/backup", &json!({ "to": to })).await?;
            answer["bytes"].as_u64().unwrap_or(0)
        }
        Err(error) => return Err(Failure::of(error)),
    };
    if json {
        output::line(&json!({ "path": to, "bytes": bytes }).to_string());
    } else {
        let to = to.display();
        output::note(&format!("wrote {to} ({bytes} bytes); signing keys are left out on purpose"));
    }
    Ok(0)
}

/// The data directory, when there is anything in it.
pub(super) fn holding(config: &Config) -> Result<DataDir, Failure> {
    let data = DataDir::at(&config.storage.data);
    if data.store().exists() {
        return Ok(data);
    }
    Err(Failure::with(4, format!("{} holds no data", data.path().display())))
}

/// Puts a backup into an empty data directory.
pub(super) fn restore(config: &Config, from: &Path, json: bool) -> Done {
    let data = DataDir::at(&config.storage.data);
    unpack(from, &data).map_err(Failure::of)?;
    if json {
        output::line(&json!({ "path": data.path() }).to_string());
        return Ok(0);
    }
    output::note(&format!(
        "restored {}; start the server on it with `cendriix serve --data {}`. Everybody logs in again.",
        from.display(),
        data.path().display()
    ));
    Ok(0)
}

fn unpack(from: &Path, data: &DataDir) -> Result<(), BackupError> {
    let holds_data = fs::read_dir(data.path()).is_ok_and(|mut entries| entries.next().is_some());
    if holds_data {
        return Err(BackupError::NotEmpty(data.path().to_owned()));
    }
    let unusable = |error: io::Error| BackupError::NoBackup(from.to_owned(), error.to_string());
    let file = fs::File::open(from).map_err(io_error(format!("cannot read {}", from.display())))?;
    let draft = data.path().with_extension("restoring");
    drop(fs::remove_dir_all(&draft));
    fs::create_dir_all(&draft).map_err(io_error(format!("cannot write {}", draft.display())))?;
    let unpacked = tar::Archive::new(io::BufReader::new(file)).unpack(&draft).map_err(unusable);
    let placed = unpacked.and_then(|()| place(from, &draft, data));
    drop(fs::remove_dir_all(&draft));
    placed
}

fn place(from: &Path, draft: &Path, data: &DataDir) -> Result<(), BackupError> {
    let unusable = |detail: String| BackupError::NoBackup(from.to_owned(), detail);
    let manifest = fs::read(draft.join(MANIFEST)).map_err(|error| unusable(error.to_string()))?;
    let manifest: Manifest =
        serde_json::from_slice(&manifest).map_err(|error| unusable(error.to_string()))?;
    if manifest.format > FORMAT {
        return Err(StoreError::Newer { found: manifest.format, known: FORMAT }.into());
    }
    let failed = |source| BackupError::Io { what: format!("cannot write {}", data.path().display()), source };
    data.create().map_err(failed)?;
    redb::restore(&draft.join(DATABASE), &data.store())?;
    if draft.join(BLOBS).is_dir() {
        fs::rename(draft.join(BLOBS), data.blobs()).map_err(failed)?;
    }
    if draft.join(REPOSITORIES).is_dir() {
        fs::rename(draft.join(REPOSITORIES), data.repositories()).map_err(failed)?;
    }
    Ok(())
}

/// Proves a data directory that no server holds.
pub(super) async fn verify(config: &Config, json: bool) -> Done {
    let data = holding(config)?;
    let store = session::store(config, &data).await.map_err(Failure::of)?;
    let root = std::path::absolute(data.path()).map_err(Failure::of)?;
    let repositories = data.repositories().exists().then(|| Repositories::new(root)).transpose();
    let repositories = repositories.map_err(Failure::of)?;
    let proof = cendriix_actors::verify::verify(&store, repositories.as_ref()).await.map_err(Failure::of)?;
    let report = &proof.report;
    if json {
        output::line(
            &json!({
                "valid": report.faults.is_empty(),
                "entities": report.entities,
                "journalEntries": report.journal_entries,
                "auditEntries": report.audit_entries,
                "ledgerRows": proof.ledger_rows,
                "checkpoints": proof.checkpoints,
                "faults": report.faults,
            })
            .to_string(),
        );
    } else {
        for fault in &report.faults {
            output::line(fault);
        }
        output::line(&format!(
            "{} entities, {} journal entries, {} audit entries, {} ledger rows and {} checkpoints \
             looked at: {}",
            report.entities,
            report.journal_entries,
            report.audit_entries,
            proof.ledger_rows,
            proof.checkpoints,
            if report.faults.is_empty() { "all sound" } else { "NOT SOUND" }
        ));
    }
    Ok(u8::from(!report.faults.is_empty()))
}
