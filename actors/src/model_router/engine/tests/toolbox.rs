//! An agent's tools on a real directory, for tickets to be played with.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
    process::Command,
};

use git2::{ApplyLocation, Diff, Repository};
use serde_json::Value;

use super::{super::super::chat::*, answer, came, task};

/// A directory that an agent works in.
pub(super) struct Toolbox(tempfile::TempDir);

impl Toolbox {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Repository::init(dir.path()).unwrap();
        Self(dir)
    }

    /// Plays an agent until it stops: the last answer, and how many calls it took.
    pub(super) fn play(&self, text: &str) -> (Answer, usize) {
        let mut request = task(text);
        for calls in 0..200 {
            let answer = answer(&request).unwrap();
            let Some(call) = answer.calls.first() else { return (answer, calls) };
            match self.call(call) {
                Ok(text) => came(&mut request, &answer, &text, false),
                Err(text) => came(&mut request, &answer, &text, true),
            }
        }
        panic!("it goes on and on")
    }

    /// Whether the repository's own tests pass, and what they said.
    pub(super) fn test(&self) -> Result<String, String> {
        self.shell("sh test.sh")
    }

    pub(super) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.path().join(path)).unwrap()
    }

    fn call(&self, call: &ToolCall) -> Result<String, String> {
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        let argument = |name: &str| arguments[name].as_str().unwrap_or_default();
        match call.name.as_str() {
            "read_file" => {
                fs::read_to_string(self.path(argument("path"))?).map_err(|_| "there is no such file".into())
            }
            "write_file" => {
                let path = self.path(argument("path"))?;
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, argument("content")).map_err(|error| error.to_string())?;
                if arguments["executable"] == true {
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
                }
                Ok("written".into())
            }
            "delete_file" => {
                fs::remove_file(self.path(argument("path"))?).map_err(|error| error.to_string())?;
                Ok("deleted".into())
            }
            "apply_patch" => {
                let patch = with_heads(argument("patch"));
                let diff = Diff::from_buffer(patch.as_bytes()).map_err(|error| error.to_string())?;
                let repository = Repository::open(self.0.path()).unwrap();
                repository.apply(&diff, ApplyLocation::WorkDir, None).map_err(|error| error.to_string())?;
                Ok("applied".into())
            }
            "run_command" => self.shell(argument("command")),
            other => Err(format!("there is no tool {other}")),
        }
    }

    fn path(&self, path: &str) -> Result<PathBuf, String> {
        let is_inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if is_inside { Ok(self.0.path().join(path)) } else { Err("the path leads out of the tree".into()) }
    }

    fn shell(&self, command: &str) -> Result<String, String> {
        let output = Command::new("sh").args(["-c", command]).current_dir(self.0.path()).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(text) } else { Err(text) }
    }
}

/// The library wants a `diff --git` line before each file.
fn with_heads(diff: &str) -> String {
    if diff.starts_with("diff --git ") {
        return diff.to_owned();
    }
    let head = |line: &str| match line.strip_prefix("--- a/") {
        Some(path) => format!("diff --git a/{path} b/{path}\n{line}\n"),
        None => format!("{line}\n"),
    };
    diff.lines().map(head).collect()
}
