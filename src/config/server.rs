//! `[server]`: where and how requests come in, and how much of what any client may take.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use axum::http::{HeaderValue, Uri};
use serde::{Deserialize, Serialize};

/// Where and how requests come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The address and port to listen on; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The most connections at a time; further ones wait. The process's limit on open files may lower it.
    pub connections_max: usize,
    /// The most connections of one client address (of one /64 in IPv6); further ones are closed at once.
    pub connections_per_address_max: usize,
    /// How long a TLS handshake, a connection's first request and the headers of any other may take, in
    /// milliseconds.
    pub header_timeout_ms: u64,
    /// How long a connection may be without a request, in milliseconds.
    pub idle_timeout_ms: u64,
    /// How long the body of a request may take, in milliseconds; each 16 KiB that came give a second more.
    pub body_timeout_ms: u64,
    /// How long a client may take nothing of what it is sent, in milliseconds.
    pub write_timeout_ms: u64,
    /// How long a request may take to be answered, in milliseconds; event streams have no end, and `Prefer:
    /// wait` adds to it.
    pub request_timeout_ms: u64,
    /// The same for routes that ask a model or fetch a repository before they answer.
    pub request_timeout_long_ms: u64,
    /// The largest headers of a request, in bytes.
    pub header_bytes_max: u32,
    /// The largest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// The largest body of a request that carries a workflow, in bytes.
    pub workflow_bytes_max: usize,
    /// The most event streams at a time.
    pub streams_max: usize,
    /// The most event streams of one workspace at a time.
    pub streams_per_workspace_max: usize,
    /// Which other origins' web pages may call the API, such as `https://console.example.com`.
    pub cors_origins: Vec<String>,
    /// How long `/readyz` says that the server stops before it stops to listen, in milliseconds.
    pub unready_ms: u64,
    /// How long requests may take to end when the server stops, in milliseconds.
    pub drain_ms: u64,
    /// With which certificate it listens.
    pub tls: Tls,
}

/// With which certificate a server listens; without TLS while both files are empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The file of the certificate and those that lead to its authority, in PEM.
    pub cert: PathBuf,
    /// The file of its private key, in PEM.
    pub key: PathBuf,
    /// How often it is looked whether the files have changed, in milliseconds.
    pub look_ms: u64,
}

impl Default for Tls {
    fn default() -> Self {
        Self { cert: PathBuf::new(), key: PathBuf::new(), look_ms: 10_000 }
    }
}

impl Tls {
    /// Whether the server listens with TLS.
    pub fn is_on(&self) -> bool {
        !self.cert.as_os_str().is_empty()
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            connections_max: 16_384,
            connections_per_address_max: 4_096,
            header_timeout_ms: 10_000,
            idle_timeout_ms: 60_000,
            body_timeout_ms: 20_000,
            write_timeout_ms: 30_000,
            request_timeout_ms: 60_000,
            request_timeout_long_ms: 660_000,
            header_bytes_max: 32 << 10,
            body_bytes_max: 1 << 20,
            workflow_bytes_max: 8 << 20,
            streams_max: 10_000,
            streams_per_workspace_max: 1_000,
            cors_origins: Vec::new(),
            unready_ms: 0,
            drain_ms: 25_000,
            tls: Tls::default(),
        }
    }
}

impl Server {
    /// The origins of [`Server::cors_origins`] as they stand in headers.
    pub fn origins(&self) -> Vec<HeaderValue> {
        self.cors_origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect()
    }

    /// Says what is wrong, beginning with the key.
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.tls.cert.as_os_str().is_empty() != self.tls.key.as_os_str().is_empty() {
            return Err("tls needs both cert and key, or neither".to_owned());
        }
        if let Some(origin) = self.cors_origins.iter().find(|origin| !is_origin(origin)) {
            return Err(format!(
                "cors_origins has {origin:?}, which is no origin; write scheme://host or scheme://host:port, \
                 one for each: there is no wildcard, since pages send tokens"
            ));
        }
        let waits = [
            ("header_timeout_ms", self.header_timeout_ms),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("body_timeout_ms", self.body_timeout_ms),
            ("write_timeout_ms", self.write_timeout_ms),
            ("request_timeout_ms", self.request_timeout_ms),
            ("request_timeout_long_ms", self.request_timeout_long_ms),
            ("tls.look_ms", self.tls.look_ms),
        ];
        match waits.iter().find(|(_, ms)| !(10..=MS_MAX).contains(ms)) {
            Some((key, ms)) => Err(format!("{key} is {ms}; it needs to be within 10 and {MS_MAX}")),
            None => Ok(()),
        }
    }

    /// A wait of the configuration.
    pub(crate) fn wait(ms: u64) -> Duration {
        Duration::from_millis(ms.min(MS_MAX))
    }
}

/// The longest wait that can be set, in milliseconds: a day.
const MS_MAX: u64 = 86_400_000;

/// Whether a text is an origin as browsers send it: a scheme, a host in lower case, a port, and no more.
fn is_origin(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return false };
    matches!(scheme, "http" | "https")
        && !authority.as_str().contains(['@', '*'])
        && text == format!("{scheme}://{authority}")
        && text.chars().all(|c| !c.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_origins_may_be_allowed() {
        for good in ["https://a.example", "http://localhost:3000", "http://[::1]:5173"] {
            assert!(is_origin(good), "{good}");
        }
        for bad in ["*", "https://*.example", "a.example", "https://a.example/", "https://A.example", "null"]
        {
            let server = Server { cors_origins: vec![bad.to_owned()], ..Server::default() };
            assert!(server.validate().unwrap_err().contains("no origin"), "{bad}");
        }
    }

    #[test]
    fn tls_needs_both_files() {
        let tls = Tls { cert: "cert.pem".into(), ..Tls::default() };
        let error = Server { tls, ..Server::default() }.validate().unwrap_err();
        assert_eq!(error, "tls needs both cert and key, or neither");
    }
}
