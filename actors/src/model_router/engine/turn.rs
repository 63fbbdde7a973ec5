//! The next call of an agent that does what a ticket states literally.
//!
//! **Invariant:** nothing is remembered between turns: where the agent is follows from the calls and results
//! of the conversation, which must be the very ones that the ticket leads to.

use serde_json::{Value, json};

use super::{
    Reply,
    document::{Document, without_front_matter},
    instruction::{Change, Instruction, done},
    reading::{Reading, Unclear},
    ticket::wanted,
    words::{counted, shortened},
};
use crate::model_router::chat::{Message, Request, ToolCall};

/// The longest quotation of the ticket in a sentence about it, in characters.
const QUOTE_MAX: usize = 160;
/// At most so many sentences are named as context.
const NAMED_MAX: usize = 3;
/// A task with more things to do is too large for one agent.
const INSTRUCTIONS_MAX: usize = 1000;
/// At most so many pages of a file are read.
const PAGES_MAX: usize = 64;
/// What the tool says of a file without content.
const EMPTY_FILE: &str = "[the file is empty]";
/// So many of the last lines of a failed command are told.
const LINES_TOLD: usize = 8;

/// What the agent does next.
pub(super) fn next(request: &Request) -> Reply {
    let task = request.messages.iter().find_map(|message| match message {
        Message::User { text } => Some(text.as_str()),
        Message::Assistant { .. } | Message::Tool { .. } => None,
    });
    let Some(task) = task else {
        return Reply::Needs("There is no task in the conversation".into());
    };
    let document = Document::parse(without_front_matter(task));
    let wanted = wanted(&document);
    let Some(reading) = wanted.reading else {
        return Reply::Needs(
            "Tests failed, and the ticket has no section \"If the tests fail\" that states what to change"
                .into(),
        );
    };
    if let Some(unclear) = reading.unclear.first() {
        return Reply::Needs(about(unclear, reading.unclear.len()));
    }
    if reading.instructions.is_empty() {
        let section = if wanted.has_failed { "the section \"If the tests fail\"" } else { "the ticket" };
        return Reply::Needs(format!(
            "Nothing in {section} is stated literally (the content of a file, a replacement, a diff or a \
             command): {:?}",
            shortened(task, QUOTE_MAX)
        ));
    }
    if reading.instructions.len() > INSTRUCTIONS_MAX {
        return Reply::Needs(format!(
            "The ticket states more than {INSTRUCTIONS_MAX} things to do in one step; split it with headings"
        ));
    }
    let mut replay = Replay::of(request);
    for instruction in &reading.instructions {
        if let Err(reply) = replay.perform(instruction) {
            return reply;
        }
    }
    Reply::Text(summary(&reading))
}

fn about(unclear: &Unclear, number: usize) -> String {
    let more = match number {
        0 | 1 => String::new(),
        _ => format!(" (and {} more)", counted(number - 1, "such instruction")),
    };
    format!("The ticket says {:?}, but {}{more}", shortened(&unclear.sentence, QUOTE_MAX), unclear.why)
}

fn summary(reading: &Reading) -> String {
    let text = done(&reading.instructions);
    let told: Vec<String> = reading
        .context
        .iter()
        .filter(|sentence| sentence.contains(' '))
        .map(|sentence| format!("{:?}", shortened(sentence, QUOTE_MAX / 2).trim_end_matches('.')))
        .collect();
    if told.is_empty() {
        return text;
    }
    let named = told.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    let more = match told.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{text} Read as context, not acted on: {named}{more}.")
}

/// The conversation so far, gone through again.
struct Replay<'r> {
    request: &'r Request,
    /// Each call with what came of it.
    past: Vec<(&'r ToolCall, Option<Outcome<'r>>)>,
    at: usize,
}

#[derive(Clone, Copy)]
struct Outcome<'r> {
    text: &'r str,
    is_error: bool,
}

impl<'r> Replay<'r> {
    fn of(request: &'r Request) -> Self {
        let mut past: Vec<(&ToolCall, Option<Outcome<'_>>)> = Vec::new();
        for message in &request.messages {
            match message {
                Message::User { .. } => {}
                Message::Assistant { calls, .. } => past.extend(calls.iter().map(|call| (call, None))),
                Message::Tool { call, text, is_error, .. } => {
                    let waits = past.iter_mut().rev().find(|(past, came)| came.is_none() && past.id == *call);
                    if let Some((_, came)) = waits {
                        *came = Some(Outcome { text, is_error: *is_error });
                    }
                }
            }
        }
        Self { request, past, at: 0 }
    }

    /// What came of a call; the call itself when its turn is now.
    fn call(&mut self, name: &str, arguments: &Value) -> Result<Outcome<'r>, Reply> {
        while let Some((call, came)) = self.past.get(self.at) {
            let said: Option<Value> = serde_json::from_str(&call.arguments).ok();
            if call.name != name || said.as_ref() != Some(arguments) {
                return Err(Reply::Needs(format!(
                    "The conversation holds a call of `{}` that does not follow from the ticket's words, so \
                     another model began it",
                    shortened(&call.name, QUOTE_MAX)
                )));
            }
            self.at += 1;
            if let Some(came) = came {
                return Ok(*came);
            }
        }
        if !self.request.tools.iter().any(|tool| tool.name == name) {
            return Err(Reply::Needs(format!(
                "The ticket asks for what only the tool `{name}` can do, and this agent may not use it"
            )));
        }
        Err(Reply::Call(ToolCall { id: self.id(), name: name.to_owned(), arguments: arguments.to_string() }))
    }

    fn id(&self) -> String {
        let is_taken = |id: &String| self.past.iter().any(|(call, _)| call.id == *id);
        let mut number = self.past.len() + 1;
        while is_taken(&format!("call-{number}")) {
            number += 1;
        }
        format!("call-{number}")
    }

    /// Calls a tool that must do well.
    fn must(&mut self, name: &str, arguments: &Value, failed: &str) -> Result<&'r str, Reply> {
        let came = self.call(name, arguments)?;
        if came.is_error {
            return Err(Reply::Needs(format!("{failed}: {}", shortened(came.text, 2 * QUOTE_MAX))));
        }
        Ok(came.text)
    }

    fn perform(&mut self, instruction: &Instruction) -> Result<(), Reply> {
        match instruction {
            Instruction::Write { path, content, is_executable } => {
                self.write(path, content, *is_executable)?;
            }
            Instruction::Edit { path, change } => {
                let content = self.read(path, !matches!(change, Change::Replace { .. }))?;
                let changed = changed(&content, change).map_err(|why| {
                    Reply::Needs(format!("The ticket asks for a replacement in `{path}`, but {why}"))
                })?;
                self.write(path, &changed, false)?;
            }
            Instruction::Patch(patch) => {
                self.must(
                    "apply_patch",
                    &json!({ "patch": patch }),
                    "The ticket's diff could not be applied",
                )?;
            }
            Instruction::Delete(path) => {
                let failed = format!("`{path}` could not be deleted");
                self.must("delete_file", &json!({ "path": path }), &failed)?;
            }
            Instruction::Run(command) => self.run(command)?,
            Instruction::MakeExecutable(path) => {
                let content = self.read(path, false)?;
                self.write(path, &content, true)?;
            }
        }
        Ok(())
    }

    /// The whole content of a file, page by page; nothing when it is not there and need not be.
    fn read(&mut self, path: &str, may_be_missing: bool) -> Result<String, Reply> {
        let mut content = String::new();
        let mut arguments = json!({ "path": path });
        for _ in 0..PAGES_MAX {
            let came = self.call("read_file", &arguments)?;
            let is_first = content.is_empty();
            if came.is_error {
                if may_be_missing && is_first && came.text.to_lowercase().contains("no such file") {
                    return Ok(content);
                }
                let why = shortened(came.text, 2 * QUOTE_MAX);
                return Err(Reply::Needs(format!("`{path}` could not be read: {why}")));
            }
            if is_first && came.text == EMPTY_FILE {
                return Ok(content);
            }
            match page(came.text) {
                Page::Last => {
                    content.push_str(came.text);
                    return Ok(content);
                }
                Page::More { text, next } => {
                    content.push_str(text);
                    arguments = json!({ "path": path, "startLine": next });
                }
                Page::Cut => break,
            }
        }
        Err(Reply::Needs(format!("`{path}` is too large to be read as a whole")))
    }

    fn write(&mut self, path: &str, content: &str, is_executable: bool) -> Result<(), Reply> {
        let mut arguments = json!({ "path": path, "content": content });
        if is_executable {
            arguments["executable"] = Value::Bool(true);
        }
        self.must("write_file", &arguments, &format!("`{path}` could not be written"))?;
        Ok(())
    }

    fn run(&mut self, command: &str) -> Result<(), Reply> {
        let came = self.call("run_command", &json!({ "command": command }))?;
        if !came.is_error {
            return Ok(());
        }
        let lines: Vec<&str> = came.text.trim_end().lines().collect();
        let last = lines[lines.len().saturating_sub(LINES_TOLD)..].join(" / ");
        Err(Reply::Needs(format!(
            "`{}` failed and the ticket does not say what to do then; its last lines: {:?}",
            shortened(command.trim_start_matches("set -e\n"), QUOTE_MAX),
            shortened(&last, 4 * QUOTE_MAX)
        )))
    }
}

/// What one reading of a file gave.
enum Page<'t> {
    /// The rest of the file.
    Last,
    /// Lines, and the number of the next.
    More { text: &'t str, next: u64 },
    /// A part of a line.
    Cut,
}

/// Tells a file's text from the note that the tool leaves under it when it is not all.
fn page(text: &str) -> Page<'_> {
    let start = text.rfind('\n').map_or(0, |end| end + 1);
    let note = text[start..].strip_prefix('[').and_then(|note| note.strip_suffix(']')).unwrap_or_default();
    if let Some(next) = note.rsplit_once("; go on with startLine ").and_then(|(_, next)| next.parse().ok()) {
        Page::More { text: &text[..start], next }
    } else if note.starts_with("line ") && note.ends_with(" more bytes of it are left out")
        || text.contains(" bytes are left out here …]\n")
    {
        Page::Cut
    } else {
        Page::Last
    }
}

/// The content after a change.
fn changed(content: &str, change: &Change) -> Result<String, String> {
    match change {
        Change::Prepend(text) => Ok(format!("{text}{content}")),
        Change::Append(text) => {
            let joint = if content.is_empty() || content.ends_with('\n') { "" } else { "\n" };
            Ok(format!("{content}{joint}{text}"))
        }
        Change::Replace { old, new, every, is_lines } => replaced(content, old, new, *every, *is_lines),
    }
}

fn replaced(content: &str, old: &str, new: &str, every: bool, is_lines: bool) -> Result<String, String> {
    let quote = shortened(old, QUOTE_MAX / 2);
    if old.is_empty() {
        return Err("the text to look for is empty".into());
    }
    let mut places: Vec<usize> = content.match_indices(old).map(|(place, _)| place).collect();
    if is_lines {
        let is_start = |place: &usize| *place == 0 || content.as_bytes()[place - 1] == b'\n';
        if places.iter().any(is_start) {
            places.retain(is_start);
        }
        // The last line of a file may have no end.
        if let (true, Some(bare)) = (places.is_empty(), old.strip_suffix('\n').filter(|old| !old.is_empty()))
            && let Some(before) = content.strip_suffix(bare)
        {
            return Ok(format!("{before}{}", new.strip_suffix('\n').unwrap_or(new)));
        }
    }
    match places.len() {
        0 => return Err(format!("{quote:?} does not occur in it")),
        number if number > 1 && !every => {
            return Err(format!("{quote:?} occurs {number} times in it and which one is meant is not said"));
        }
        _ => {}
    }
    let mut text = String::with_capacity(content.len());
    let mut at = 0;
    for place in places {
        text.push_str(&content[at..place]);
        text.push_str(new);
        at = place + old.len();
    }
    text.push_str(&content[at..]);
    Ok(text)
}
