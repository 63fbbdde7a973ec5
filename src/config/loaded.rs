//! Puts the configuration together, and says of each key where its value comes from.

use std::{net::SocketAddr, path::PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::{
    Config, ConfigError, SandboxMode,
    layers::{self, Layers, Origin, PARTING, PREFIX},
    nearest,
};

/// What the command line says over everything else.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// See [`super::Server::listen`].
    pub listen: Option<SocketAddr>,
    /// See [`super::Storage::data`].
    pub data: Option<PathBuf>,
    /// See [`super::Sandbox::mode`].
    pub sandbox: Option<SandboxMode>,
    /// Variables that have a flag of their own, and what has: names such as `CENDRIIX_DATA`, `--data`.
    pub variables: Vec<(String, String)>,
    /// The flags among them that were taken from their variable, such as `--data`.
    pub from_variables: Vec<String>,
}

impl Flags {
    fn origin(&self, flag: &str) -> Origin {
        let taken = self.from_variables.iter().any(|name| name == flag);
        let variable = self.variables.iter().find(|(_, name)| taken && name == flag);
        match variable {
            Some((name, _)) => Origin::Variable { name: name.clone() },
            None => Origin::Flag { name: flag.to_owned() },
        }
    }
}

/// What variables without two underscores begin with that others read: builds and tests of this product.
const OTHERS: [&str; 6] = ["BUILD_", "CRASHES", "SEED", "SIM_SEED", "TEST_", "WRITE_GOLDEN"];

/// A key, its value and where that comes from.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// The key, such as `server.drain_ms`.
    pub key: String,
    /// Its value; secrets are hidden.
    pub value: Value,
    /// Where that comes from.
    pub from: Origin,
}

/// A configuration that can be used, and how it came about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What was said that has no effect.
    pub warnings: Vec<String>,
    layers: Layers,
}

impl Loaded {
    /// Puts the layers together; `variables` is the environment.
    ///
    /// # Errors
    ///
    /// When a layer has a wrong or unknown key, or the result would be open to everybody.
    pub fn new(
        flags: &Flags,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::new();
        if let Some(path) = &flags.config {
            if !path.is_file() {
                return Err(ConfigError::NoFile(path.clone()));
            }
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
            layers.file(path, &text);
        }
        let variables: std::collections::BTreeMap<String, String> = variables.into_iter().collect();
        let mut warnings = Vec::new();
        for (name, text) in variables.range(PREFIX.to_owned()..) {
            let Some(rest) = name.strip_prefix(PREFIX) else { break };
            if rest.contains(PARTING) {
                layers.variable(name, text);
            } else if !OTHERS.iter().any(|other| rest.starts_with(other)) {
                warnings.extend(unknown(name, &flags.variables));
            }
        }
        lay_flags(flags, &mut layers);
        let mut config = layers.extract().map_err(ConfigError::Wrong)?;
        let variable = |name: &str| variables.get(name).cloned();
        for (key, name) in config.models.openai.take_usual(variable) {
            layers.set_by(key, Origin::Variable { name: name.to_owned() });
        }
        let read = config.repositories.take_tokens(variable).and_then(|()| config.validate());
        read.map_err(|error| placed(error, &layers))?;
        Ok(Self { config, warnings, layers })
    }

    /// Every key with its value and where that comes from, in the order of the sections.
    pub fn shown(&self) -> Vec<Shown> {
        // A configuration has no maps but those with texts as keys, so it can always be written.
        let value = serde_json::to_value(&self.config).unwrap_or_default();
        let shown = layers::leaves(&value).into_iter().map(|(place, value)| Shown {
            key: layers::written(&place),
            value: value.clone(),
            from: self.layers.origin(&place),
        });
        shown.collect()
    }
}

fn lay_flags(flags: &Flags, layers: &mut Layers) {
    let mut flag = |key: &str, name: &str, value: Option<Value>| {
        if let Some(value) = value {
            layers.flag(key, value, &flags.origin(name));
        }
    };
    flag("server.listen", "--listen", flags.listen.map(|listen| listen.to_string().into()));
    flag("storage.data", "--data", flags.data.as_ref().and_then(|data| serde_json::to_value(data).ok()));
    flag("sandbox.mode", "--sandbox", flags.sandbox.and_then(|mode| serde_json::to_value(mode).ok()));
}

/// Says where the key stands that an error is about.
fn placed(error: ConfigError, layers: &Layers) -> ConfigError {
    let place: Vec<String> = error.key().split('.').map(str::to_owned).collect();
    match layers.origin(&place) {
        Origin::Default => error,
        origin @ (Origin::File { .. } | Origin::Variable { .. } | Origin::Flag { .. }) => {
            ConfigError::Placed { origin, source: Box::new(error) }
        }
    }
}

/// What to say of a variable that nothing reads.
fn unknown(name: &str, flags: &[(String, String)]) -> Option<String> {
    if flags.iter().any(|(known, _)| known == name) {
        return None;
    }
    let keys = layers::leaves(&serde_json::to_value(Config::default()).unwrap_or_default())
        .into_iter()
        .map(|(place, _)| format!("{PREFIX}{}", place.join(PARTING).to_ascii_uppercase()))
        .collect::<Vec<_>>();
    let known: Vec<&str> =
        keys.iter().map(String::as_str).chain(flags.iter().map(|(name, _)| name.as_str())).collect();
    let near = nearest::word(name, &known).map_or_else(
        || "keys are written as CENDRIIX_<SECTION>__<KEY>".to_owned(),
        |near| format!("did you mean {near}?"),
    );
    Some(format!("nothing reads the variable {name}; {near}"))
}
