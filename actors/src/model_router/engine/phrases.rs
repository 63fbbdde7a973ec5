//! Sentences of a ticket: which of them tell something, and which ask for something.

use super::{
    document::Piece,
    words::{is_condition, is_filler, is_lead, is_noun_too, is_path, is_run, is_verb, says},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// In small letters, without marks around it.
    Word(String),
    /// What stands between backticks, or names a file in bold or between quotes.
    Code(String),
    Comma,
    Colon,
}

#[derive(Debug, Default)]
pub(super) struct Sentence {
    pub tokens: Vec<Token>,
    /// As it was written.
    pub text: String,
}

/// What a sentence is there for.
#[derive(Debug)]
pub(super) enum Mood {
    /// It tells something.
    Told,
    /// It asks for what its clauses say.
    Asked(Vec<Clause>),
    /// It asks for something under a condition.
    Conditional,
}

/// A verb with what belongs to it.
#[derive(Debug)]
pub(super) struct Clause {
    pub verb: String,
    /// What stands before the verb: "In `a.sh`, …".
    pub lead: Vec<Token>,
    pub rest: Vec<Token>,
}

/// A sentence has at most so many words; what is longer is read in pieces.
const WORDS_MAX: usize = 200;

/// Splits a paragraph into sentences.
pub(super) fn sentences(pieces: &[Piece]) -> Vec<Sentence> {
    let mut splitter = Splitter::default();
    for piece in pieces {
        match piece {
            Piece::Code(code) => splitter.code(code, &format!("`{code}`")),
            Piece::Strong(text) if is_path(text.trim().trim_end_matches(':')) => {
                splitter.code(text.trim().trim_end_matches(':'), text);
                if text.trim().ends_with(':') {
                    splitter.open.tokens.push(Token::Colon);
                }
            }
            Piece::Text(text) | Piece::Strong(text) => {
                text.split_inclusive(char::is_whitespace).for_each(|word| splitter.word(word));
            }
        }
    }
    splitter.end();
    splitter.done
}

#[derive(Default)]
struct Splitter {
    open: Sentence,
    done: Vec<Sentence>,
}

impl Splitter {
    fn code(&mut self, code: &str, text: &str) {
        self.open.text.push_str(text);
        self.open.tokens.push(Token::Code(code.to_owned()));
    }

    fn word(&mut self, raw: &str) {
        self.open.text.push_str(raw);
        let raw = raw.trim();
        if self.open.tokens.len() >= WORDS_MAX {
            self.end();
        }
        let bare = raw.trim_end_matches([')', ']', '"', '\'', '”', '’', '*']);
        let is_quoted = raw.starts_with('"') && raw.trim_end_matches(['.', ',', ':']).ends_with('"');
        let word = raw.trim_matches(|c: char| !c.is_alphanumeric());
        if is_quoted && is_path(word) {
            self.open.tokens.push(Token::Code(word.to_owned()));
        } else if matches!(raw, "→" | "->" | "=>") {
            self.open.tokens.push(Token::Word("to".into()));
        } else if matches!(raw, "—" | "–" | "-" | "--") {
            self.open.tokens.push(Token::Comma);
        } else if !word.is_empty() {
            self.open.tokens.push(Token::Word(word.to_lowercase().replace('’', "'")));
        }
        let is_short = ["e.g.", "i.e.", "etc.", "cf.", "vs."].contains(&bare.trim_start_matches('('));
        if bare.ends_with(',') {
            self.open.tokens.push(Token::Comma);
        } else if bare.ends_with(':') {
            self.open.tokens.push(Token::Colon);
        } else if bare.ends_with(['.', '!', '?', ';', '…']) && !is_short {
            self.end();
        }
    }

    fn end(&mut self) {
        let mut sentence = std::mem::take(&mut self.open);
        sentence.text = sentence.text.trim().into();
        if !sentence.tokens.is_empty() {
            self.done.push(sentence);
        }
    }
}

impl Token {
    pub(super) fn word(&self) -> Option<&str> {
        if let Self::Word(word) = self { Some(word) } else { None }
    }
}

pub(super) fn mood(sentence: &Sentence) -> Mood {
    let tokens = &sentence.tokens;
    let Some((lead, verb)) = beginning(tokens) else { return Mood::Told };
    let has_condition =
        |part: &[Token]| part.iter().filter_map(Token::word).any(is_condition) || is_when(part);
    if has_condition(&tokens[..lead]) {
        return Mood::Conditional;
    }
    let mut clauses = Vec::new();
    let mut at = verb;
    loop {
        let next = next_clause(tokens, at);
        let rest = tokens[at + 1..next.map_or(tokens.len(), |(end, _)| end)].to_vec();
        let is_check = ["check", "confirm", "ensure", "verify"].contains(&tokens[at].word().unwrap_or(""));
        if !is_check && rest.iter().filter_map(Token::word).any(is_condition) {
            return Mood::Conditional;
        }
        let verb = tokens[at].word().unwrap_or_default().to_owned();
        // "In `a.sh`, replace …, then run `b`": the command does not run in the file.
        let lead = if clauses.is_empty() || !is_run(&verb) { &tokens[..lead] } else { &[] };
        clauses.push(Clause { verb, lead: lead.to_vec(), rest });
        match next {
            Some((_, start)) => at = start,
            None => return Mood::Asked(clauses),
        }
    }
}

/// "When it fails, …" is a condition; "When this is done, …" is an order of things.
fn is_when(lead: &[Token]) -> bool {
    let words: Vec<&str> = lead.iter().filter_map(Token::word).collect();
    words.first() == Some(&"when")
        && !words.iter().any(|word| ["complete", "done", "finished", "ready", "there"].contains(word))
}

/// How many tokens lead to the first instruction, and where its verb is.
fn beginning(tokens: &[Token]) -> Option<(usize, usize)> {
    if let Some(verb) = verb_at(tokens, 0) {
        return Some((0, verb));
    }
    let first = tokens.iter().filter_map(Token::word).find(|word| !is_filler(word))?;
    if !is_lead(first) && !is_condition(first) {
        return None;
    }
    let after = |at: usize| verb_at(tokens, at + 1).map(|verb| (at, verb));
    let is_pause = |at: &usize| matches!(tokens[*at], Token::Comma | Token::Colon);
    let comma = (0..tokens.len()).filter(is_pause).find_map(after);
    let code = || {
        let is_code = |at: &usize| matches!(tokens[*at], Token::Code(_));
        (0..tokens.len()).find(is_code).and_then(|at| verb_at(tokens, at + 1).map(|verb| (at + 1, verb)))
    };
    let then = || {
        let is_then = |at: &usize| tokens[*at].word() == Some("then");
        (0..tokens.len()).find(is_then).and_then(after)
    };
    comma.or_else(code).or_else(then)
}

/// Where the verb is, when an instruction begins at `at`.
fn verb_at(tokens: &[Token], at: usize) -> Option<usize> {
    let mut at = skip_fillers(tokens, at);
    let word = |at: usize| tokens.get(at).and_then(Token::word).unwrap_or_default();
    if ["can", "could", "would", "will"].contains(&word(at)) && ["we", "you"].contains(&word(at + 1)) {
        at = skip_fillers(tokens, at + 2);
    } else if ["i", "we", "you"].contains(&word(at)) {
        let start = at;
        while ["i", "we", "you", "should", "must", "need", "have", "want", "would", "like", "to"]
            .contains(&word(at))
        {
            at += 1;
        }
        if at < start + 2 {
            return None;
        }
        at = skip_fillers(tokens, at);
    } else if ["let's", "lets"].contains(&word(at)) {
        at += 1;
    }
    (is_verb(word(at)) && !is_noun_here(tokens, at)).then_some(at)
}

fn skip_fillers(tokens: &[Token], mut at: usize) -> usize {
    let begin = at;
    loop {
        match tokens.get(at) {
            Some(Token::Word(word)) if is_filler(word) => at += 1,
            Some(Token::Word(word)) if ["after", "once"].contains(&word.as_str()) => {
                let is_that = tokens.get(at + 1).and_then(Token::word) == Some("that");
                let ends = matches!(tokens.get(at + 2), Some(Token::Comma | Token::Word(_)));
                if !is_that || !ends {
                    return at;
                }
                at += 2;
            }
            Some(Token::Comma | Token::Colon) if at > begin => at += 1,
            _ => return at,
        }
    }
}

/// "Test output is kept" names a thing; "Test the output" asks for something.
fn is_noun_here(tokens: &[Token], at: usize) -> bool {
    let word = tokens[at].word().unwrap_or_default();
    let is_label = tokens.get(at + 1) == Some(&Token::Colon) && !is_last(tokens, at + 1);
    let soon = tokens.iter().skip(at + 1).take(3).filter_map(Token::word);
    is_noun_too(word) && (is_label || soon.take_while(|word| !is_article(word)).any(says))
}

fn is_article(word: &str) -> bool {
    ["a", "an", "it", "its", "that", "the", "their", "them", "these", "this", "those"].contains(&word)
}

fn is_last(tokens: &[Token], at: usize) -> bool {
    at + 1 >= tokens.len()
}

/// Where the clause of the verb at `verb` ends, and where the verb of the next is.
fn next_clause(tokens: &[Token], verb: usize) -> Option<(usize, usize)> {
    (verb + 1..tokens.len()).find_map(|end| {
        let is_join = match &tokens[end] {
            Token::Comma => true,
            Token::Word(word) => word == "and" || word == "then",
            Token::Code(_) | Token::Colon => false,
        };
        let next = if is_join { verb_at(tokens, end + 1) } else { None };
        next.map(|next| (end, next))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        let mut pieces = Vec::new();
        for (place, part) in text.split('`').enumerate() {
            let piece = if place % 2 == 0 { Piece::Text } else { Piece::Code };
            pieces.push(piece(part.to_owned()));
        }
        let told = |sentence: &Sentence| match mood(sentence) {
            Mood::Told => "told".to_owned(),
            Mood::Conditional => "conditional".to_owned(),
            Mood::Asked(clauses) => {
                clauses.iter().map(|clause| clause.verb.as_str()).collect::<Vec<_>>().join("+")
            }
        };
        sentences(&pieces).iter().map(told).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn what_asks_begins_with_a_verb_however_politely() {
        for text in [
            "Create `a`:",
            "Please create `a`:",
            "Then create `a`:",
            "Step 2: create `a`:",
            "We need to create `a`:",
            "Can you create `a`?",
            "In `b`, create `a`.",
            "After that, create `a`.",
            "When this is done, create `a`.",
            "To count words, create `a`:",
            "Next, we should create `a`.",
            "Let's create `a`.",
        ] {
            assert_eq!(read(text), "create", "{text}");
        }
    }

    #[test]
    fn what_tells_is_left_alone() {
        for text in [
            "The script counts words.",
            "Do not create `a`.",
            "Never delete `a`.",
            "Test output is kept in `a`.",
            "Support for tabs is missing.",
            "It should print the number of words.",
            "You can run `a` by hand.",
            "Users download it and run `make`.",
            "Keep it in POSIX sh.",
            "In the past, people counted words.",
        ] {
            assert_eq!(read(text), "told", "{text}");
        }
    }

    #[test]
    fn clauses_and_sentences_are_split_at_their_verbs() {
        assert_eq!(read("Create `a` and run `b`, then delete `c`. It works."), "create+run+delete | told");
        assert_eq!(read("Create `a` and `b`; run `c`."), "create | run");
        assert_eq!(read("Write e.g. `a`."), "write");
    }

    #[test]
    fn what_holds_only_sometimes_is_known_as_such() {
        assert_eq!(read("If it fails, run `a`."), "conditional");
        assert_eq!(read("Run `a` unless `b` is there."), "conditional");
        assert_eq!(read("When the build breaks, delete `a`."), "conditional");
        assert_eq!(read("Create `a`, and if it is there, delete it."), "conditional");
    }
}
