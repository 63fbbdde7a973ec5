//! `[limits]`: how often one address may ask without having logged in.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// How often one address (one /64 in IPv6) may ask without having logged in. What a workspace may ask for is
/// said by its plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests a minute to routes that need no log-in, and with credentials that are refused.
    pub public_per_minute: u32,
    /// Log-ins a minute.
    pub logins_per_minute: u32,
    /// Proxies in front of this server: of their requests the last address in `X-Forwarded-For` that is no
    /// such proxy is the client's.
    pub proxies: Vec<IpAddr>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { public_per_minute: 300, logins_per_minute: 30, proxies: Vec::new() }
    }
}

impl Limits {
    /// Says what is wrong, beginning with the key.
    pub(super) fn validate(&self) -> Result<(), String> {
        let counts =
            [("public_per_minute", self.public_per_minute), ("logins_per_minute", self.logins_per_minute)];
        match counts.iter().find(|(_, count)| *count == 0) {
            Some((key, _)) => Err(format!("{key} is at least 1")),
            None => Ok(()),
        }
    }
}
