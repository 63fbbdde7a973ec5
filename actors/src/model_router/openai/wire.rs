//! The words of the Chat Completions protocol: strict in what is sent, lenient in what is read.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::model_router::chat::{Message, Request, Schema, ToolCall, ToolSpec};

/// The body of a request.
#[derive(Debug, Serialize)]
pub(super) struct Body<'a> {
    model: &'a str,
    messages: Vec<Value>,
    stream: bool,
    stream_options: Value,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    /// What every server but the vendor's takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    /// What the vendor wants of its reasoning models, and takes for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
}

impl<'a> Body<'a> {
    /// Writes a request for a model.
    pub(super) fn new(model: &'a str, request: &Request, is_vendor: bool) -> Self {
        let system = request.system.iter().map(|text| json!({ "role": "system", "content": text }));
        Self {
            model,
            messages: system.chain(request.messages.iter().map(message)).collect(),
            stream: true,
            stream_options: json!({ "include_usage": true }),
            tools: request.tools.iter().map(tool).collect(),
            response_format: request.schema.as_ref().map(format),
            max_tokens: (!is_vendor).then_some(request.max_tokens),
            max_completion_tokens: is_vendor.then_some(request.max_tokens),
        }
    }
}

fn message(message: &Message) -> Value {
    match message {
        Message::User { text } => json!({ "role": "user", "content": text }),
        Message::Assistant { text, calls } if calls.is_empty() => {
            json!({ "role": "assistant", "content": text })
        }
        Message::Assistant { text, calls } => {
            let content = (!text.is_empty()).then_some(text);
            let calls: Vec<Value> = calls.iter().map(call).collect();
            json!({ "role": "assistant", "content": content, "tool_calls": calls })
        }
        Message::Tool { call, text, is_error, name: _ } => {
            let content = if *is_error { format!("error: {text}") } else { text.clone() };
            json!({ "role": "tool", "tool_call_id": call, "content": content })
        }
    }
}

/// Many servers read the arguments of earlier calls and fail on what is no object, so such are wrapped.
fn call(call: &ToolCall) -> Value {
    let is_object = serde_json::from_str::<Value>(&call.arguments).is_ok_and(|value| value.is_object());
    let arguments = match call.arguments.as_str() {
        written if is_object => written.to_owned(),
        "" => "{}".to_owned(),
        written => json!({ "unreadable": written }).to_string(),
    };
    json!({
        "id": call.id, "type": "function", "function": { "name": call.name, "arguments": arguments },
    })
}

fn tool(tool: &ToolSpec) -> Value {
    let ToolSpec { name, description, parameters } = tool;
    json!({
        "type": "function",
        "function": { "name": name, "description": description, "parameters": parameters },
    })
}

/// Not strict: the vendor's strict form forbids optional fields.
fn format(schema: &Schema) -> Value {
    let Schema { name, schema } = schema;
    json!({ "type": "json_schema", "json_schema": { "name": name, "schema": schema, "strict": false } })
}

/// A piece of a streamed answer, or a whole one; the two differ in `delta` and `message` only.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Piece {
    #[serde(deserialize_with = "or_default")]
    pub(super) choices: Vec<Choice>,
    pub(super) usage: Option<Usage>,
    /// A failure after the headers had promised success.
    pub(super) error: Option<Value>,
    /// `error` in the older shape of failures, which then has `message`.
    pub(super) object: Option<String>,
}

/// One of the answers; we ask for one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice {
    pub(super) index: u32,
    #[serde(alias = "message", deserialize_with = "or_default")]
    pub(super) delta: Delta,
    pub(super) finish_reason: Option<String>,
}

/// What is added to the answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta {
    pub(super) content: Option<Value>,
    pub(super) refusal: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) tool_calls: Vec<CallPiece>,
}

/// A piece of a call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CallPiece {
    pub(super) index: Option<u32>,
    pub(super) id: Option<String>,
    #[serde(deserialize_with = "or_default")]
    pub(super) function: Function,
}

/// What is called.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Function {
    pub(super) name: Option<String>,
    /// A text, in pieces; some servers send an object.
    pub(super) arguments: Option<Value>,
}

/// What was used.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Usage {
    pub(super) prompt_tokens: Option<u64>,
    pub(super) completion_tokens: Option<u64>,
    #[serde(deserialize_with = "or_default")]
    pub(super) prompt_tokens_details: Details,
}

/// What the input was made of.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Details {
    pub(super) cached_tokens: Option<u64>,
}

/// Reads `null` as nothing.
fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
