//! Which models can be asked, where, and with how much patience.

use std::time::Duration;

use cendriix_actors::{
    model_router::{
        Settings,
        breaker::Limits,
        openai,
        settings::{Endpoint, ModelSetting, Timeouts},
    },
    secret::Secret,
};
use cendriix_protocol::money::MicroUsd;
use serde::{Deserialize, Serialize};

/// The vendor's own address.
const VENDOR: &str = "https://api.openai.com/v1";

/// Which models can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Models {
    /// Ids of models, the one to ask first in front.
    pub order: Vec<String>,
    /// The most requests under way to an endpoint.
    pub concurrency: usize,
    /// The most requests that wait for an endpoint.
    pub queue: usize,
    /// How long connecting may take, in milliseconds.
    pub connect_ms: u64,
    /// How long the headers of an answer may take, in milliseconds.
    pub headers_ms: u64,
    /// How long the first piece of an answer may take after its headers, in milliseconds.
    pub first_token_ms: u64,
    /// How long the next piece may take, in milliseconds.
    pub idle_ms: u64,
    /// How long an answer may take in all, in milliseconds.
    pub whole_ms: u64,
    /// When models rest.
    pub breaker: Breaker,
    /// An endpoint that speaks the Chat Completions protocol.
    pub openai: OpenAi,
}

impl Default for Models {
    fn default() -> Self {
        Self {
            order: Vec::new(),
            concurrency: 8,
            queue: 64,
            connect_ms: 10_000,
            headers_ms: 120_000,
            first_token_ms: 120_000,
            idle_ms: 60_000,
            whole_ms: 600_000,
            breaker: Breaker::default(),
            openai: OpenAi::default(),
        }
    }
}

/// When models rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// Failures in a row after which a model rests.
    pub failures: u32,
    /// How long the first rest is, in milliseconds.
    pub open_ms: u64,
    /// How long a rest is at most, in milliseconds.
    pub open_ms_max: u64,
    /// How long a rest is for a refused key or a used-up account, in milliseconds.
    pub account_ms: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 5, open_ms: 10_000, open_ms_max: 300_000, account_ms: 900_000 }
    }
}

/// An endpoint that speaks the Chat Completions protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OpenAi {
    /// Where it answers; empty: the vendor's own address, once there is a key.
    pub base_url: String,
    /// What is sent as `Authorization: Bearer`.
    pub api_key: Secret,
    /// The models to ask.
    pub models: Vec<Model>,
}

/// A model of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The endpoint's name of it.
    pub id: String,
    /// The most tokens it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,
    /// The most tokens it writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u32>,
    /// What a million tokens read cost, in dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_mtok_in: Option<MicroUsd>,
    /// What a million tokens written cost, in dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_mtok_out: Option<MicroUsd>,
    /// What a million tokens read from the provider's cache cost, in dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usd_per_mtok_cached: Option<MicroUsd>,
    /// What it can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<String>>,
}

impl Model {
    /// A model of which only the name is known.
    pub fn named(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            context: None,
            max_output: None,
            usd_per_mtok_in: None,
            usd_per_mtok_out: None,
            usd_per_mtok_cached: None,
            capabilities: None,
        }
    }
}

impl OpenAi {
    /// Takes the variables that every tool for such endpoints reads, where the configuration is silent.
    ///
    /// Address and key are taken together or not at all: a key is for its own address only. Gives the keys
    /// that were set so, and the variable of each.
    pub(super) fn take_usual(
        &mut self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Vec<(&'static str, &'static str)> {
        if !self.base_url.is_empty() || !self.api_key.is_empty() {
            return Vec::new();
        }
        let taken = |name: &str| variable(name).unwrap_or_default().trim().to_owned();
        self.base_url = taken("OPENAI_BASE_URL");
        self.api_key = Secret::new(taken("OPENAI_API_KEY"));
        let model = taken("OPENAI_MODEL");
        let is_named = self.models.is_empty() && !model.is_empty() && self.address().is_some();
        if is_named {
            self.models = vec![Model::named(model)];
        }
        let set = [
            (!self.base_url.is_empty(), "models.openai.base_url", "OPENAI_BASE_URL"),
            (!self.api_key.is_empty(), "models.openai.api_key", "OPENAI_API_KEY"),
            (is_named, "models.openai.models", "OPENAI_MODEL"),
        ];
        set.into_iter().filter(|(is_set, ..)| *is_set).map(|(_, key, name)| (key, name)).collect()
    }

    /// Where it answers; `None` when nothing is set.
    fn address(&self) -> Option<&str> {
        match (self.base_url.as_str(), self.api_key.is_empty()) {
            ("", true) => None,
            ("", false) => Some(VENDOR),
            (address, _) => Some(address),
        }
    }

    pub(super) fn validate(&self) -> Result<(), openai::Unusable> {
        self.address().map_or(Ok(()), |address| openai::address(address).map(drop))
    }
}

impl From<&Models> for Settings {
    fn from(config: &Models) -> Self {
        let millis = Duration::from_millis;
        let endpoint = config.openai.address().map(|address| Endpoint {
            name: if config.openai.base_url.is_empty() { "openai" } else { "openai-compatible" }.to_owned(),
            base_url: address.to_owned(),
            api_key: Some(config.openai.api_key.clone()).filter(|key| !key.is_empty()),
            models: config.openai.models.iter().cloned().map(ModelSetting::from).collect(),
            timeouts: Timeouts {
                connect: millis(config.connect_ms),
                headers: millis(config.headers_ms),
                first_token: millis(config.first_token_ms),
                idle: millis(config.idle_ms),
                whole: millis(config.whole_ms),
            },
            concurrency: config.concurrency,
            queue: config.queue,
        });
        let Breaker { failures, open_ms, open_ms_max, account_ms } = config.breaker;
        Self {
            endpoints: endpoint.into_iter().collect(),
            order: config.order.clone(),
            breaker: Limits {
                failures,
                open: millis(open_ms),
                open_max: millis(open_ms_max),
                account: millis(account_ms),
            },
        }
    }
}

impl From<Model> for ModelSetting {
    fn from(model: Model) -> Self {
        let Model {
            id,
            context,
            max_output,
            usd_per_mtok_in,
            usd_per_mtok_out,
            usd_per_mtok_cached,
            capabilities,
        } = model;
        Self { id, context, max_output, usd_per_mtok_in, usd_per_mtok_out, usd_per_mtok_cached, capabilities }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual(mut openai: OpenAi, variables: &[(&str, &str)]) -> OpenAi {
        openai.take_usual(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        });
        openai
    }

    #[test]
    fn the_usual_variables_are_taken_together_where_the_configuration_is_silent() {
        let variables =
            [("OPENAI_API_KEY", "sk"), ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1"), ("OPENAI_MODEL", "m")];
        let taken = usual(OpenAi::default(), &variables);
        assert_eq!((taken.address(), taken.api_key.reveal()), (Some("http://127.0.0.1:1/v1"), "sk"));
        assert_eq!(taken.models, [Model::named("m")]);
        let own = OpenAi { base_url: "http://127.0.0.1:2/v1".into(), ..OpenAi::default() };
        assert_eq!(usual(own.clone(), &variables), own, "a foreign key would be sent to it");
        let vendor = usual(OpenAi::default(), &[("OPENAI_API_KEY", "sk")]);
        assert_eq!((vendor.address(), vendor.models.len()), (Some(VENDOR), 0));
        let nothing = usual(OpenAi::default(), &[("OPENAI_MODEL", "m")]);
        assert_eq!((nothing.address(), nothing.models.len()), (None, 0));
    }

    #[test]
    fn an_address_that_is_none_is_refused_before_anything_starts() {
        for address in ["localhost:11434", "ftp://x/v1", "https://user:key@host/v1", "https://host/v1?key=1"]
        {
            let openai = OpenAi { base_url: address.to_owned(), ..OpenAi::default() };
            assert!(openai.validate().is_err(), "{address}");
        }
    }

    #[test]
    fn a_model_is_written_with_as_much_as_is_known_of_it() {
        let text = "base_url = \"http://127.0.0.1:1/v1\"\nmodels = [{ id = \"m\", usd_per_mtok_in = 0.25 }]";
        let openai: OpenAi = toml::from_str(text).unwrap();
        assert_eq!(openai.models[0].usd_per_mtok_in, Some(MicroUsd(250_000)));
        assert!(toml::from_str::<OpenAi>("models = [{ id = \"m\", price = 1 }]").is_err());
        let settings = Settings::from(&Models { openai, ..Models::default() });
        assert_eq!(
            (settings.endpoints[0].name.as_str(), settings.breaker),
            ("openai-compatible", Limits::default())
        );
    }
}
