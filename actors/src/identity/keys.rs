//! The keys that sign our tokens, as files that only their owner may read.
//!
//! ```text
//! signing.pkcs8                 signs
//! former.<seconds>.<kid>.pkcs8  signed before; tokens under it are good until then, at most
//! ```
//!
//! **Invariant:** a file is there as a whole or not at all, and the key that signs is kept as a former one
//! before another takes its place. A rotation that breaks off leaves it in both places, which is one key.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use cendriix_protocol::time::Timestamp;
use jsonwebtoken::{DecodingKey, EncodingKey};

use crate::audit::sha256;

/// The file of the key that signs.
const SIGNING: &str = "signing.pkcs8";
/// The most former keys that are kept.
pub(super) const FORMER_MAX: usize = 8;
/// The largest file that is read as a key, in bytes.
const BYTES_MAX: u64 = 4096;

/// The signing keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The disk refuses.
    #[error("cannot use the signing key {path}: {source}")]
    Io { path: String, source: io::Error },
    /// The file holds no such key.
    #[error(
        "{path} holds no Ed25519 key in PKCS#8 form; move it away and go on without it (tokens signed \
         with it then end)"
    )]
    Unsound { path: String },
    /// Keys were changed so often that tokens of more keys are good than are kept.
    #[error(
        "tokens of {FORMER_MAX} former keys are still good, the first of them until {until}; wait until \
         then, or end all of them at once with `cendriix keys rotate --end-former`"
    )]
    TooMany { until: Timestamp },
}

/// One key.
pub(super) struct Key {
    /// Its id, made of its public part.
    pub(super) id: String,
    pub(super) signing: EncodingKey,
    pub(super) checking: DecodingKey,
    pub(super) public: Vec<u8>,
    pkcs8: Vec<u8>,
}

/// A key that signed before.
pub(super) struct Former {
    pub(super) key: Key,
    /// When the last token that it signed has ended.
    pub(super) until: Timestamp,
}

/// The key that signs, and those that did.
pub(super) struct Ring {
    pub(super) signing: Key,
    /// When it was made, as far as its file tells.
    pub(super) since: Option<Timestamp>,
    pub(super) former: Vec<Former>,
}

impl Key {
    /// A key in PKCS#8 form; `None` when it is none.
    fn of(pkcs8: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8)
            .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8))
            .ok()?;
        let public = pair.public_key().as_ref().to_vec();
        let id = BASE64.encode(&sha256(&public)[..12]);
        let checking = DecodingKey::from_ed_components(&BASE64.encode(&public)).ok()?;
        Some(Self { id, signing: EncodingKey::from_ed_der(pkcs8), checking, public, pkcs8: pkcs8.to_vec() })
    }

    fn read(path: &Path) -> Result<Self, KeyError> {
        let length = fs::metadata(path).map_err(io_error(path))?.len();
        let unsound = || KeyError::Unsound { path: path.display().to_string() };
        if length > BYTES_MAX {
            return Err(unsound());
        }
        Self::of(&fs::read(path).map_err(io_error(path))?).ok_or_else(unsound)
    }
}

impl Ring {
    /// Reads the keys of a directory, takes away those whose tokens have ended, and makes one when there is
    /// none.
    ///
    /// # Errors
    ///
    /// When a key cannot be read or written.
    pub(super) fn open(directory: &Path, now: Timestamp) -> Result<Self, KeyError> {
        if !directory.join(SIGNING).exists() {
            fs::create_dir_all(directory).map_err(io_error(directory))?;
            make(directory)?;
        }
        let ring = Self::read(directory)?;
        let (kept, ended): (Vec<Former>, Vec<Former>) =
            ring.former.into_iter().partition(|former| former.until >= now);
        remove(directory, &ended)?;
        Ok(Self { former: kept, ..ring })
    }

    /// Reads the keys of a directory as they are.
    ///
    /// # Errors
    ///
    /// When a key cannot be read, or there is none.
    pub(super) fn read(directory: &Path) -> Result<Self, KeyError> {
        let path = directory.join(SIGNING);
        let signing = Key::read(&path)?;
        let modified = fs::metadata(&path).and_then(|about| about.modified()).ok();
        let since = modified.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        let since = since.map(|since| Timestamp::default().after(since));
        let mut former: Vec<Former> = Vec::new();
        for entry in fs::read_dir(directory).map_err(io_error(directory))? {
            let path = entry.map_err(io_error(directory))?.path();
            let Some(until) = former_until(&path) else { continue };
            let key = Key::read(&path)?;
            match former.iter_mut().find(|other| other.key.id == key.id) {
                Some(other) => other.until = other.until.max(until),
                None if key.id == signing.id => (),
                None => former.push(Former { key, until }),
            }
        }
        former.sort_by_key(|former| std::cmp::Reverse(former.until));
        Ok(Self { signing, since, former })
    }

    /// Makes another key to sign with; tokens of the present one are good until `until`. Without one, all
    /// former keys and the present one end at once.
    ///
    /// # Errors
    ///
    /// When there are too many former keys, or the disk refuses.
    pub(super) fn rotate(
        directory: &Path,
        now: Timestamp,
        until: Option<Timestamp>,
    ) -> Result<Self, KeyError> {
        let present = Self::open(directory, now)?;
        let Some(until) = until else {
            make(directory)?;
            remove(directory, &present.former)?;
            return Self::read(directory);
        };
        if let Some(first) = present.former.get(FORMER_MAX - 1) {
            return Err(KeyError::TooMany { until: first.until });
        }
        write(&directory.join(former_name(&present.signing.id, until)), &present.signing.pkcs8)?;
        make(directory)?;
        Self::read(directory)
    }

    /// A key by its id.
    pub(super) fn find(&self, id: &str, now: Timestamp) -> Option<&Key> {
        self.all(now).find(|key| key.id == id)
    }

    /// Every key whose tokens may be good, the one that signs in front.
    pub(super) fn all(&self, now: Timestamp) -> impl Iterator<Item = &Key> {
        let former = self.former.iter().filter(move |former| former.until >= now).map(|former| &former.key);
        std::iter::once(&self.signing).chain(former)
    }
}

fn former_name(id: &str, until: Timestamp) -> String {
    format!("former.{}.{id}.pkcs8", until.0.div_ceil(1000))
}

/// When the tokens of a former key have ended; `None` for files that are none.
fn former_until(path: &Path) -> Option<Timestamp> {
    let name = path.file_name()?.to_str()?.strip_prefix("former.")?.strip_suffix(".pkcs8")?;
    let seconds: u64 = name.split_once('.')?.0.parse().ok()?;
    Some(Timestamp(seconds.saturating_mul(1000)))
}

/// Takes the files of former keys away.
fn remove(directory: &Path, ended: &[Former]) -> Result<(), KeyError> {
    if ended.is_empty() {
        return Ok(());
    }
    for entry in fs::read_dir(directory).map_err(io_error(directory))? {
        let path = entry.map_err(io_error(directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if former_until(&path).is_some() && ended.iter().any(|former| name.contains(&former.key.id)) {
            fs::remove_file(&path).map_err(io_error(&path))?;
        }
    }
    Ok(())
}

/// Makes a key that signs, in the place of the one before.
fn make(directory: &Path) -> Result<(), KeyError> {
    let path = directory.join(SIGNING);
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| io_error(&path)(io::Error::other("the system gives no random bits")))?;
    write(&path, key.as_ref())
}

/// Writes a file that only its owner may read, as a whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let draft = path.with_extension("draft");
    drop(fs::remove_file(&draft));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .map_err(io_error(&draft))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io_error(&draft))?;
    fs::rename(&draft, path).map_err(io_error(path))?;
    let directory = path.parent().unwrap_or(path);
    fs::File::open(directory).and_then(|directory| directory.sync_all()).map_err(io_error(directory))
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.display().to_string();
    move |source| KeyError::Io { path, source }
}
