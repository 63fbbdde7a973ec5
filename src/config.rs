//! The configuration: built-in defaults, then a TOML file, then `CENDRIIX_…` variables, then flags.
//!
//! `config/default.toml` shows every key with its unit and reason; a test holds it against
//! [`Config::default`].

mod admin;
mod auth;
mod layers;
mod limits;
mod loaded;
mod models;
mod nearest;
mod repositories;
mod server;

use std::{io, path::PathBuf, time::Duration};

use cendriix_actors::{
    kit::directory::Rest, model_router::openai, repositories::Remotes, runs::grounds::Reachable,
    sandboxes::Mode,
};
use cendriix_persistence::redb;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

pub use self::{
    admin::Admin,
    auth::{Auth, AuthError, AuthMode, Oidc},
    layers::{Origin, Problem},
    limits::Limits,
    loaded::{Flags, Loaded, Shown},
    models::{Breaker, Model, Models, OpenAi},
    repositories::RepositoriesConfig,
    server::{Server, Tls},
};

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where and how requests come in.
    pub server: Server,
    /// Who may come in.
    pub auth: Auth,
    /// How often strangers may ask.
    pub limits: Limits,
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
    /// What operators and their tools reach beside the API.
    pub admin: Admin,
    /// What is logged.
    pub log: Log,
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
            observer: None,
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

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Files or variables have wrong or unknown keys.
    #[error("the configuration is wrong:{}", listed(.0))]
    Wrong(Vec<Problem>),
    /// A key is wrong, and somebody set it.
    #[error("{origin}: {source}")]
    Placed {
        /// Who.
        origin: Origin,
        /// What is wrong with it.
        source: Box<ConfigError>,
    },
    /// The file is not there.
    #[error("there is no configuration file {0}")]
    NoFile(PathBuf),
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A limit makes no sense.
    #[error("limits.{0}")]
    Limits(String),
    /// Nobody could come in, or everybody.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// A token for repositories cannot be used.
    #[error("repositories.tokens is wrong: {0}")]
    Token(String),
    /// Something about how requests come in.
    #[error("server.{0}")]
    Server(String),
    /// An endpoint for models has no address that can be used.
    #[error("models.openai.base_url is wrong: {0}")]
    Endpoint(#[from] openai::Unusable),
    /// Everybody could read the metrics.
    #[error("admin.listen is an address that others can reach; set admin.metrics_token, or use 127.0.0.1")]
    OpenMetrics,
    /// A number is out of its bounds.
    #[error("{0} must be {1}")]
    Bound(&'static str, &'static str),
    /// What is to be logged makes no sense.
    #[error("log.level is no filter such as \"info\" or \"info,cendriix_actors=debug\": {0}")]
    Level(String),
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().flat_map(|problem| ["\n  ".to_owned(), problem.to_string()]).collect()
}

impl ConfigError {
    /// The key that is wrong.
    fn key(&self) -> &str {
        match self {
            Self::Auth(error) => error.key(),
            Self::Token(_) => "repositories.tokens",
            Self::Endpoint(_) => "models.openai.base_url",
            Self::OpenMetrics => "admin.listen",
            Self::Limits(_) => "limits",
            Self::Server(_) => "server",
            Self::Level(_) => "log.level",
            Self::Bound(key, _) => key,
            Self::Wrong(_) | Self::Placed { .. } | Self::NoFile(_) | Self::Unreadable { .. } => "",
        }
    }
}

impl Config {
    /// Puts the layers together: built-in values, the file, the environment, flags.
    ///
    /// # Errors
    ///
    /// When a layer has a wrong or unknown key, or the result would be open to everybody.
    pub fn load(flags: &Flags) -> Result<Self, ConfigError> {
        Ok(Loaded::new(flags, environment())?.config)
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
        self.limits.validate().map_err(ConfigError::Limits)?;
        self.server.validate().map_err(ConfigError::Server)?;
        self.bounds()?;
        EnvFilter::try_new(&self.log.level).map_err(|error| ConfigError::Level(error.to_string()))?;
        if self.admin.is_open() {
            return Err(ConfigError::OpenMetrics);
        }
        Ok(self.auth.validate(self.server.listen, &self.egress.allow)?)
    }

    /// Holds numbers against their bounds with which nothing would work.
    fn bounds(&self) -> Result<(), ConfigError> {
        let positive = [
            ("server.connections_max", self.server.connections_max),
            ("server.body_bytes_max", self.server.body_bytes_max),
            ("storage.queue", self.storage.queue),
            ("rest.awake_max", self.rest.awake_max),
            ("models.concurrency", self.models.concurrency),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Bound(key, "at least 1"));
        }
        if self.server.connections_max > tokio::sync::Semaphore::MAX_PERMITS {
            return Err(ConfigError::Bound("server.connections_max", "at most 2^61"));
        }
        match self.storage.cache_mib {
            ..=1_048_576 => Ok(()),
            _ => Err(ConfigError::Bound("storage.cache_mib", "at most 1048576, which is a TiB")),
        }
    }
}

/// The variables of the environment that are texts.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_the_built_in_ones() {
        let documented: Config = toml::from_str(include_str!("../config/default.toml")).unwrap();
        assert_eq!(documented, Config::default());
        let documented: serde_json::Value = toml::from_str(include_str!("../config/default.toml")).unwrap();
        let built_in = serde_json::to_value(Config::default()).unwrap();
        let keys = |value| -> Vec<_> { layers::leaves(value).into_iter().map(|(key, _)| key).collect() };
        assert_eq!(keys(&documented), keys(&built_in), "a key is not documented");
    }

    #[test]
    fn dev_log_in_is_not_offered_to_the_network() {
        let flags = Flags { listen: Some(([0, 0, 0, 0], 8080).into()), ..Flags::default() };
        let error = Config::load(&flags).unwrap_err().to_string();
        assert!(error.contains("dev_allow_public"), "{error}");
    }
}
