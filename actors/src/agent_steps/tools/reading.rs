//! Whole files: read, written, deleted.

use super::{
    arguments::{DeleteFile, ReadFile, WriteFile},
    paths::{Root, refusal, shown},
};
use crate::sandboxes::FileError;

/// What is read at once, in bytes.
pub(super) const LINES_BYTES_MAX: usize = 64 << 10;
/// The largest content that is written.
pub(super) const WRITTEN_BYTES_MAX: usize = 1 << 20;
/// The largest file that lines are read from.
const FILE_BYTES_MAX: u64 = 8 << 20;

pub(super) async fn read(root: &Root, asked: &ReadFile) -> Result<String, String> {
    let path = root.path(&asked.path);
    let content = root.files.read(&path, FILE_BYTES_MAX).await.map_err(|error| refusal(&path, &error))?;
    let bytes = content.len();
    let text = String::from_utf8(content).map_err(|_| {
        format!("{}: its {bytes} bytes are not UTF-8 text; look at them with run_command", shown(&path))
    })?;
    part(&text, asked).map_err(|why| format!("{}: {why}", shown(&path)))
}

/// The lines that are asked for, as many as fit.
fn part(text: &str, asked: &ReadFile) -> Result<String, String> {
    if text.is_empty() {
        return Ok("[the file is empty]".to_owned());
    }
    if asked.start_line == Some(0) || asked.lines == Some(0) {
        return Err("startLine and lines count from 1".to_owned());
    }
    let count = text.split_inclusive('\n').count();
    let skipped = asked.start_line.map_or(0, |start| usize::try_from(start - 1).unwrap_or(usize::MAX));
    if skipped >= count {
        return Err(format!("it has only {count} lines"));
    }
    let wanted = asked.lines.map_or(usize::MAX, |lines| usize::try_from(lines).unwrap_or(usize::MAX));
    let mut part = String::new();
    let mut taken = 0;
    for line in text.split_inclusive('\n').skip(skipped).take(wanted) {
        if part.len() + line.len() > LINES_BYTES_MAX {
            break;
        }
        part.push_str(line);
        taken += 1;
    }
    let (first, last) = (skipped + 1, skipped + taken);
    if taken == 0 {
        let line = text.split_inclusive('\n').nth(skipped).unwrap_or_default();
        let end = line.floor_char_boundary(LINES_BYTES_MAX);
        let left = line.len() - end;
        return Ok(format!(
            "{}\n[line {first} of {count}; {left} more bytes of it are left out]",
            &line[..end]
        ));
    }
    if last < count {
        let newline = if part.ends_with('\n') { "" } else { "\n" };
        let next = last + 1;
        let note = format!("{newline}[lines {first} to {last} of {count}; go on with startLine {next}]");
        part.push_str(&note);
    }
    Ok(part)
}

pub(super) async fn write(root: &Root, asked: WriteFile) -> Result<String, String> {
    let bytes = asked.content.len();
    if bytes > WRITTEN_BYTES_MAX {
        return Err(format!("{bytes} bytes are more than the {WRITTEN_BYTES_MAX} that are written at once"));
    }
    let path = root.path(&asked.path);
    let is_there = root.files.exists(&path).await.unwrap_or(false);
    let written = match asked.executable {
        Some(is_executable) => root.files.write_as(&path, asked.content, is_executable).await,
        None => root.files.write(&path, asked.content).await,
    };
    written.map_err(|error| refusal(&path, &error))?;
    let done = if is_there { "replaced" } else { "created" };
    Ok(format!("{done} {} with {bytes} bytes", shown(&path)))
}

pub(super) async fn delete(root: &Root, asked: &DeleteFile) -> Result<String, String> {
    let path = root.path(&asked.path);
    if path.as_os_str().is_empty() {
        return Err(refusal(&path, &FileError::Path("the work tree itself stays")));
    }
    root.files.remove_one(&path).await.map_err(|error| refusal(&path, &error))?;
    Ok(format!("deleted {}", shown(&path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, start_line: Option<u64>, lines: Option<u64>) -> String {
        let asked = ReadFile { path: String::new(), start_line, lines };
        part(text, &asked).unwrap_or_else(|why| format!("error: {why}"))
    }

    #[test]
    fn lines_are_read_with_a_note_on_how_to_go_on() {
        let text = "one\ntwo\nthree";
        assert_eq!(lines(text, None, None), text);
        assert_eq!(lines(text, Some(1), Some(9)), text);
        assert_eq!(lines(text, Some(3), Some(1)), "three");
        assert_eq!(lines(text, Some(2), Some(1)), "two\n[lines 2 to 2 of 3; go on with startLine 3]");
        assert_eq!(lines(text, Some(4), None), "error: it has only 3 lines");
        assert_eq!(lines(text, Some(u64::MAX), Some(u64::MAX)), "error: it has only 3 lines");
        assert_eq!(lines(text, Some(0), None), "error: startLine and lines count from 1");
        assert_eq!(lines("", None, None), "[the file is empty]");
    }

    #[test]
    fn what_is_too_long_is_cut_at_lines_or_characters() {
        let text = format!("{}\n", "é".repeat(1_000)).repeat(100);
        let first = lines(&text, None, None);
        assert!(first.len() < LINES_BYTES_MAX + 100, "{}", first.len());
        assert!(first.ends_with("[lines 1 to 32 of 100; go on with startLine 33]"), "{}", &first[64_000..]);
        let single = lines(&"é".repeat(40_000), None, None);
        assert!(
            single.ends_with("é\n[line 1 of 1; 14464 more bytes of it are left out]"),
            "{}",
            &single[65_000..]
        );
    }
}
