//! What stands between the router and a model.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::chat::{Answer, Request};

/// Somebody who can be asked for models' answers: an adapter to a provider, or the built-in engine.
#[async_trait]
pub trait Provider: Send + Sync + std::fmt::Debug {
    /// Asks a model, by the provider's own name of it.
    async fn ask(&self, model: &str, request: &Request, call: Call) -> Result<Answer, Error>;
}

/// What goes along with one request.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// Where the answer's text goes while it is written; pieces are dropped when nobody keeps up.
    pub deltas: Option<mpsc::Sender<String>>,
    /// Ends the request when cancelled.
    pub stop: CancellationToken,
}

/// Why a model did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Whose fault it is, and what follows from that.
    pub class: Class,
    /// What happened, for people; never a secret.
    pub message: String,
    /// When the provider wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The request is wrong; the provider is well.
    Caller,
    /// The request is too long for the model, which a larger one may take; the provider is well.
    TooLong,
    /// The key is missing, wrong or not allowed to.
    Auth,
    /// The account's quota or budget is used up.
    Quota,
    /// Too many requests for the moment.
    RateLimited,
    /// It took too long, to the headers, to the first token or between two.
    TimedOut,
    /// The provider failed, or cannot be reached.
    Failed,
    /// The answer makes no sense.
    BadAnswer,
    /// The one who asked does not want it any more.
    Stopped,
}

impl Class {
    /// Its name where calls are counted.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::TooLong => "too_long",
            Self::Auth => "auth",
            Self::Quota => "quota",
            Self::RateLimited => "rate_limited",
            Self::TimedOut => "timed_out",
            Self::Failed => "failed",
            Self::BadAnswer => "bad_answer",
            Self::Stopped => "stopped",
        }
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Caller => "wrong request",
            Self::TooLong => "request too long",
            Self::Auth => "key refused",
            Self::Quota => "account used up",
            Self::RateLimited => "too many requests",
            Self::TimedOut => "too slow",
            Self::Failed => "failed",
            Self::BadAnswer => "bad answer",
            Self::Stopped => "stopped",
        })
    }
}
