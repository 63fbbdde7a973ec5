//! What the router is built from: endpoints, their models, and how long anything may take.

use std::time::Duration;

use cendriix_protocol::money::MicroUsd;

use super::breaker::Limits;
use crate::secret::Secret;

/// What the router is built from.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Who can be asked besides the built-in engine.
    pub endpoints: Vec<Endpoint>,
    /// Ids of models, the one to ask first in front; models that are not named come after, as they stand.
    pub order: Vec<String>,
    /// When a breaker opens.
    pub breaker: Limits,
}

/// An endpoint that speaks the Chat Completions protocol.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// What it is called in answers, health and the ledger.
    pub name: String,
    /// The address that `/chat/completions` is appended to.
    pub base_url: String,
    /// What is sent as `Authorization: Bearer`; local servers need none.
    pub api_key: Option<Secret>,
    /// The models it serves. Empty at the vendor's own address: all that the price table knows.
    pub models: Vec<ModelSetting>,
    /// How long anything may take.
    pub timeouts: Timeouts,
    /// The most requests at a time.
    pub concurrency: usize,
    /// The most requests that wait for one of those places.
    pub queue: usize,
}

/// A model of an endpoint; what is left out comes from the price table, else from a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelSetting {
    /// The endpoint's own name of it, and its id in the catalogue.
    pub id: String,
    /// The most tokens it reads.
    pub context: Option<u64>,
    /// The most tokens it writes.
    pub max_output: Option<u32>,
    /// For a million tokens read.
    pub usd_per_mtok_in: Option<MicroUsd>,
    /// For a million tokens written.
    pub usd_per_mtok_out: Option<MicroUsd>,
    /// For a million tokens read from the provider's cache.
    pub usd_per_mtok_cached: Option<MicroUsd>,
    /// What it can do.
    pub capabilities: Option<Vec<String>>,
}

/// How long each part of a request may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until there is a connection.
    pub connect: Duration,
    /// Until the headers of the answer are there.
    pub headers: Duration,
    /// From the headers until the first piece of the answer.
    pub first_token: Duration,
    /// Between two pieces.
    pub idle: Duration,
    /// From the request to the end of the answer; the wait for a place before it may take as long.
    pub whole: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            headers: Duration::from_mins(2),
            first_token: Duration::from_mins(2),
            idle: Duration::from_mins(1),
            whole: Duration::from_mins(10),
        }
    }
}
