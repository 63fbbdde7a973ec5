//! The configuration: built-in defaults, then a TOML file, then `CENDRIIX_…` variables, then flags.
//!
//! `config/default.toml` shows every key with its unit and reason; a test holds it against
//! [`Config::default`].

mod auth;
mod models;
mod repositories;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use cendriix_actors::{
    kit::directory::Rest, model_router::openai, repositories::Remotes, runs::grounds::Reachable,
    sandboxes::Mode,
};
use cendriix_persistence::redb;
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use serde::{Deserialize, Serialize};

pub use self::{
    auth::{Auth, AuthError, AuthMode, Oidc},
    models::{Breaker, Model, Models, OpenAi},
    repositories::RepositoriesConfig,
};

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where and how requests come in.
    pub server: Server,
    /// Who may come in.
    pub auth: Auth,
    /// Where everything is kept.
    pub storage: Storage,
    /// When entities go to sleep.
    pub rest: RestConfig,
    /// What may be reached outside.
    pub egress: Egress,
    /// Which models can be asked.
    pub models: Models,
    /// How commands of agents and tests are contained.
    pub sandbox: Sandbox,
    /// Which repositories may be worked on, and how those on other servers are reached.
    pub repositories: RepositoriesConfig,
    /// What is logged.
    pub log: Log,
}

/// Where and how requests come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The address and port to listen on; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The most connections at a time; further ones wait.
    pub connections_max: usize,
    /// How long a client may take to send the headers of a request, from the connection's last answer on, in
    /// milliseconds; an idle connection is closed after it.
    pub header_timeout_ms: u64,
    /// The largest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// The largest body of a request that carries a workflow, in bytes.
    pub workflow_bytes_max: usize,
    /// The most event streams at a time.
    pub streams_max: usize,
    /// How long requests may take to end when the server stops, in milliseconds.
    pub drain_ms: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            connections_max: 16_384,
            header_timeout_ms: 10_000,
            body_bytes_max: 1 << 20,
            workflow_bytes_max: 8 << 20,
            streams_max: 10_000,
            drain_ms: 25_000,
        }
    }
}

/// Where everything is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// The directory of the database, the blobs and the keys.
    pub data: PathBuf,
    /// How much memory the database's pages may take, in MiB.
    pub cache_mib: usize,
    /// How many saves may wait for the disk.
    pub queue: usize,
    /// How much space must stay free on the disk, in MiB; below it nothing is saved and requests get 503.
    pub free_mib_min: u64,
}

impl Default for Storage {
    fn default() -> Self {
        Self { data: PathBuf::from("./data"), cache_mib: 64, queue: 4096, free_mib_min: 64 }
    }
}

impl Storage {
    /// What the engine is opened with.
    pub fn options(&self) -> redb::Options {
        redb::Options {
            cache_bytes: self.cache_mib << 20,
            queue: self.queue,
            free_bytes_min: self.free_mib_min << 20,
        }
    }
}

/// When entities go to sleep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestConfig {
    /// After how long without a message an entity without work goes to sleep, in milliseconds.
    pub idle_ms: u64,
    /// How many may be awake before those without work go to sleep at once.
    pub awake_max: usize,
}

impl Default for RestConfig {
    fn default() -> Self {
        Self { idle_ms: 5_000, awake_max: 10_000 }
    }
}

impl From<&RestConfig> for Rest {
    fn from(config: &RestConfig) -> Self {
        Self { idle: Duration::from_millis(config.idle_ms), awake_max: config.awake_max }
    }
}

/// What may be reached outside.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Exact `host:port` pairs that may be reached although they are private or not https.
    pub allow: Vec<String>,
}

/// How commands of agents and tests are contained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sandbox {
    /// How.
    pub mode: SandboxMode,
    /// The program whose `sandbox-exec` starts commands; this one when empty.
    pub helper: PathBuf,
}

/// How commands are contained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SandboxMode {
    /// With the best that this machine has; refused where it has nothing.
    #[default]
    Local,
    /// Not at all: commands have the rights of the server and the network.
    None,
}

impl From<SandboxMode> for Mode {
    fn from(mode: SandboxMode) -> Self {
        match mode {
            SandboxMode::Local => Self::Local,
            SandboxMode::None => Self::None,
        }
    }
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// What is logged, as a filter such as `info` or `info,cendriix_actors=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// What the command line says over everything else.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// See [`Server::listen`].
    pub listen: Option<SocketAddr>,
    /// See [`Storage::data`].
    pub data: Option<PathBuf>,
    /// See [`Sandbox::mode`].
    pub sandbox: Option<SandboxMode>,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or a variable has a wrong or an unknown key.
    #[error("the configuration is wrong: {0}")]
    Wrong(Box<figment::Error>),
    /// The file is not there.
    #[error("there is no configuration file {0}")]
    NoFile(PathBuf),
    /// Nobody could come in, or everybody.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A token for repositories cannot be used.
    #[error("repositories.tokens is wrong: {0}")]
    Token(String),
    /// An endpoint for models has no address that can be used.
    #[error("models.openai.base_url is wrong: {0}")]
    Endpoint(#[from] openai::Unusable),
}

impl Config {
    /// Puts the layers together.
    ///
    /// # Errors
    ///
    /// When a layer has a wrong or unknown key, or the result would be open to everybody.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        let mut layers = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = &flags.config {
            if !file.is_file() {
                return Err(ConfigError::NoFile(file.clone()));
            }
            layers = layers.merge(Toml::file_exact(file));
        }
        // Sections and keys are parted by two underscores: CENDRIIX_SERVER__DRAIN_MS.
        let nested = Env::prefixed("CENDRIIX_").filter(|name| name.as_str().contains("__")).split("__");
        let mut config: Self =
            layers.merge(nested).extract().map_err(|error| ConfigError::Wrong(Box::new(error)))?;
        config.server.listen = flags.listen.unwrap_or(config.server.listen);
        config.storage.data = flags.data.clone().unwrap_or(config.storage.data);
        config.sandbox.mode = flags.sandbox.unwrap_or(config.sandbox.mode);
        config.models.openai.take_usual(|name| std::env::var(name).ok());
        config.repositories.take_tokens(|name| std::env::var(name).ok())?;
        config.validate()?;
        Ok(config)
    }

    /// Which repositories on this machine may be worked on: all, where only those who run the server can ask
    /// it.
    pub fn reachable(&self) -> Reachable {
        let only_by_us = self.auth.believes_its_clients() && !self.auth.dev_allow_public;
        if self.repositories.allow.is_empty() && only_by_us {
            Reachable::Everything
        } else {
            Reachable::Below(self.repositories.allow.clone())
        }
    }

    /// How repositories on other servers are reached.
    pub fn remotes(&self) -> Remotes {
        self.repositories.remotes(&self.egress.allow)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.models.openai.validate()?;
        Ok(self.auth.validate(self.server.listen, &self.egress.allow)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_built_in_ones() {
        let documented: Config = toml::from_str(include_str!("../config/default.toml")).unwrap();
        assert_eq!(documented, Config::default());
        let keys = |text: &str| text.lines().filter(|line| line.contains(" = ")).count();
        let built_in = toml::to_string(&Config::default()).unwrap();
        assert_eq!(keys(include_str!("../config/default.toml")), keys(&built_in), "a key is not documented");
    }

    #[test]
    fn dev_log_in_is_not_offered_to_the_network() {
        let flags = Flags { listen: Some(([0, 0, 0, 0], 8080).into()), ..Flags::default() };
        let error = Config::load(&flags).unwrap_err().to_string();
        assert!(error.contains("dev_allow_public"), "{error}");
    }

    #[test]
    fn an_unknown_key_is_an_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[server]\nlissten = \"127.0.0.1:1\"\n").unwrap();
        let flags = Flags { config: Some(file.path().to_owned()), ..Flags::default() };
        let error = Config::load(&flags).unwrap_err().to_string();
        assert!(error.contains("lissten"), "{error}");
    }
}
