//! The built-in tools: their names, what a model reads about them, and what repeating them would mean.

use serde_json::{Value, json};

use super::{
    listing::{DEPTH_MAX, DEPTH_USUAL, ENTRIES_MAX},
    reading::{LINES_BYTES_MAX, WRITTEN_BYTES_MAX},
    search::HITS_MAX,
};
use crate::{kit::machine::Effect, model_router::chat::ToolSpec, sandboxes::Mode};

/// A built-in tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    ReadFile,
    WriteFile,
    ListFiles,
    Search,
    ApplyPatch,
    DeleteFile,
    RunCommand,
}

impl Tool {
    /// All of them, in the order in which they are offered.
    pub(super) const ALL: [Self; 7] = [
        Self::ReadFile,
        Self::WriteFile,
        Self::ListFiles,
        Self::Search,
        Self::ApplyPatch,
        Self::DeleteFile,
        Self::RunCommand,
    ];

    /// The tool of a name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.name() == name)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ReadFile => "read_file",
            Self::WriteFile => "write_file",
            Self::ListFiles => "list_files",
            Self::Search => "search",
            Self::ApplyPatch => "apply_patch",
            Self::DeleteFile => "delete_file",
            Self::RunCommand => "run_command",
        }
    }

    /// What repeating it would mean. A command that nothing contains may have done anything.
    pub(super) fn effect(self, mode: Mode) -> Effect {
        match self {
            Self::ReadFile | Self::ListFiles | Self::Search => Effect::ReadOnly,
            Self::WriteFile | Self::ApplyPatch | Self::DeleteFile => Effect::Contained,
            Self::RunCommand => match mode {
                Mode::Local => Effect::Contained,
                Mode::None => Effect::Irrevocable,
            },
        }
    }

    pub(super) fn spec(self) -> ToolSpec {
        ToolSpec {
            name: self.name().to_owned(),
            description: self.description(),
            parameters: self.parameters(),
        }
    }

    fn description(self) -> String {
        match self {
            Self::ReadFile => format!(
                "Reads a text file. At most {} KiB come back at once; a note then says which line to go on \
                 with.",
                LINES_BYTES_MAX >> 10
            ),
            Self::WriteFile => format!(
                "Writes a whole text file of at most {} MiB, in place of what was there, and creates the \
                 directories above it. To change a part of a file, apply_patch is shorter.",
                WRITTEN_BYTES_MAX >> 20
            ),
            Self::ListFiles => format!(
                "Lists files and directories beneath a path, sorted; directories end in `/`, symbolic links \
                 in `@`. `.git` is left out. At most {ENTRIES_MAX} entries come back, the upper levels first."
            ),
            Self::Search => format!(
                "Searches text files line by line and answers `path:line: text`, at most {HITS_MAX} times. \
                 Leaves out binary files, files of more than 1 MiB, and, unless the path names them, `.git`, \
                 `target` and `node_modules`."
            ),
            Self::ApplyPatch => "Applies a unified diff: `--- a/path`, `+++ b/path`, then hunks \
                 `@@ -12,3 +12,4 @@` of lines that begin with a space, `-` or `+`. It may change several \
                 files, create one (`--- /dev/null`), delete one (`+++ /dev/null`) or rename one (two \
                 different names). Lines of context and removed lines must be exactly what the file holds; \
                 line numbers may be a little off. Either all hunks of all files are applied or none."
                .to_owned(),
            Self::DeleteFile => "Deletes one file, symbolic link or empty directory.".to_owned(),
            Self::RunCommand => "Runs a command with `sh -c` at the top of the work tree, without a \
                 network and without a terminal, and answers with its exit code and what it printed; the \
                 middle of a long output is left out. Processes that it leaves behind are killed. Only files \
                 in the work tree stay."
                .to_owned(),
        }
    }

    /// The JSON schema of its arguments.
    pub(super) fn parameters(self) -> Value {
        let text = |what: &str| json!({ "type": "string", "description": what });
        let path = |what: &str| text(&format!("{what}, relative to the top of the work tree."));
        let number = |what: &str, max: Option<u32>| {
            let mut schema = json!({ "type": "integer", "minimum": 1, "description": what });
            if let Some(max) = max {
                schema["maximum"] = max.into();
            }
            schema
        };
        let yes = |what: &str| json!({ "type": "boolean", "description": what });
        let levels = format!("How many levels; {DEPTH_USUAL} when left out.");
        let (properties, required) = match self {
            Self::ReadFile => (
                json!({
                    "path": path("The file"),
                    "startLine": number("The first line to read, counted from 1.", None),
                    "lines": number("How many lines to read; to the end when left out.", None),
                }),
                json!(["path"]),
            ),
            Self::WriteFile => (
                json!({
                    "path": path("The file"),
                    "content": text("All of its content."),
                    "executable": yes("Whether it is a program or script; stays as it is when left out."),
                }),
                json!(["path", "content"]),
            ),
            Self::ListFiles => (
                json!({
                    "path": path("The directory, or the top when left out"),
                    "depth": number(&levels, Some(DEPTH_MAX)),
                }),
                json!([]),
            ),
            Self::Search => (
                json!({
                    "pattern": text("What to look for in each line."),
                    "path": path("The file or directory to look in, or the top when left out"),
                    "regex": yes("Whether the pattern is a regular expression; otherwise it is plain text."),
                    "caseSensitive": yes("Whether upper and lower case differ; they do when left out."),
                }),
                json!(["pattern"]),
            ),
            Self::ApplyPatch => (json!({ "patch": text("The unified diff.") }), json!(["patch"])),
            Self::DeleteFile => (json!({ "path": path("What to delete") }), json!(["path"])),
            Self::RunCommand => (
                json!({
                    "command": text("A line or script for `sh`."),
                    "timeoutMs": number("Ends it after so many milliseconds, if not earlier.", None),
                }),
                json!(["command"]),
            ),
        };
        json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        })
    }
}
