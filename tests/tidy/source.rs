//! A source file as the rules see it: in each line, code, comments and literals are told apart.
//!
//! **Invariant:** what stands in a literal or a comment is never taken for code, so a rule may name what it forbids.

use std::{iter, mem};

/// A Rust file of this repository.
pub(super) struct Source {
    /// Where it is, from the root, with `/`.
    pub(super) path: String,
    /// What is in it.
    pub(super) lines: Vec<Line>,
    /// How many lines come before the test module at its end.
    shipped: usize,
}

/// One line; `code` and `comment` are as long as `raw`, with blanks for what belongs elsewhere.
#[derive(Default)]
pub(super) struct Line {
    pub(super) number: usize,
    pub(super) raw: String,
    pub(super) code: String,
    pub(super) comment: String,
    /// Whether a piece of a string or character literal stands in it.
    pub(super) has_literal: bool,
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
        let opens_tests = |at: usize| {
            let after = lines[at..].iter().find(|line| !line.code.starts_with('#'));
            lines[at].code.starts_with("#[cfg(test)]")
                && after
                    .is_some_and(|line| words(&line.code).any(|word| word == "mod") && line.ends_with("{"))
        };
        let shipped = if is_test(&path) {
            0
        } else {
            (0..lines.len()).find(|at| opens_tests(*at)).unwrap_or(lines.len())
        };
        Self { path, lines, shipped }
    }

    /// The lines outside tests: none in a test file.
    pub(super) fn shipped(&self) -> &[Line] {
        &self.lines[..self.shipped]
    }

    /// The lines of tests.
    pub(super) fn tests(&self) -> &[Line] {
        &self.lines[self.shipped..]
    }

    /// A finding about a line of this file.
    pub(super) fn at(&self, line: usize, finding: impl AsRef<str>) -> String {
        format!("{}:{line}: {}", self.path, finding.as_ref())
    }
}

impl Line {
    /// Whether its code ends with this, blanks and comments aside.
    fn ends_with(&self, end: &str) -> bool {
        self.code.trim_end().ends_with(end)
    }
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
                if token == "}" {
                    self.groups.pop();
                } else if is_name {
                    self.line = line;
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

/// The functions with a body in these lines, which rustfmt wrote: a body ends at a brace as far in as its `fn`.
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
    let is_declared = words(before).all(|word| qualifiers.contains(&word));
    if is_declared { words(after).next() } else { None }
}

/// What the next character of a file belongs to.
#[derive(Clone, Copy)]
enum Mode {
    Code,
    LineComment,
    /// How many `/*` are open.
    BlockComment(usize),
    Text,
    /// How many `#` end it.
    RawText(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

/// Tells code, comments and literals apart.
fn scan(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = vec![Line { number: 1, ..Line::default() }];
    let (mut at, mut mode) = (0, Mode::Code);
    while at < chars.len() {
        let is_in_word = at > 0 && is_word(chars[at - 1]);
        let (kind, length, next) = step(mode, &chars[at..], is_in_word);
        for &c in &chars[at..chars.len().min(at + length)] {
            let number = lines.len();
            if c == '\n' {
                lines.push(Line { number: number + 1, ..Line::default() });
            } else if let Some(line) = lines.last_mut() {
                line.raw.push(c);
                line.code.push(if kind == Kind::Code { c } else { ' ' });
                line.comment.push(if kind == Kind::Comment { c } else { ' ' });
                line.has_literal |= kind == Kind::Literal;
            }
        }
        (at, mode) = (at + length, next);
    }
    if text.ends_with('\n') {
        lines.pop();
    }
    lines
}

/// What the next characters are, how many they are, and what comes after them.
fn step(mode: Mode, rest: &[char], is_in_word: bool) -> (Kind, usize, Mode) {
    match (mode, rest) {
        (Mode::Code, ['/', '/', ..]) => (Kind::Comment, 2, Mode::LineComment),
        (Mode::Code, ['/', '*', ..]) => (Kind::Comment, 2, Mode::BlockComment(1)),
        (Mode::Code, ['"', ..]) => (Kind::Literal, 1, Mode::Text),
        (Mode::Code, ['\'', '\\', _, more @ ..]) => {
            (Kind::Literal, 4 + more.iter().take_while(|c| **c != '\'').count(), Mode::Code)
        }
        (Mode::Code, ['\'', _, '\'', ..]) => (Kind::Literal, 3, Mode::Code),
        (Mode::Code, _) => match raw_text(rest).filter(|_| !is_in_word) {
            Some((length, hashes)) => (Kind::Literal, length, Mode::RawText(hashes)),
            None => (Kind::Code, 1, Mode::Code),
        },
        (Mode::LineComment, ['\n', ..]) => (Kind::Comment, 1, Mode::Code),
        (Mode::LineComment, _) => (Kind::Comment, 1, mode),
        (Mode::BlockComment(1), ['*', '/', ..]) => (Kind::Comment, 2, Mode::Code),
        (Mode::BlockComment(depth), ['*', '/', ..]) => (Kind::Comment, 2, Mode::BlockComment(depth - 1)),
        (Mode::BlockComment(depth), ['/', '*', ..]) => (Kind::Comment, 2, Mode::BlockComment(depth + 1)),
        (Mode::BlockComment(_), _) => (Kind::Comment, 1, mode),
        (Mode::Text, ['\\', ..]) => (Kind::Literal, 2, mode),
        (Mode::Text, ['"', ..]) => (Kind::Literal, 1, Mode::Code),
        (Mode::RawText(hashes), ['"', more @ ..])
            if more.iter().take_while(|c| **c == '#').count() >= hashes =>
        {
            (Kind::Literal, 1 + hashes, Mode::Code)
        }
        (Mode::Text | Mode::RawText(_), _) => (Kind::Literal, 1, mode),
    }
}

/// The length of `r##"` and of its kin, and how many `#` it has.
fn raw_text(rest: &[char]) -> Option<(usize, usize)> {
    let prefix = match rest {
        ['b' | 'c', 'r', ..] => 2,
        ['r', ..] => 1,
        _ => return None,
    };
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    (rest.get(prefix + hashes) == Some(&'"')).then_some((prefix + hashes + 1, hashes))
}

#[test]
fn the_scanner_tells_code_from_comments_and_literals() {
    let text =
        "let a: &'a str = \"x \\\" // y\"; // z \"\nlet b = r#\"{ \" }\n\"#; /* f(\n */ g('\"', '\\'')";
    let code: Vec<_> =
        scan(text).iter().map(|line| line.code.split_whitespace().collect::<String>()).collect();
    assert_eq!(code, ["leta:&'astr=;", "letb=", ";", "g(,)"]);
}

#[test]
fn a_path_in_braces_is_taken_apart() {
    let text = "use a::{b::{self, C}, d as e, f::*};\nimpl ::g::H for i::J {}\nlet k = L::<m::N>::new();";
    let names: Vec<_> = paths(&scan(text)).into_iter().map(|path| path.name).collect();
    assert_eq!(names, ["a::b::self", "a::b::C", "a::d", "a::f::*", "i::J", "m::N"]);
}

#[test]
fn a_function_ends_at_a_brace_as_far_in_as_it_began() {
    let text = "trait A {\n    fn b();\n    pub(crate) async fn c<T>(\n        d: T,\n    ) {\n        {\n        }\n    }\n}\n";
    let found: Vec<_> = functions(&scan(text)).into_iter().map(|found| (found.name, found.length)).collect();
    assert_eq!(found, [("c".to_owned(), 6)]);
}
