//! Keeps what is shown of a step small: texts that are long are cut, and their turn says so.
//!
//! Lengths are those that texts have in JSON, where a letter may take six bytes. The stream of the step tells
//! everything whole, one turn at a time.

use cendriix_protocol::agent_steps::AgentTurn;
use serde_json::{Map, Value};

/// The most that the texts of all turns take, in bytes.
const TURNS_MAX: usize = 1 << 20;
/// The most that the output takes, in bytes.
const OUTPUT_MAX: usize = 64 << 10;
/// So many calls of a turn are shown; no more are made.
const CALLS_MAX: usize = 32;
/// The most that the id or the name of a call takes, in bytes.
const NAME_MAX: usize = 128;
/// Stands where something was cut.
const MORE: char = '…';

/// What may still be shown of a step's turns.
#[derive(Debug)]
pub(super) struct Room {
    left: usize,
    turns: usize,
}

impl Room {
    /// Room for so many turns.
    pub(super) fn for_turns(turns: usize) -> Self {
        Self { left: TURNS_MAX, turns }
    }

    /// Cuts the next turn down to its share of what is left; what it does not need is for those after it.
    pub(super) fn fit(&mut self, turn: &mut AgentTurn) {
        let share = self.left / self.turns.max(1);
        self.turns = self.turns.saturating_sub(1);
        let mut cut = turn.tool_calls.len() > CALLS_MAX;
        turn.tool_calls.truncate(CALLS_MAX);
        let mut lengths = vec![length(&turn.text)];
        for call in &mut turn.tool_calls {
            cut |= shorten(&mut call.id, NAME_MAX) | shorten(&mut call.name, NAME_MAX);
            lengths.push(call.arguments.to_string().len());
            lengths.extend(call.result.iter().map(|result| length(&result.text)));
        }
        let most = fair(&lengths, share);
        cut |= shorten(&mut turn.text, most);
        for call in &mut turn.tool_calls {
            cut |= shorten_arguments(&mut call.arguments, most);
            cut |= call.result.as_mut().is_some_and(|result| shorten(&mut result.text, most));
        }
        turn.truncated = cut;
        let used: usize = lengths.iter().map(|length| length.min(&most)).sum();
        self.left = self.left.saturating_sub(used);
    }
}

/// Cuts what a step came to; true when it was too long.
pub(super) fn output(text: &mut String) -> bool {
    shorten(text, OUTPUT_MAX)
}

/// How long a text of several may be, so that all of them together take at most `total`: short ones stay
/// whole.
fn fair(lengths: &[usize], total: usize) -> usize {
    let mut sorted = lengths.to_vec();
    sorted.sort_unstable();
    let mut left = total;
    for (place, length) in sorted.iter().enumerate() {
        let each = left / (sorted.len() - place);
        if *length > each {
            return each;
        }
        left -= length;
    }
    usize::MAX
}

/// How many bytes a letter takes in JSON.
fn width(letter: char) -> usize {
    match letter {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        _ => letter.len_utf8(),
    }
}

fn length(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// Cuts a text; true when it was too long.
fn shorten(text: &mut String, most: usize) -> bool {
    if text.len() <= most && length(text) <= most {
        return false;
    }
    let room = most.saturating_sub(MORE.len_utf8());
    let mut written = 0;
    let end = text.char_indices().find(|(_, letter)| {
        written += width(*letter);
        written > room
    });
    text.truncate(end.map_or(0, |(place, _)| place));
    text.push(MORE);
    true
}

/// Cuts the arguments of a call, each by itself where they are named; true when they were too long.
fn shorten_arguments(arguments: &mut Value, most: usize) -> bool {
    let written = arguments.to_string();
    if written.len() <= most {
        return false;
    }
    if let Value::Object(fields) = arguments {
        shorten_fields(fields, most);
        if arguments.to_string().len() <= most {
            return true;
        }
    }
    let mut text = if let Value::String(text) = arguments { std::mem::take(text) } else { written };
    shorten(&mut text, most.saturating_sub(2));
    *arguments = Value::String(text);
    true
}

fn shorten_fields(fields: &mut Map<String, Value>, most: usize) {
    let names: usize = fields.keys().map(|name| length(name) + 6).sum();
    let lengths: Vec<usize> = fields.values().map(|value| value.to_string().len()).collect();
    let each = fair(&lengths, most.saturating_sub(names + 2));
    for value in fields.values_mut().filter(|value| value.to_string().len() > each) {
        let mut text = if let Value::String(text) = value { std::mem::take(text) } else { value.to_string() };
        shorten(&mut text, each.saturating_sub(2));
        *value = Value::String(text);
    }
}

#[cfg(test)]
mod tests {
    use cendriix_protocol::{
        agent_steps::{AgentToolCall, ToolResult},
        money::MicroUsd,
        time::Timestamp,
    };
    use serde_json::json;

    use super::*;

    fn turn(text: &str, calls: usize, arguments: &Value, result: &str) -> AgentTurn {
        let result = ToolResult { text: result.to_owned(), is_error: false, duration_ms: 1 };
        let call = |number| AgentToolCall {
            id: format!("call-{number}"),
            name: "write_file".to_owned(),
            arguments: arguments.clone(),
            result: Some(result.clone()),
        };
        AgentTurn {
            number: 1,
            model: "m".to_owned(),
            text: text.to_owned(),
            tool_calls: (0..calls).map(call).collect(),
            input_tokens: 0,
            output_tokens: 0,
            cost_usd: MicroUsd(0),
            latency_ms: 0,
            at: Timestamp(0),
            truncated: false,
        }
    }

    #[test]
    fn what_is_small_stays_whole() {
        let whole = turn("Done.", 2, &json!({ "path": "a", "content": "x\n" }), "ok\n");
        let mut shown = whole.clone();
        Room::for_turns(200).fit(&mut shown);
        assert_eq!(shown, whole);
    }

    #[test]
    fn the_longest_texts_of_a_turn_are_cut_and_it_says_so() {
        let arguments = json!({ "path": "a.txt", "content": "\u{1}".repeat(1 << 20) });
        let mut shown = turn("I write it.", 1, &arguments, &"ü".repeat(1 << 20));
        Room::for_turns(2).fit(&mut shown);
        assert!(shown.truncated);
        assert_eq!(
            (shown.text.as_str(), &shown.tool_calls[0].arguments["path"]),
            ("I write it.", &json!("a.txt"))
        );
        assert!(shown.tool_calls[0].arguments["content"].as_str().unwrap().ends_with("\u{1}…"));
        assert!(shown.tool_calls[0].result.as_ref().unwrap().text.ends_with("ü…"));
        let written = serde_json::to_string(&shown).unwrap().len();
        assert!((500_000..525_000).contains(&written), "{written}");
    }

    #[test]
    fn the_longest_step_is_shown_in_bounded_space() {
        let text = "\u{1}\"ü".repeat(300);
        let names: Map<String, Value> =
            (0..100).map(|number| (format!("name {number}"), json!([text.len()]))).collect();
        let arguments = [json!({ "a": text, "b": [text] }), json!(names), json!(text), json!([text])];
        let mut room = Room::for_turns(200);
        let mut written = 0;
        for number in 0..200 {
            let mut shown = turn(&text, 40, &arguments[number % 4], &text);
            room.fit(&mut shown);
            assert!(shown.truncated);
            written += serde_json::to_string(&shown).unwrap().len();
        }
        // Texts, and what stands around 200 turns of 32 calls.
        assert!(written < TURNS_MAX + 200 * (32 * 160 + 300), "{written}");
    }
}
