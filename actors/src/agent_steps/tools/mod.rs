//! The built-in tools: what an agent can do to the work tree of its step.
//!
//! - `catalogue`: what the tools are called, and what a model reads about them. `arguments`: what it writes.
//! - `reading`, `listing`, `search`, `patch`: files, by the server's own way to them. `paths`: their names.
//! - `command`: what runs in the sandbox. `kept`: what is kept of what it prints.
//!
//! **Invariant:** whatever a model writes, a call answers with a text that the model can act on, and that is
//! no longer than [`TEXT_BYTES_MAX`].

mod arguments;
mod catalogue;
mod command;
mod kept;
mod listing;
mod patch;
mod paths;
mod reading;
mod search;

use std::{path::PathBuf, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use self::{
    catalogue::Tool,
    kept::Kept,
    paths::{Root, refusal},
};
use crate::{
    kit::machine::Effect,
    model_router::chat::ToolSpec,
    sandboxes::{ExecSpec, FileError, Limits, Mode, Site},
};

/// The longest answer of any tool, in bytes, but for a note where it was cut.
pub const TEXT_BYTES_MAX: usize = 128 << 10;

/// The least that is kept of what a command prints.
const OUTPUT_BYTES_MIN: usize = 256;

/// How much one call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimits {
    /// Time on the wall. A change to files that has begun is not cut short.
    pub timeout: Duration,
    /// What a command printed, as it is answered; a longer text is cut in the middle.
    pub output_bytes: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_mins(2), output_bytes: 32 << 10 }
    }
}

/// A piece of what a command prints, while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    Stdout(String),
    Stderr(String),
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What the model is told.
    pub text: String,
    /// Whether it did not do what was asked. A command that exits with anything but zero is such.
    pub is_error: bool,
    /// Whether something was left out of the text.
    pub truncated: bool,
    pub duration: Duration,
}

/// What a tool answers.
#[derive(Debug)]
struct Answer {
    text: String,
    is_error: bool,
    truncated: bool,
}

impl Answer {
    fn error(why: impl Into<String>) -> Self {
        Self { text: why.into(), is_error: true, truncated: false }
    }
}

impl From<Result<String, String>> for Answer {
    fn from(answer: Result<String, String>) -> Self {
        match answer {
            Ok(text) => Self { text, is_error: false, truncated: false },
            Err(why) => Self::error(why),
        }
    }
}

/// The built-in tools, on one work tree in a sandbox. A clone is the same.
#[derive(Clone, Debug)]
pub struct Toolbox {
    site: Site,
    root: Root,
    /// What every command begins with.
    spec: ExecSpec,
}

impl Toolbox {
    /// Tools for a tree.
    ///
    /// # Errors
    ///
    /// When there is no such directory.
    pub fn new(site: Site, tree: PathBuf) -> Result<Self, FileError> {
        let root = Root { files: site.files(&tree)?, inside: site.inside(&tree) };
        let nothing: [&str; 0] = [];
        Ok(Self { site, root, spec: ExecSpec::new(tree, nothing) })
    }

    /// The same tools, with other limits for commands; their time and output come with each call.
    #[must_use]
    pub fn limited(mut self, limits: Limits) -> Self {
        self.spec.limits = limits;
        self
    }

    /// What a model is told about the tools.
    pub fn specs() -> Vec<ToolSpec> {
        Tool::ALL.map(Tool::spec).to_vec()
    }

    /// What repeating a call would mean; none when there is no such tool.
    pub fn effect(&self, name: &str) -> Option<Effect> {
        effect(name, self.site.mode())
    }

    /// Calls a tool with arguments as a model wrote them.
    ///
    /// A follower is sent what a command prints while it runs, and misses what it is too slow to take. When
    /// this is dropped, a command is killed; files that are being changed still change.
    pub async fn call(
        &self,
        name: &str,
        arguments: &str,
        limits: CallLimits,
        live: Option<mpsc::Sender<Live>>,
        stop: CancellationToken,
    ) -> Outcome {
        let began = Instant::now();
        let answer = match Tool::named(name) {
            _ if stop.is_cancelled() => Answer::error("the call was stopped before it began"),
            Some(tool) => self.perform(tool, arguments, limits, live, stop).await,
            None => Answer::error(unknown(name)),
        };
        let (mut text, mut truncated) = (answer.text, answer.truncated);
        if text.len() > TEXT_BYTES_MAX {
            let mut kept = Kept::new(TEXT_BYTES_MAX);
            kept.push(&text);
            (text, truncated) = (kept.text(), true);
        }
        Outcome { text, is_error: answer.is_error, truncated, duration: began.elapsed() }
    }

    async fn perform(
        &self,
        tool: Tool,
        arguments: &str,
        limits: CallLimits,
        live: Option<mpsc::Sender<Live>>,
        stop: CancellationToken,
    ) -> Answer {
        let root = &self.root;
        let asked = match Asked::read(tool, arguments) {
            Ok(asked) => asked,
            Err(wrong) => return Answer::error(wrong),
        };
        match asked {
            Asked::ReadFile(asked) => in_time(limits, &stop, reading::read(root, &asked)).await,
            Asked::ListFiles(asked) => in_time(limits, &stop, listing::list(root, &asked)).await,
            Asked::Search(asked) => in_time(limits, &stop, search::search(root, &asked)).await,
            Asked::WriteFile(asked) => reading::write(root, asked).await.into(),
            Asked::ApplyPatch(asked) => patch::apply(root, asked.patch).await.into(),
            Asked::DeleteFile(asked) => reading::delete(root, &asked).await.into(),
            Asked::RunCommand(asked) => {
                let output_bytes = limits.output_bytes.clamp(OUTPUT_BYTES_MIN, TEXT_BYTES_MAX / 2);
                let limits = CallLimits { output_bytes, ..limits };
                let spec = self.spec.clone();
                let order = command::Order { site: &self.site, spec, asked: &asked, limits, live, stop };
                command::run(order).await
            }
        }
    }
}

/// What repeating a call of a tool would mean, when commands are contained like that; none when there is no
/// such tool.
pub fn effect(name: &str, mode: Mode) -> Option<Effect> {
    Tool::named(name).map(|tool| tool.effect(mode))
}

/// A call whose arguments are understood.
enum Asked {
    ReadFile(arguments::ReadFile),
    WriteFile(arguments::WriteFile),
    ListFiles(arguments::ListFiles),
    Search(arguments::Search),
    ApplyPatch(arguments::ApplyPatch),
    DeleteFile(arguments::DeleteFile),
    RunCommand(arguments::RunCommand),
}

impl Asked {
    fn read(tool: Tool, text: &str) -> Result<Self, String> {
        Ok(match tool {
            Tool::ReadFile => Self::ReadFile(arguments::read(tool, text)?),
            Tool::WriteFile => Self::WriteFile(arguments::read(tool, text)?),
            Tool::ListFiles => Self::ListFiles(arguments::read(tool, text)?),
            Tool::Search => Self::Search(arguments::read(tool, text)?),
            Tool::ApplyPatch => Self::ApplyPatch(arguments::read(tool, text)?),
            Tool::DeleteFile => Self::DeleteFile(arguments::read(tool, text)?),
            Tool::RunCommand => Self::RunCommand(arguments::read(tool, text)?),
        })
    }
}

/// What only reads may be cut short at any time.
async fn in_time(
    limits: CallLimits,
    stop: &CancellationToken,
    work: impl Future<Output = Result<String, String>>,
) -> Answer {
    tokio::select! {
        answer = work => answer.into(),
        () = stop.cancelled() => Answer::error("the call was stopped"),
        () = tokio::time::sleep(limits.timeout) => {
            Answer::error(format!("took longer than {} ms; ask for less", limits.timeout.as_millis()))
        }
    }
}

fn unknown(name: &str) -> String {
    let name: String = name.chars().take(100).collect();
    let known = Tool::ALL.map(Tool::name).join(", ");
    format!("there is no tool {name:?}; there are {known}")
}

#[cfg(test)]
mod tests;
