//! Tells code, comments and literals apart, so that a rule about one is not misled by another.
//!
//! **Invariant:** what stands in a literal or a comment is never taken for code, so a rule may name what it
//! forbids.

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

impl Line {
    fn push(&mut self, c: char, kind: Kind) {
        self.raw.push(c);
        self.code.push(if kind == Kind::Code { c } else { ' ' });
        self.comment.push(if kind == Kind::Comment { c } else { ' ' });
        self.has_literal |= kind == Kind::Literal;
    }

    /// Whether its code ends with this, blanks and comments aside.
    pub(super) fn ends_with(&self, end: &str) -> bool {
        self.code.trim_end().ends_with(end)
    }
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

/// The lines of a file.
pub(super) fn scan(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = vec![Line { number: 1, ..Line::default() }];
    let (mut at, mut mode) = (0, Mode::Code);
    while at < chars.len() {
        let (kind, length, next) = step(mode, &chars[at..]);
        for &c in chars[at..].iter().take(length) {
            match lines.last_mut() {
                Some(line) if c != '\n' => line.push(c, kind),
                _ => lines.push(Line { number: lines.len() + 1, ..Line::default() }),
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
fn step(mode: Mode, rest: &[char]) -> (Kind, usize, Mode) {
    match (mode, rest) {
        (Mode::Code, ['/', '/', ..]) => (Kind::Comment, 2, Mode::LineComment),
        (Mode::Code, ['/', '*', ..]) => (Kind::Comment, 2, Mode::BlockComment(1)),
        (Mode::Code, ['"', ..]) => (Kind::Literal, 1, Mode::Text),
        (Mode::Code, ['\'', '\\', _, after @ ..]) => {
            (Kind::Literal, 4 + after.iter().take_while(|c| **c != '\'').count(), Mode::Code)
        }
        (Mode::Code, ['\'', _, '\'', ..]) => (Kind::Literal, 3, Mode::Code),
        (Mode::Code, _) => match raw_text(rest) {
            Some((length, hashes)) => (Kind::Literal, length, Mode::RawText(hashes)),
            None => (Kind::Code, 1, Mode::Code),
        },
        (Mode::LineComment, ['\n', ..]) => (Kind::Comment, 1, Mode::Code),
        (Mode::BlockComment(1), ['*', '/', ..]) => (Kind::Comment, 2, Mode::Code),
        (Mode::BlockComment(depth), ['*', '/', ..]) => (Kind::Comment, 2, Mode::BlockComment(depth - 1)),
        (Mode::BlockComment(depth), ['/', '*', ..]) => (Kind::Comment, 2, Mode::BlockComment(depth + 1)),
        (Mode::LineComment | Mode::BlockComment(_), _) => (Kind::Comment, 1, mode),
        (Mode::Text, ['\\', ..]) => (Kind::Literal, 2, mode),
        (Mode::Text, ['"', ..]) => (Kind::Literal, 1, Mode::Code),
        (Mode::RawText(hashes), ['"', after @ ..])
            if after.iter().take_while(|c| **c == '#').count() >= hashes =>
        {
            (Kind::Literal, 1 + hashes, Mode::Code)
        }
        (Mode::Text | Mode::RawText(_), _) => (Kind::Literal, 1, mode),
    }
}

/// The length of `r##"`, and how many `#` it has; no word but a prefix of a literal touches a quote.
fn raw_text(rest: &[char]) -> Option<(usize, usize)> {
    let hashes = rest.strip_prefix(&['r'])?.iter().take_while(|c| **c == '#').count();
    (rest.get(1 + hashes) == Some(&'"')).then_some((2 + hashes, hashes))
}

#[test]
fn the_scanner_tells_code_from_comments_and_literals() {
    let text =
        "let a: &'a str = \"x \\\" // y\"; // z \"\nlet b = r#\"{ \" }\n\"#; /* f(\n */ g('\"', '\\'')";
    let code: Vec<_> =
        scan(text).iter().map(|line| line.code.split_whitespace().collect::<String>()).collect();
    assert_eq!(code, ["leta:&'astr=;", "letb=", ";", "g(,)"]);
}
