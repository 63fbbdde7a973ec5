//! The arguments of calls, as models write them.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::catalogue::Tool;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ReadFile {
    pub(super) path: String,
    pub(super) start_line: Option<u64>,
    pub(super) lines: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WriteFile {
    pub(super) path: String,
    pub(super) content: String,
    pub(super) executable: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ListFiles {
    pub(super) path: Option<String>,
    pub(super) depth: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Search {
    pub(super) pattern: String,
    pub(super) path: Option<String>,
    pub(super) regex: Option<bool>,
    pub(super) case_sensitive: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ApplyPatch {
    pub(super) patch: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeleteFile {
    pub(super) path: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RunCommand {
    pub(super) command: String,
    pub(super) timeout_ms: Option<u64>,
}

/// Reads the arguments of a tool; what is wrong is said together with what the tool takes.
pub(super) fn read<T: DeserializeOwned>(tool: Tool, arguments: &str) -> Result<T, String> {
    let arguments = if arguments.trim().is_empty() { "{}" } else { arguments };
    let mut json = serde_json::Deserializer::from_str(arguments);
    let read = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { String::new() } else { format!("{path}: ") };
        let is_json = !error.inner().is_syntax() && !error.inner().is_eof();
        let what = if is_json { "wrong arguments" } else { "the arguments are no JSON" };
        format!("{what}: {at}{}. {}", error.inner(), takes(tool))
    })?;
    json.end().map_err(|error| format!("the arguments are no JSON: {error}. {}", takes(tool)))?;
    Ok(read)
}

/// A sentence about the arguments of a tool.
fn takes(tool: Tool) -> String {
    let schema = tool.parameters();
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let shown = properties.map(|(name, property)| {
        let optional = if required.contains(&name.as_str()) { "" } else { ", optional" };
        format!("{name} ({}{optional})", property["type"].as_str().unwrap_or_default())
    });
    format!("{} takes an object of {}", tool.name(), shown.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(arguments: &str) -> String {
        read::<ReadFile>(Tool::ReadFile, arguments).unwrap_err()
    }

    #[test]
    fn what_is_wrong_is_said_with_what_is_right() {
        insta::assert_snapshot!(wrong("{}"), @"wrong arguments: missing field `path` at line 1 column 2. read_file takes an object of lines (integer, optional), path (string), startLine (integer, optional)");
        for (arguments, said) in [
            ("", "wrong arguments: missing field `path`"),
            ("nothing", "the arguments are no JSON: "),
            ("{\"path\": \"a", "the arguments are no JSON: path: EOF"),
            ("{\"path\":\"a\"} and more", "the arguments are no JSON: trailing characters"),
            ("{\"path\": 3}", "wrong arguments: path: invalid type: integer `3`, expected a string"),
            ("{\"path\":\"a\",\"lines\":-1}", "wrong arguments: lines: invalid value: integer `-1`"),
            ("{\"file\":\"a\"}", "wrong arguments: file: unknown field `file`, expected one of `path`"),
            ("[]", "wrong arguments: "),
        ] {
            let wrong = wrong(arguments);
            assert!(wrong.starts_with(said), "{arguments}: {wrong}");
        }
        assert_eq!(read::<ReadFile>(Tool::ReadFile, "{\"path\":\"a\",\"lines\":null}").unwrap().path, "a");
    }
}
