//! Why something that was asked did not happen, as every area says it.

use cendriix_persistence::StoreError;
use cendriix_protocol::{error::FieldErrors, workspaces::Role};

use crate::kit::{Failure, Machine};

/// A refusal, or a failure of the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there, or not the caller's.
    #[error("this {what} does not exist")]
    Missing { what: &'static str },
    /// Nobody is logged in.
    #[error("{0}")]
    Unauthorized(String),
    /// The caller's role is too low.
    #[error("this needs role {} or higher; yours is {}", .needs.name(), .has.name())]
    Forbidden { needs: Role, has: Role },
    /// Fields are wrong.
    #[error("{}", said(.0))]
    Invalid(FieldErrors),
    /// The present state does not allow it.
    #[error("{message}")]
    Conflict { message: String, current_status: Option<String>, allowed_actions: Option<Vec<String>> },
    /// It is not the version that the caller has seen.
    #[error("{0}")]
    Outdated(String),
    /// The server cannot do it now; the same request may succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Error {
    /// One wrong field.
    pub fn field(path: &str, message: impl Into<String>) -> Self {
        Self::Invalid(FieldErrors::from([(path.to_owned(), vec![message.into()])]))
    }

    /// A conflict that has nothing to do with a state.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::Conflict { message: message.into(), current_status: None, allowed_actions: None }
    }

    /// What a failure of the runtime means to the caller; refusals of the machine are told by `refused`.
    pub fn of<M: Machine>(failure: Failure<M>, refused: impl FnOnce(M::Refusal) -> Self) -> Self {
        match failure {
            Failure::Refused(refusal) => refused(refusal),
            Failure::Missing => Self::Missing { what: M::NAME },
            Failure::Store(error) => Self::Store(error),
            Failure::Parked => Self::conflict(failure.to_string()),
            Failure::Guard(_)
            | Failure::Busy
            | Failure::Recovering
            | Failure::TooLarge
            | Failure::Full
            | Failure::Elsewhere
            | Failure::Unknown
            | Failure::Stopping => Self::Unavailable(failure.to_string()),
        }
    }
}

fn said(fields: &FieldErrors) -> String {
    match fields.first_key_value() {
        Some((path, messages)) => format!("{path}: {}", messages.first().map_or("is wrong", String::as_str)),
        None => "a field is wrong".to_owned(),
    }
}
