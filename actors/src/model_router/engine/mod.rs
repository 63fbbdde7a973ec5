//! The built-in engine: classical, deterministic processing of text, without a language model.
//!
//! It plans a ticket by its own structure, does what a ticket states literally, looks over a diff, says what
//! kind a text is and makes a summary of its sentences. All else ends in [`Finish::NeedsModel`] with a
//! sentence on what it could not do and how to set a model.
//!
//! **Invariant:** no clock and no chance: the same request has the same answer.
//!
//! Plans, reviews and calls are never cut, whatever `max_tokens` says: they would be of no use; summaries
//! are.

mod classify;
mod document;
mod instruction;
mod meaning;
mod phrases;
mod plan;
mod reading;
mod review;
mod scripts;
mod summarise;
mod ticket;
mod turn;
mod usage;
mod words;

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use cendriix_protocol::model_router::TaskType;
use serde::Deserialize;

pub use plan::{Plan, STEPS_MAX, Step, plan};
pub use review::{FINDINGS_MAX, Finding, Review, Severity, Verdict, review};

use super::{
    chat::{Answer, Finish, Message, Request, ToolCall},
    provider::{Call, Class, Error, Provider},
};

/// The name of the one model that the engine is.
pub const MODEL: &str = "cendriix-rules-1";

/// The most text of a request, in bytes.
const REQUEST_MAX: usize = 16 * 1024 * 1024;

/// How to set a model, for people.
const HOW_TO_SET: &str = "The built-in engine does only what a ticket states literally; for more, set a \
    model: set OPENAI_API_KEY, or OPENAI_BASE_URL for a local server such as Ollama, and run again.";

/// The built-in engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Engine;

#[async_trait]
impl Provider for Engine {
    async fn ask(&self, model: &str, request: &Request, call: Call) -> Result<Answer, Error> {
        if model != MODEL {
            return Err(wrong(format!("there is no model {model:?} here; the built-in engine is {MODEL:?}")));
        }
        let asked = request.clone();
        let working = tokio::task::spawn_blocking(move || answer(&asked));
        let answer = tokio::select! {
            biased;
            () = call.stop.cancelled() => return Err(stopped()),
            answer = working => answer.map_err(|error| Error {
                class: Class::Failed,
                message: format!("the built-in engine ended early: {error}"),
                retry_after: None,
            })??,
        };
        if let Some(deltas) = call.deltas.filter(|_| !answer.text.is_empty()) {
            // A reader that does not keep up goes without.
            let _ = deltas.try_send(answer.text.clone());
        }
        Ok(answer)
    }
}

/// What the engine says to a request.
///
/// # Errors
///
/// When the request is not one it can read: too long, or a ticket or diff that is not the JSON it should be.
pub fn answer(request: &Request) -> Result<Answer, Error> {
    let length: usize = request.messages.iter().map(length).sum();
    if length > REQUEST_MAX {
        return Err(wrong(format!("the request has {length} bytes, more than {REQUEST_MAX}")));
    }
    let reply = match request.schema.as_ref().map(|schema| schema.name.as_str()) {
        Some("run_plan") => {
            let Ticket { title, body } = last(request)?;
            json(&plan(&title, &body))?
        }
        Some("review") => {
            let Change { title, diff } = last(request)?;
            json(&review(&title, &diff))?
        }
        _ if !request.tools.is_empty() => turn::next(request),
        Some(other) => {
            Reply::Needs(format!("The answer is wanted in the form {:?}", words::shortened(other, 80)))
        }
        None => in_words(request),
    };
    Ok(reply.answer(request))
}

fn length(message: &Message) -> usize {
    match message {
        Message::User { text } | Message::Assistant { text, .. } | Message::Tool { text, .. } => text.len(),
    }
}

/// What is planned.
#[derive(Deserialize)]
struct Ticket {
    title: String,
    #[serde(default)]
    body: String,
}

/// What is reviewed.
#[derive(Deserialize)]
struct Change {
    title: String,
    diff: String,
}

/// What the user said last.
fn last_text(request: &Request) -> &str {
    let texts = request.messages.iter().rev().find_map(|message| match message {
        Message::User { text } => Some(text.as_str()),
        Message::Assistant { .. } | Message::Tool { .. } => None,
    });
    texts.unwrap_or_default()
}

fn last<'r, T: Deserialize<'r>>(request: &'r Request) -> Result<T, Error> {
    let text = last_text(request);
    serde_json::from_str(text)
        .map_err(|error| wrong(format!("the last message is not the JSON it should be: {error}")))
}

fn json(value: &impl serde::Serialize) -> Result<Reply, Error> {
    let text = serde_json::to_string(value).map_err(|error| Error {
        class: Class::Failed,
        message: format!("the answer cannot be written as JSON: {error}"),
        retry_after: None,
    })?;
    Ok(Reply::Text(text))
}

/// An answer without tools and without a form.
fn in_words(request: &Request) -> Reply {
    let prompt = last_text(request);
    let is_general = request.task_type == TaskType::General;
    if request.task_type == TaskType::Classification || is_general && classify::is_asked(prompt) {
        let system = request.system.as_deref().unwrap_or_default();
        classify::classify(system, prompt).map_or_else(Reply::Needs, Reply::Text)
    } else if request.task_type == TaskType::Summarisation || is_general && summarise::is_asked(prompt) {
        match summarise::summarise(prompt, request.max_tokens) {
            Some(summary) if summary.is_cut => Reply::Cut(summary.text),
            Some(summary) => Reply::Text(summary.text),
            None => Reply::Needs("The text has no sentences that a summary could be made of".into()),
        }
    } else {
        Reply::Needs(format!("{:?} asks for a text to be thought up", words::shortened(prompt, 160)))
    }
}

/// What the engine comes to.
#[derive(Debug)]
enum Reply {
    Text(String),
    /// A text that had no room for all of it.
    Cut(String),
    Call(ToolCall),
    /// What it could not do, without a full stop.
    Needs(String),
}

impl Reply {
    fn answer(self, request: &Request) -> Answer {
        let (text, calls, finish) = match self {
            Self::Text(text) => (text, Vec::new(), Finish::Stop),
            Self::Cut(text) => (text, Vec::new(), Finish::Length),
            Self::Call(call) => (String::new(), vec![call], Finish::ToolCalls),
            Self::Needs(what) => {
                let stop = if what.ends_with(['.', '!', '?']) { "" } else { "." };
                let sentence = format!("{what}{stop} {HOW_TO_SET}");
                (sentence.clone(), Vec::new(), Finish::NeedsModel(sentence))
            }
        };
        let usage = Some(usage::estimated(request, &text, &calls));
        Answer { text, calls, finish, usage }
    }
}

fn wrong(message: String) -> Error {
    Error { class: Class::Caller, message, retry_after: None }
}

fn stopped() -> Error {
    Error { class: Class::Stopped, message: "the request was stopped".into(), retry_after: None }
}
