//! What the command line prints: results to stdout, messages to stderr.

use std::io::{self, IsTerminal as _, Write as _};

/// Prints a line of the result. A reader that went away is no error.
pub(super) fn line(text: &str) {
    let mut out = io::stdout().lock();
    drop(writeln!(out, "{text}"));
}

/// Prints a message that is no result.
pub(super) fn note(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Prints why the command failed.
pub(super) fn error(text: &str) {
    note(&format!("error: {text}"));
}

/// Whether a person sees the result.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A table with a heading, its columns as wide as they need to be.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = heading.iter().map(|title| title.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let print = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        line(padded.join("  ").trim_end());
    };
    print(&mut heading.iter().copied());
    for row in rows {
        print(&mut row.iter().map(String::as_str));
    }
}

/// Text of others, without control characters that could steer the terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() && letter != '\n' { ' ' } else { letter }).collect()
}
