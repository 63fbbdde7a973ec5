//! Things that may be large: themselves while they are small, else a blob; and what an unsaved save means.

use cendriix_persistence::{
    StoreError,
    blobs::{Blobs, Digest},
    store::Outcome,
};
use cendriix_protocol::ids::WorkspaceId;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::Error;

/// The largest text that stands where it is used, in bytes.
pub const INLINE_MAX: usize = 4 << 10;
/// The largest text that stands in a row of its own, in bytes.
const ROW_MAX: usize = 64 << 10;

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
        Outcome::Full => {
            Error::Unavailable("the disk is nearly full; nothing is saved until there is space again".into())
        }
        Outcome::Saved | Outcome::Unknown => Error::Unavailable("the outcome is unknown; ask again".into()),
    }
}
