//! How many tokens a request and its answer count as: four bytes each, a simple and steady estimate.

use crate::model_router::chat::{Message, Request, ToolCall, Usage};

/// So many bytes count as one token.
pub(super) const BYTES_A_TOKEN: usize = 4;

pub(super) fn estimated(request: &Request, text: &str, calls: &[ToolCall]) -> Usage {
    let of_call = |call: &ToolCall| call.name.len() + call.arguments.len();
    let message = |message: &Message| match message {
        Message::Assistant { text, calls } => text.len() + calls.iter().map(of_call).sum::<usize>(),
        Message::User { text } | Message::Tool { text, .. } => text.len(),
    };
    let tools = request
        .tools
        .iter()
        .map(|tool| tool.name.len() + tool.description.len() + tool.parameters.to_string().len());
    let input = request.system.as_ref().map_or(0, String::len)
        + request.messages.iter().map(message).sum::<usize>()
        + tools.sum::<usize>()
        + request.schema.as_ref().map_or(0, |schema| schema.schema.to_string().len());
    Usage {
        input_tokens: tokens(input),
        output_tokens: tokens(text.len() + calls.iter().map(of_call).sum::<usize>()),
        cached_tokens: 0,
    }
}

fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(BYTES_A_TOKEN)).unwrap_or(u64::MAX)
}
