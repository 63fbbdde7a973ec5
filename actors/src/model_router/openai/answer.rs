//! An answer, joined from its pieces.

use std::collections::BTreeSet;

use serde::Deserialize as _;
use serde_json::Value;

use super::{
    failure::{error, in_stream},
    wire::{CallPiece, Piece, Usage},
};
use crate::model_router::{
    chat::{self, Finish, Message, Request, ToolCall},
    provider::{Class, Error},
};

/// The most bytes of an answer's text and arguments.
const ANSWER_MAX: usize = 8 << 20;
/// The most calls of an answer.
const CALLS_MAX: usize = 128;

/// An answer that is being written.
#[derive(Debug, Default)]
pub(super) struct Joined {
    text: String,
    refusal: String,
    calls: Vec<Call>,
    finish: Option<String>,
    usage: Option<chat::Usage>,
    has_choice: bool,
}

#[derive(Debug)]
struct Call {
    index: u32,
    id: String,
    name: String,
    arguments: String,
}

impl Joined {
    /// Takes a piece in and gives the text that it adds.
    pub(super) fn take(&mut self, endpoint: &str, bytes: &[u8]) -> Result<String, Error> {
        let bad = |said: String| error(Class::BadAnswer, format!("{endpoint} answered nonsense: {said}"));
        let value: Value = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        let piece = Piece::deserialize(&value).map_err(|error| bad(error.to_string()))?;
        if piece.object.as_deref() == Some("error") {
            return Err(in_stream(endpoint, &value));
        }
        if let Some(failure) = piece.error.filter(|failure| !failure.is_null()) {
            return Err(in_stream(endpoint, &failure));
        }
        self.usage = piece.usage.as_ref().and_then(used).or(self.usage);
        let mut added = String::new();
        for choice in piece.choices.into_iter().filter(|choice| choice.index == 0) {
            self.has_choice = true;
            added += &content(choice.delta.content);
            self.refusal += choice.delta.refusal.as_deref().unwrap_or_default();
            for call in choice.delta.tool_calls {
                self.call(call);
            }
            self.finish = choice.finish_reason.or(self.finish.take());
        }
        self.text += &added;
        let arguments: usize = self.calls.iter().map(|call| call.arguments.len()).sum();
        let is_large = self.text.len() + self.refusal.len() + arguments > ANSWER_MAX;
        if is_large || self.calls.len() > CALLS_MAX {
            return Err(error(Class::BadAnswer, format!("{endpoint} answered more than anybody can use")));
        }
        Ok(added)
    }

    fn call(&mut self, piece: CallPiece) {
        let id = piece.id.unwrap_or_default();
        let name = piece.function.name.unwrap_or_default();
        let place = self.place(piece.index, &id);
        let place = place.unwrap_or_else(|| {
            let index = piece.index.unwrap_or_else(|| u32::try_from(self.calls.len()).unwrap_or(u32::MAX));
            self.calls.push(Call { index, id: String::new(), name: String::new(), arguments: String::new() });
            self.calls.len() - 1
        });
        let call = &mut self.calls[place];
        if call.id.is_empty() {
            call.id = id;
        }
        if call.name.is_empty() {
            call.name = name;
        }
        match piece.function.arguments {
            Some(Value::String(text)) => call.arguments += &text,
            None | Some(Value::Null) => {}
            Some(object @ (Value::Object(_) | Value::Array(_) | Value::Bool(_) | Value::Number(_))) => {
                call.arguments += &object.to_string();
            }
        }
    }

    /// Which of the calls a piece belongs to; `None`: it begins one. Some servers leave the index out, others
    /// give all calls the same but each its id.
    fn place(&self, index: Option<u32>, id: &str) -> Option<usize> {
        let place = match index {
            Some(index) => self.calls.iter().rposition(|call| call.index == index)?,
            None => self.calls.len().checked_sub(1)?,
        };
        let is_another = !id.is_empty() && !self.calls[place].id.is_empty() && self.calls[place].id != id;
        let is_unnamed_whole = index.is_none() && id.is_empty() && is_json(&self.calls[place].arguments);
        (!is_another && !is_unnamed_whole).then_some(place)
    }

    /// The answer, once the stream has ended; `was_ended`: it said so itself.
    pub(super) fn finish(
        self,
        endpoint: &str,
        request: &Request,
        was_ended: bool,
    ) -> Result<chat::Answer, Error> {
        if !was_ended && self.finish.is_none() {
            return Err(error(Class::Failed, format!("the answer of {endpoint} broke off")));
        }
        if !self.has_choice {
            return Err(error(Class::BadAnswer, format!("{endpoint} answered nothing")));
        }
        let calls = named(self.calls, request);
        let finish = match self.finish.as_deref() {
            Some("length") => Finish::Length,
            Some("content_filter") => Finish::Refused,
            _ if !calls.is_empty() => Finish::ToolCalls,
            _ if !self.refusal.is_empty() => Finish::Refused,
            _ => Finish::Stop,
        };
        let text = if self.text.is_empty() { self.refusal } else { self.text };
        Ok(chat::Answer { text, calls, finish, usage: self.usage })
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Text stands as itself, or as a list of parts.
fn content(content: Option<Value>) -> String {
    match content {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => {
            parts.iter().filter_map(|part| part.get("text").and_then(Value::as_str)).collect()
        }
        None | Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => String::new(),
    }
}

fn used(usage: &Usage) -> Option<chat::Usage> {
    Some(chat::Usage {
        input_tokens: usage.prompt_tokens?,
        output_tokens: usage.completion_tokens.unwrap_or(0),
        cached_tokens: usage.prompt_tokens_details.cached_tokens.unwrap_or(0),
    })
}

/// Gives each call an id that no other call of the conversation has, and arguments that are never empty.
fn named(calls: Vec<Call>, request: &Request) -> Vec<ToolCall> {
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for message in &request.messages {
        if let Message::Assistant { calls, .. } = message {
            taken.extend(calls.iter().map(|call| call.id.clone()));
        }
    }
    let turn = request.messages.len();
    let mut named = Vec::with_capacity(calls.len());
    for (number, call) in calls.into_iter().enumerate() {
        let made_up = (0..).map(|again: usize| match again {
            0 => format!("call_{turn}_{number}"),
            again => format!("call_{turn}_{number}_{again}"),
        });
        let own = Some(call.id).filter(|id| !id.is_empty());
        let mut ids = own.into_iter().chain(made_up);
        let Some(id) = ids.find(|id| taken.insert(id.clone())) else { continue };
        let arguments = if call.arguments.trim().is_empty() { "{}".to_owned() } else { call.arguments };
        named.push(ToolCall { id, name: call.name, arguments });
    }
    named
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn join(pieces: &[Value], was_ended: bool) -> Result<chat::Answer, Error> {
        let mut joined = Joined::default();
        for piece in pieces {
            joined.take("local", piece.to_string().as_bytes())?;
        }
        joined.finish("local", &Request::default(), was_ended)
    }

    fn delta(delta: &Value) -> Value {
        json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": null }] })
    }

    fn calls(pieces: &[Value]) -> Vec<(String, String, String)> {
        let calls = join(pieces, true).unwrap().calls.into_iter();
        calls.map(|call| (call.id, call.name, call.arguments)).collect()
    }

    fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
        (id.to_owned(), name.to_owned(), arguments.to_owned())
    }

    #[test]
    fn text_and_usage_are_joined() {
        let usage = json!({ "choices": [], "usage": { "prompt_tokens": 9, "completion_tokens": 2,
            "prompt_tokens_details": { "cached_tokens": 4 } } });
        let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }], "usage": null });
        let pieces = [
            delta(&json!({ "role": "assistant", "content": "he" })),
            delta(&json!({ "content": "llo" })),
            end,
            usage,
        ];
        let answer = join(&pieces, true).unwrap();
        assert_eq!((answer.text.as_str(), &answer.finish), ("hello", &Finish::Stop));
        assert_eq!(answer.usage, Some(chat::Usage { input_tokens: 9, output_tokens: 2, cached_tokens: 4 }));
    }

    #[test]
    fn calls_are_joined_by_index_however_they_are_cut() {
        let pieces = [
            delta(
                &json!({ "tool_calls": [{ "index": 0, "id": "a", "function": { "name": "read", "arguments": "" } }] }),
            ),
            delta(&json!({ "tool_calls": [{ "index": 1, "id": "b", "function": { "name": "list" } }] })),
            delta(&json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "{\"p\":" } }] })),
            delta(&json!({ "tool_calls": [{ "index": 0, "function": { "arguments": "1}" } }] })),
        ];
        assert_eq!(calls(&pieces), [call("a", "read", "{\"p\":1}"), call("b", "list", "{}")]);
    }

    #[test]
    fn calls_of_servers_that_are_less_exact_are_understood_too() {
        let whole =
            |id: &str, name: &str| json!({ "id": id, "function": { "name": name, "arguments": { "p": 1 } } });
        let no_index = delta(&json!({ "tool_calls": [whole("", "read"), whole("", "list")] }));
        assert_eq!(
            calls(&[no_index]),
            [call("call_0_0", "read", "{\"p\":1}"), call("call_0_1", "list", "{\"p\":1}")]
        );
        let same_index =
            |id: &str| json!({ "index": 0, "id": id, "function": { "name": id, "arguments": "{}" } });
        let same = [
            delta(&json!({ "tool_calls": [same_index("a")] })),
            delta(&json!({ "tool_calls": [same_index("b")] })),
        ];
        assert_eq!(calls(&same), [call("a", "a", "{}"), call("b", "b", "{}")]);
        let twice = [delta(&json!({ "tool_calls": [
            { "index": 0, "id": "a", "function": { "name": "x" } }, { "index": 1, "id": "a", "function": { "name": "y" } },
        ] }))];
        assert_eq!(calls(&twice), [call("a", "x", "{}"), call("call_0_1", "y", "{}")]);
        let null = delta(&json!({ "content": null, "tool_calls": null }));
        assert_eq!(calls(&[null]), []);
    }

    #[test]
    fn a_whole_answer_with_calls_waits_for_them_even_if_it_says_stop() {
        let whole = json!({ "choices": [{ "message": { "content": null, "tool_calls": [
            { "id": "a", "type": "function", "function": { "name": "read", "arguments": "{}" } },
        ] }, "finish_reason": "stop" }] });
        let answer = join(&[whole], true).unwrap();
        assert_eq!((answer.finish, answer.usage, answer.calls.len()), (Finish::ToolCalls, None, 1));
    }

    #[test]
    fn refusals_and_cut_answers_are_known_as_such() {
        let end =
            |reason: &str| json!({ "choices": [{ "delta": { "content": "x" }, "finish_reason": reason }] });
        assert_eq!(join(&[end("length")], true).unwrap().finish, Finish::Length);
        assert_eq!(join(&[end("content_filter")], true).unwrap().finish, Finish::Refused);
        let refusal = join(&[delta(&json!({ "refusal": "no" }))], true).unwrap();
        assert_eq!((refusal.text.as_str(), refusal.finish), ("no", Finish::Refused));
        assert_eq!(join(&[end("stop")], false).unwrap().finish, Finish::Stop);
        assert_eq!(join(&[delta(&json!({ "content": "x" }))], false).unwrap_err().class, Class::Failed);
        assert_eq!(join(&[], true).unwrap_err().class, Class::BadAnswer);
    }

    #[test]
    fn a_failure_inside_the_stream_is_one_in_both_shapes() {
        let failed = |piece: Value| join(&[piece], true).unwrap_err();
        let newer =
            failed(json!({ "error": { "message": "overloaded", "type": "server_error", "code": null } }));
        assert_eq!((newer.class, newer.message.contains("overloaded")), (Class::Failed, true));
        let older = failed(json!({ "object": "error", "message": "too fast", "type": "x", "code": 429 }));
        assert_eq!((older.class, older.message.contains("too fast")), (Class::RateLimited, true));
        let mut joined = Joined::default();
        assert_eq!(joined.take("local", b"<html>").unwrap_err().class, Class::BadAnswer);
        assert_eq!(joined.take("local", b"{\"choices\":7}").unwrap_err().class, Class::BadAnswer);
    }
}
