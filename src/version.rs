//! What this program is: its release, the commit it was built from, and what for.

use serde::Serialize;
use utoipa::ToSchema;

/// Where the API begins.
pub const API_BASE: &str = "/v1";

/// What this program is.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Version {
    /// Its name.
    pub name: &'static str,
    /// Its release.
    pub version: &'static str,
    /// The commit it was built from; absent when that was not known.
    pub commit: Option<&'static str>,
    /// Where the API begins.
    pub api: &'static str,
    /// What it was built for, such as `x86_64-unknown-linux-gnu`.
    pub target: &'static str,
}

/// What this program is.
pub const VERSION: Version = Version {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    commit: match env!("CENDRIIX_BUILD_COMMIT") {
        commit if commit.is_empty() => None,
        commit => Some(commit),
    },
    api: API_BASE,
    target: env!("CENDRIIX_BUILD_TARGET"),
};

/// What this program is, as `--version` says it.
pub fn line() -> &'static str {
    static LINE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    LINE.get_or_init(|| VERSION.to_string())
}

impl std::fmt::Display for Version {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { version, commit, api, target, .. } = self;
        write!(out, "{version} (commit {}, api {api}, {target})", commit.unwrap_or("unknown"))
    }
}
