//! Blocks of code that are commands or diffs.

use super::{document::Code, words::language};

/// The commands of a block, as one script that ends at the first that fails.
///
/// What follows `$ ` in a transcript is a command, and the rest of it is output.
pub(super) fn script(code: &Code) -> Option<String> {
    let shells = [
        "",
        "bash",
        "console",
        "dash",
        "ksh",
        "sh",
        "shell",
        "shell-session",
        "shellsession",
        "terminal",
        "text",
        "zsh",
    ];
    if !shells.contains(&language(&code.tag).as_str()) {
        return None;
    }
    let typed: Vec<&str> =
        code.text.lines().filter_map(|line| line.trim_start().strip_prefix("$ ")).collect();
    let text = if typed.is_empty() { code.text.trim().to_owned() } else { typed.join("\n") };
    let is_command = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    match text.lines().filter(is_command).count() {
        0 => None,
        1 => Some(text),
        _ => Some(format!("set -e\n{text}")),
    }
}

/// Whether a block is a diff, by its language or its first lines.
pub(super) fn is_diff(code: &Code) -> bool {
    ["diff", "patch", "udiff"].contains(&language(&code.tag).as_str())
        || language(&code.tag).is_empty() && is_patch(&code.text)
}

/// Whether a diff says which files it is about.
pub(super) fn is_patch(text: &str) -> bool {
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().any(|line| line.starts_with("diff --git "))
        || lines.windows(2).any(|pair| pair[0].starts_with("--- ") && pair[1].starts_with("+++ "))
}

/// A word of a shell command, whatever is in it.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@%,:".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
