//! `/model-router`: one way to ask any model.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{money::MicroUsd, time::Timestamp};

/// What kind of work a model is asked for.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TaskType {
    /// Writing or changing code.
    CodeGeneration,
    /// Thinking something through.
    Reasoning,
    /// Making something shorter.
    Summarisation,
    /// Saying what kind of thing something is.
    Classification,
    /// Anything else.
    #[default]
    General,
}

/// The largest prompt, in bytes.
pub const PROMPT_MAX: usize = 262_144;
/// How many tokens an answer may have when nobody says.
pub const MAX_TOKENS: u32 = 2048;
/// The most tokens that can be asked for.
pub const MAX_TOKENS_MAX: u32 = 128_000;
/// The most capabilities that can be required.
pub const CAPABILITIES_MAX: usize = 16;
/// The longest name of a capability, in bytes.
pub const CAPABILITY_MAX: usize = 64;

/// `POST /model-router/complete`: a prompt for whichever model fits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Complete {
    /// What is asked, 1 byte to 256 KiB.
    #[schema(min_length = 1, max_length = 262_144)]
    pub prompt: String,
    /// What kind of work it is; `general` when absent.
    #[serde(default)]
    pub task_type: TaskType,
    /// The most tokens of the answer, 1 to 128,000; 2048 when absent. A model that writes fewer writes fewer.
    #[serde(default, deserialize_with = "crate::json::integer", skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 128_000)]
    pub max_tokens: Option<u32>,
    /// What the model is told about its part, at most 256 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 262_144)]
    pub system_prompt: Option<String>,
    /// What the model must be able to do, such as `code`, `vision` or `json_schema`; at most 16 names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16, value_type = Vec<Capability>)]
    pub required_capabilities: Vec<String>,
    /// What matters most; the configured order of models when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_hint: Option<PolicyHint>,
    /// The most that the answer may cost, in dollars; models that might cost more are not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, minimum = 0)]
    pub max_cost_usd: Option<MicroUsd>,
}

/// What a model can do, by its name in the catalogue.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(min_length = 1, max_length = 64)]
pub struct Capability(pub String);

/// What matters most when a model is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyHint {
    /// The cheapest first.
    Cost,
    /// The quickest of late first.
    Latency,
}

/// A model's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    /// The model that answered.
    pub model_id: String,
    /// The endpoint that served it.
    pub provider: String,
    /// What it answered.
    pub response: String,
    /// Tokens that were read.
    pub input_tokens: u64,
    /// Tokens that were written.
    pub output_tokens: u64,
    /// How long the answer took, in milliseconds.
    pub latency_ms: u64,
    /// What it cost by the catalogue's prices, in dollars.
    pub estimated_cost_usd: MicroUsd,
    /// Whether another model answered than the first choice.
    pub used_fallback: bool,
    /// Why the answer ended.
    pub finish_reason: FinishReason,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// The model had said all.
    Stop,
    /// The most tokens were reached; the answer is cut off.
    Length,
    /// The model, or its provider, will not answer that.
    Refused,
}

/// `GET /model-router/models`: all models by where they come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Models {
    /// Several models behind one name.
    pub orchestrated: Vec<Model>,
    /// Models on AWS Bedrock.
    pub bedrock: Vec<Model>,
    /// Models at endpoints of this server's operator.
    #[serde(rename = "cendriix-custom")]
    pub cendriix_custom: Vec<Model>,
    /// Models at their vendor's own address, and the built-in engine.
    pub native: Vec<Model>,
}

/// A model that can be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// Its id.
    pub model_id: String,
    /// The endpoint that serves it.
    pub provider: String,
    /// The most tokens it reads.
    pub context_tokens: u64,
    /// The most tokens it writes.
    pub max_output_tokens: u32,
    /// What a million tokens read cost, in dollars.
    pub input_usd_per_million_tokens: MicroUsd,
    /// What a million tokens written cost, in dollars.
    pub output_usd_per_million_tokens: MicroUsd,
    /// What a million tokens read from the provider's cache cost, in dollars.
    pub cached_input_usd_per_million_tokens: MicroUsd,
    /// What it can do.
    pub capabilities: Vec<String>,
    /// What else there is to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// `GET /model-router/health`: the circuit breakers of all models.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelsHealth {
    /// One for each model of each endpoint.
    pub models: Vec<ModelHealth>,
}

/// The circuit breaker of a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModelHealth {
    /// The model.
    pub model_id: String,
    /// The endpoint that serves it.
    pub endpoint: String,
    /// Where the breaker stands.
    pub state: BreakerState,
    /// Failures in a row.
    pub failures: u32,
    /// Since when the model is not simply asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<Timestamp>,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// What failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error_class: Option<ErrorClass>,
    /// How long answers took of late, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
}

/// Where a circuit breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// The model is asked.
    Closed,
    /// It failed too often and rests.
    Open,
    /// One request may try whether it answers again.
    HalfOpen,
}

/// What kind of failure a model had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The request was wrong.
    Caller,
    /// The request was too long for the model.
    TooLong,
    /// The key is missing, wrong or not allowed to.
    Auth,
    /// The account's quota is used up.
    Quota,
    /// Too many requests for the moment.
    RateLimited,
    /// It took too long.
    TimedOut,
    /// The provider failed or cannot be reached.
    Failed,
    /// The answer made no sense.
    BadAnswer,
    /// The one who asked did not want it any more.
    Stopped,
}
