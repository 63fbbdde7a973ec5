//! What operators and their tools reach beside the API.

use std::net::SocketAddr;

use cendriix_actors::secret::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What operators and their tools reach beside the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// A second address and port, for `/metrics`, `/healthz` and `/readyz` only; empty: none.
    #[serde(with = "address")]
    pub listen: Option<SocketAddr>,
    /// What is sent as `Authorization: Bearer` to `/metrics`; empty: only the secret of the data directory
    /// opens it on the first address, and on the second it is open.
    pub metrics_token: Secret,
}

impl Admin {
    /// Whether the second address would show metrics to others than this machine without a token.
    pub(super) fn is_open(&self) -> bool {
        self.listen.is_some_and(|listen| !listen.ip().is_loopback()) && self.metrics_token.is_empty()
    }
}

/// An address that may be empty.
mod address {
    use super::{Deserialize, Deserializer, Serializer, SocketAddr};

    #[expect(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(address: &Option<SocketAddr>, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&address.map_or_else(String::new, |address| address.to_string()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(input)?;
        match text.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(serde::de::Error::custom),
        }
    }
}
