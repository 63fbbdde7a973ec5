//! What a model is asked and what it answers, in no provider's own words; adapters translate.

use cendriix_protocol::model_router::TaskType;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One request to a model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// What the model is told about its part.
    pub system: Option<String>,
    /// What was said so far, oldest first.
    pub messages: Vec<Message>,
    /// What the model may call.
    pub tools: Vec<ToolSpec>,
    /// The JSON that the answer must be.
    pub schema: Option<Schema>,
    /// What kind of work it is.
    pub task_type: TaskType,
    /// The most tokens of the answer.
    pub max_tokens: u32,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub enum Message {
    /// What is wanted.
    User { text: String },
    /// What the model said, and what it called.
    Assistant {
        text: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        calls: Vec<ToolCall>,
    },
    /// What came of one call; each call of the message before has one.
    Tool { call: String, name: String, text: String, is_error: bool },
}

/// A tool that a model may call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Its name: letters, digits, `_` and `-`.
    pub name: String,
    /// What it does, for the model to read.
    pub description: String,
    /// The JSON schema of its arguments, an object.
    pub parameters: Value,
}

/// A call that a model makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// Names the call within its conversation; never empty.
    pub id: String,
    /// The tool.
    pub name: String,
    /// The arguments as the model wrote them: JSON if it did well.
    pub arguments: String,
}

/// The form of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// What it is called: `run_plan`, `review`.
    pub name: String,
    /// The JSON schema.
    pub schema: Value,
}

/// What a model answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What it said.
    pub text: String,
    /// What it calls.
    pub calls: Vec<ToolCall>,
    /// Why it ended there.
    pub finish: Finish,
    /// What it used, when the provider says so.
    pub usage: Option<Usage>,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model had said all.
    Stop,
    /// It waits for what comes of its calls.
    ToolCalls,
    /// The most tokens were reached.
    Length,
    /// It, or its provider, will not answer that.
    Refused,
    /// The built-in engine cannot do it; the sentence says what it would take.
    NeedsModel(String),
}

/// Tokens that were used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Read, those from the cache included.
    pub input_tokens: u64,
    /// Written, those of reasoning included.
    pub output_tokens: u64,
    /// Of those read, the ones from the provider's cache.
    pub cached_tokens: u64,
}
