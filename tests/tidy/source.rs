//! A source file as the rules see it: its lines, which of them are tests, and its paths and functions.

use std::{iter, mem};

use super::scanner::{Line, scan};

/// A Rust file of this repository.
pub(super) struct Source {
    /// Where it is, from the root, with `/`.
    pub(super) path: String,
    pub(super) lines: Vec<Line>,
    /// How many lines come before the test module at its end.
    shipped: usize,
}

/// A path of two segments or more: `a::b`.
pub(super) struct Path {
    pub(super) line: usize,
    pub(super) name: String,
    /// Whether it stands in a `use`.
    pub(super) is_import: bool,
}

/// A function with a body.
pub(super) struct Function {
    pub(super) line: usize,
    pub(super) name: String,
    /// From its first line to its closing brace.
    pub(super) length: usize,
}

impl Source {
    pub(super) fn new(path: String, text: &str) -> Self {
        let lines = scan(text);
        let opens = |at: &usize| test_module(&lines[*at..]).is_some_and(|line| line.ends_with("{"));
        let shipped = if is_test(&path) { 0 } else { (0..lines.len()).find(opens).unwrap_or(lines.len()) };
        Self { path, lines, shipped }
    }

    /// The modules that this file declares for tests, as paths without `.rs`.
    pub(super) fn test_modules(&self) -> impl Iterator<Item = String> {
        let (folder, file) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let inside = match file.strip_suffix(".rs") {
            None | Some("lib" | "main" | "mod") => folder.to_owned(),
            Some(stem) => format!("{folder}/{stem}"),
        };
        let declared = (0..self.lines.len()).filter_map(|at| test_module(&self.lines[at..]));
        declared.filter_map(move |line| Some(format!("{inside}/{}", words(&line.code).last()?)))
    }

    /// Takes the whole file for tests.
    pub(super) fn serves_tests(&mut self) {
        self.shipped = 0;
    }

    /// The lines outside tests: none in a test file.
    pub(super) fn shipped(&self) -> &[Line] {
        &self.lines[..self.shipped]
    }

    pub(super) fn all(&self) -> &[Line] {
        &self.lines
    }

    /// Whether a line belongs to tests.
    pub(super) fn is_in_tests(&self, line: &Line) -> bool {
        line.number > self.shipped
    }

    /// A finding about a line of this file.
    pub(super) fn at(&self, line: usize, finding: impl AsRef<str>) -> String {
        format!("{}:{line}: {}", self.path, finding.as_ref())
    }
}

impl Path {
    /// Its first segment.
    pub(super) fn root(&self) -> &str {
        self.name.split("::").next().unwrap_or_default()
    }

    /// Whether it is this path, or goes on from it.
    pub(super) fn is_under(&self, path: &str) -> bool {
        self.name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }
}

/// The `mod` that a `#[cfg(test)]` at the beginning of these lines is for.
fn test_module(lines: &[Line]) -> Option<&Line> {
    let after = lines.iter().find(|line| !line.code.starts_with('#'));
    after.filter(|line| {
        lines[0].code.starts_with("#[cfg(test)]") && words(&line.code).any(|word| word == "mod")
    })
}

/// Whether a whole file serves tests, benches or examples.
fn is_test(path: &str) -> bool {
    let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
    folders.split('/').any(|folder| ["tests", "benches", "examples"].contains(&folder))
        || ["tests.rs", "simulation.rs"].contains(&file)
        || file.ends_with("_tests.rs")
}

/// The names, keywords and numbers in a line.
pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c| !is_word(c)).filter(|word| !word.is_empty())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The paths in these lines, braces taken apart: `use a::{b, c::d};` holds `a::b` and `a::c::d`.
pub(super) fn paths(lines: &[Line]) -> Vec<Path> {
    let mut reader = PathReader::default();
    for line in lines {
        tokens(&line.code).for_each(|token| reader.read(line.number, token));
    }
    reader.end();
    reader.found
}

/// Reads paths, token by token.
#[derive(Default)]
struct PathReader<'a> {
    /// The path that is being read, and where it began.
    path: Vec<&'a str>,
    line: usize,
    /// What stands before each open brace of a `use`.
    groups: Vec<Vec<&'a str>>,
    before: &'a str,
    is_import: bool,
    is_renamed: bool,
    found: Vec<Path>,
}

impl<'a> PathReader<'a> {
    fn read(&mut self, line: usize, token: &'a str) {
        let is_inside = self.before == "::";
        let is_name = token.starts_with(is_word);
        match token {
            "::" if self.before.starts_with(is_word) => {}
            "{" if is_inside => self.groups.push(mem::take(&mut self.path)),
            _ if is_inside && (is_name || token == "*") => self.path.push(token),
            "as" => self.is_renamed = true,
            _ if is_name && mem::take(&mut self.is_renamed) => self.end(),
            _ => {
                self.end();
                self.line = line;
                if token == "}" {
                    self.groups.pop();
                } else if is_name || token == "*" && !self.groups.is_empty() {
                    self.path = self.groups.last().cloned().unwrap_or_default();
                    self.path.push(token);
                }
            }
        }
        self.is_import = token == "use" || self.is_import && token != ";";
        self.before = token;
    }

    fn end(&mut self) {
        let path = mem::take(&mut self.path);
        if path.len() > 1 {
            self.found.push(Path { line: self.line, name: path.join("::"), is_import: self.is_import });
        }
    }
}

/// Words, `::`, and each other character by itself.
fn tokens(mut rest: &str) -> impl Iterator<Item = &str> {
    iter::from_fn(move || {
        let first = rest.chars().next()?;
        let length = match first {
            _ if is_word(first) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            _ if rest.starts_with("::") => 2,
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        rest = after;
        Some(token)
    })
}

/// The functions with a body in these lines; as rustfmt has it, one ends at a brace as far in as its `fn`.
pub(super) fn functions(lines: &[Line]) -> Vec<Function> {
    let function = |(at, line): (usize, &Line)| {
        let name = function_name(&line.code)?;
        let opens =
            at + lines[at..].iter().position(|line| ["{", "}", ";"].iter().any(|end| line.ends_with(end)))?;
        if !lines[opens].ends_with("{") {
            return None;
        }
        let indent = line.code.len() - line.code.trim_start().len();
        let close = format!("{}}}", &line.code[..indent]);
        let length = 1 + lines[at..].iter().position(|line| line.code.trim_end() == close)?;
        Some(Function { line: line.number, name: name.to_owned(), length })
    };
    lines.iter().enumerate().filter_map(function).collect()
}

/// The name after `fn`, when nothing but qualifiers stands before it.
fn function_name(code: &str) -> Option<&str> {
    let (before, after) = code.split_once("fn ")?;
    let qualifiers = ["pub", "crate", "super", "self", "in", "const", "async", "unsafe", "extern"];
    words(after).next().filter(|_| words(before).all(|word| qualifiers.contains(&word)))
}

#[test]
fn a_path_in_braces_is_taken_apart() {
    let text = "use a::{b::{self, C}, d as e, f::*, *};\nimpl ::g::H for i::J {}\nlet k = L::<m::N>::new();";
    let names: Vec<_> = paths(&scan(text)).into_iter().map(|path| path.name).collect();
    assert_eq!(names, ["a::b::self", "a::b::C", "a::d", "a::f::*", "a::*", "g::H", "i::J", "m::N"]);
}

#[test]
fn a_function_ends_at_a_brace_as_far_in_as_it_began() {
    let text = "trait A {\n    fn b();\n    pub(crate) async fn c<T>(\n        d: T,\n    ) {\n        {\n        }\n    }\n}\n";
    let found: Vec<_> = functions(&scan(text)).into_iter().map(|found| (found.name, found.length)).collect();
    assert_eq!(found, [("c".to_owned(), 6)]);
}
