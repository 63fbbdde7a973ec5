//! Stories of the engine: what it plans, what it calls, and tickets played to their end.

mod plans;
mod properties;
mod provider;
mod tickets;
mod toolbox;
mod turns;
mod wordings;

use serde_json::{Value, json};

use super::{super::chat::*, answer};

/// The tools that an agent has.
const TOOLS: [&str; 7] =
    ["read_file", "write_file", "list_files", "search", "apply_patch", "run_command", "delete_file"];

fn tool(name: &str) -> ToolSpec {
    ToolSpec { name: name.into(), description: String::new(), parameters: json!({ "type": "object" }) }
}

/// An agent's request for a task.
fn task(text: &str) -> Request {
    Request {
        messages: vec![Message::User { text: text.into() }],
        tools: TOOLS.map(tool).to_vec(),
        ..Request::default()
    }
}

/// A request in a form, with JSON as its one message.
fn form(name: &str, message: &Value) -> Request {
    Request {
        messages: vec![Message::User { text: message.to_string() }],
        schema: Some(Schema { name: name.into(), schema: json!({}) }),
        ..Request::default()
    }
}

/// Adds an answer and what came of its call.
fn came(request: &mut Request, answer: &Answer, text: &str, is_error: bool) {
    let call = answer.calls[0].clone();
    let (id, name) = (call.id.clone(), call.name.clone());
    request.messages.push(Message::Assistant { text: answer.text.clone(), calls: vec![call] });
    request.messages.push(Message::Tool { call: id, name, text: text.into(), is_error });
}

/// The sentence without how to set a model.
fn needs(answer: &Answer) -> Option<String> {
    let Finish::NeedsModel(sentence) = &answer.finish else { return None };
    Some(sentence.split(" The built-in engine does only").next().unwrap_or_default().to_owned())
}

/// Plays a task with tools that say `results` in turn: the calls, one a line, and how it ends.
fn story(text: &str, results: &[Result<&str, &str>]) -> String {
    let mut request = task(text);
    let mut lines = Vec::new();
    for turn in 0..100 {
        let answer = answer(&request).unwrap();
        match &answer.finish {
            Finish::ToolCalls => {
                let call = &answer.calls[0];
                lines.push(format!("{} {} {}", call.id, call.name, call.arguments));
                let result = results.get(turn).copied().unwrap_or(Ok("done"));
                came(&mut request, &answer, result.unwrap_or_else(|error| error), result.is_err());
            }
            Finish::NeedsModel(_) => {
                lines.push(format!("needs a model: {}", needs(&answer).unwrap()));
                return lines.join("\n");
            }
            Finish::Stop | Finish::Length | Finish::Refused => {
                lines.push(answer.text);
                return lines.join("\n");
            }
        }
    }
    panic!("it goes on and on")
}
