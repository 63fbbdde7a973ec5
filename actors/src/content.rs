//! Things that may be large: themselves while they are small, else a blob; and what an unsaved save means.
//!
//! Content of an entity comes with one of its events and is not part of its state: the state says where it
//! stands, and [`Contents`] reads it.

use std::sync::Arc;

use cendriix_persistence::{
    StoreError,
    blobs::{Blobs, Digest},
    codec::decode,
    store::{Key, Outcome, SharedStore},
};
use cendriix_protocol::ids::WorkspaceId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use quick_cache::{Weighter, sync::Cache};

use crate::{
    Error,
    kit::{Journaled, Machine, failure::FULL},
};

/// The largest text that stands where it is used, in bytes.
pub const INLINE_MAX: usize = 4 << 10;
/// The largest text that stands in a row of its own, in bytes.
const ROW_MAX: usize = 64 << 10;

/// How much memory contents that were read may take, in bytes.
const CACHE_BYTES: u64 = 16 << 20;

/// Where content stands that is too large for the state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// In the event of that number, in the run's own journal.
    Event(u64),
    /// In a blob of that name and length.
    Blob { name: String, len: u64 },
}

/// Content as it comes with an event: itself while it is small.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Payload {
    /// JSON text, at most 4 KiB.
    Inline(String),
    /// A blob.
    Blob { name: String, len: u64 },
}

impl Payload {
    /// Where it stands once it has come with event number `seq`.
    pub fn at(&self, seq: u64) -> Content {
        match self {
            Self::Inline(_) => Content::Event(seq),
            Self::Blob { name, len } => Content::Blob { name: name.clone(), len: *len },
        }
    }
}

/// A machine whose events carry content; each of its events carries one at most.
pub trait Carries: Machine {
    /// The content that came with an event.
    fn carried(event: &Self::Event) -> Option<&Payload>;
}

/// A text of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Large {
    /// The text.
    Here(String),
    /// A blob that holds it.
    Blob(Digest),
}

impl Large {
    /// Keeps a text, in a blob when it is large.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub async fn keep(blobs: &Blobs, workspace: WorkspaceId, text: String) -> Result<Self, Error> {
        if text.len() <= ROW_MAX {
            Ok(Self::Here(text))
        } else {
            put(blobs, workspace, text).await.map(Self::Blob)
        }
    }

    /// Reads the text.
    ///
    /// # Errors
    ///
    /// When its blob cannot be read.
    pub async fn read(&self, blobs: &Blobs, workspace: WorkspaceId) -> Result<String, Error> {
        match self {
            Self::Here(text) => Ok(text.clone()),
            Self::Blob(digest) => get(blobs, workspace, *digest).await,
        }
    }
}

/// Where contents of entities are read.
#[derive(Clone, Debug)]
pub struct Contents {
    store: SharedStore,
    blobs: Blobs,
    cache: Arc<Cache<(Uuid, u64), Arc<str>, Bytes>>,
}

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<(Uuid, u64), Arc<str>> for Bytes {
    fn weight(&self, _key: &(Uuid, u64), text: &Arc<str>) -> u64 {
        text.len() as u64 + 64
    }
}

impl Contents {
    /// Reads contents from a store and its blobs.
    pub fn new(store: SharedStore, blobs: Blobs) -> Self {
        let cache = Arc::new(Cache::with_weighter(1024, CACHE_BYTES, Bytes));
        Self { store, blobs, cache }
    }

    /// The text of a content.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn read<M: Carries>(
        &self,
        workspace: WorkspaceId,
        id: Uuid,
        content: &Content,
    ) -> Result<Arc<str>, Error> {
        match content {
            Content::Event(seq) => self.event::<M>(id, *seq).await,
            Content::Blob { name, .. } => {
                let digest: Digest = name.parse().map_err(|_| missing())?;
                get(&self.blobs, workspace, digest).await.map(Arc::from)
            }
        }
    }

    async fn event<M: Carries>(&self, id: Uuid, seq: u64) -> Result<Arc<str>, Error> {
        if let Some(text) = self.cache.get(&(id, seq)) {
            return Ok(text);
        }
        let entries = self.store.journal(Key { kind: M::KIND, id }, seq - 1, 1).await?;
        let entry = entries.first().ok_or_else(missing)?;
        let journaled: Journaled<M::Event> = decode("journal entry", &entry.bytes)?;
        let place = usize::try_from(seq - entry.first_seq).unwrap_or(usize::MAX);
        let payload = journaled.events.get(place).and_then(M::carried);
        let Some(Payload::Inline(text)) = payload else { return Err(missing()) };
        let text: Arc<str> = text.as_str().into();
        self.cache.insert((id, seq), Arc::clone(&text));
        Ok(text)
    }

    /// A machine as it is on disk, without waking it; `None` when there is none.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub async fn machine<M: Machine>(&self, id: Uuid) -> Result<Option<M>, Error> {
        Ok(crate::kit::stored::load(&*self.store, id).await?)
    }

    /// Text as it goes with an event: itself while it is small, else a blob.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub async fn keep(&self, workspace: WorkspaceId, text: String) -> Result<Payload, Error> {
        if text.len() <= INLINE_MAX {
            return Ok(Payload::Inline(text));
        }
        let len = text.len() as u64;
        let name = put(&self.blobs, workspace, text).await?.to_string();
        Ok(Payload::Blob { name, len })
    }
}

fn missing() -> Error {
    unreadable("content", "its event or blob is not there").into()
}

/// Keeps a text as a blob, without holding up others.
///
/// # Errors
///
/// When the disk refuses.
pub async fn put(blobs: &Blobs, workspace: WorkspaceId, text: String) -> Result<Digest, Error> {
    let blobs = blobs.clone();
    blocking(move || blobs.put(workspace.0, text.as_bytes())).await
}

/// Reads a text that is a blob, without holding up others.
///
/// # Errors
///
/// When it cannot be read.
pub async fn get(blobs: &Blobs, workspace: WorkspaceId, digest: Digest) -> Result<String, Error> {
    let blobs = blobs.clone();
    let content = blocking(move || blobs.get(workspace.0, digest)).await?;
    String::from_utf8(content.into()).map_err(|_| unreadable("blob", "it is no text").into())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Error::Unavailable("the server is stopping; try again".into())),
    }
}

/// Reads JSON that was stored.
///
/// # Errors
///
/// When it is not of that type.
pub fn json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| unreadable(what, error).into())
}

fn unreadable(what: &'static str, detail: impl std::fmt::Display) -> StoreError {
    StoreError::Unreadable { what, detail: detail.to_string() }
}

/// The id that stands at a place of a key.
pub fn id_at(key: &[u8], place: usize) -> Option<Uuid> {
    Uuid::from_slice(key.get(place..place + 16)?).ok()
}

/// Why a record was not saved.
pub fn unsaved(outcome: Outcome) -> Error {
    match outcome {
        Outcome::Refused(_) | Outcome::Conflict => {
            Error::conflict("somebody else changed it meanwhile; read it again")
        }
        Outcome::Full => Error::Unavailable(FULL.into()),
        Outcome::Saved | Outcome::Unknown => Error::Unavailable("the outcome is unknown; ask again".into()),
    }
}
