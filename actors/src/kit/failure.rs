//! Why a command to an entity did not take effect.

use cendriix_persistence::StoreError;

use super::{machine::Machine, stored};

/// What is said when the disk is nearly full.
pub(crate) const FULL: &str = "the disk of the data directory is nearly full, so nothing is saved; free some \
    space on it and ask again";

/// Why a command did not take effect, or why nobody knows.
#[derive(Debug, thiserror::Error)]
pub enum Failure<M: Machine> {
    /// The machine refuses.
    #[error(transparent)]
    Refused(M::Refusal),
    /// There is no such entity.
    #[error("there is no such {}", M::NAME)]
    Missing,
    /// A guard of the attachment, by its index, or one of the machine's does not hold.
    #[error("a condition of the save does not hold")]
    Guard(usize),
    /// Too many callers wait for it already.
    #[error("too many requests wait for this {}; try again", M::NAME)]
    Busy,
    /// It crashed and rests for a moment.
    #[error("this {} is recovering; try again", M::NAME)]
    Recovering,
    /// It crashed again and again.
    #[error("this {} crashed repeatedly and is parked; retry brings it back", M::NAME)]
    Parked,
    /// Its state would become too large.
    #[error("this {} would become larger than {} bytes", M::NAME, stored::SNAPSHOT_MAX)]
    TooLarge,
    /// The disk is nearly full.
    #[error("{FULL}")]
    Full,
    /// Another node owns it by now.
    #[error("another node owns this {}", M::NAME)]
    Elsewhere,
    /// Nobody knows whether it took effect; the same command id may be asked again.
    #[error("the outcome is unknown; ask again")]
    Unknown,
    /// The server is shutting down.
    #[error("the server is stopping; try again")]
    Stopping,
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
