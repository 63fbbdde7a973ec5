//! The parts of a ticket by their headings: what is to be done, what is good to know, what to do when tests
//! fail.

use super::{
    document::{Block, Document, Heading, Section, What},
    phrases::{Mood, mood, sentences},
    reading::Reading,
};

/// What a section is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It says what is to be done.
    Task,
    /// It is good to know.
    Context,
    /// It says what is to be done when tests fail.
    IfTestsFail,
    /// It says how tests failed.
    WhatFailed,
}

/// Headings of sections that tell and do not ask.
const CONTEXT: &[&str] = &[
    "about",
    "about the ticket",
    "about this ticket",
    "acceptance",
    "acceptance criteria",
    "actual behavior",
    "actual behaviour",
    "assumptions",
    "background",
    "constraints",
    "context",
    "definition of done",
    "description",
    "done when",
    "environment",
    "examples",
    "expected behavior",
    "expected behaviour",
    "glossary",
    "goal",
    "goals",
    "introduction",
    "links",
    "motivation",
    "non-goals",
    "note",
    "notes",
    "open questions",
    "out of scope",
    "overview",
    "problem",
    "references",
    "related",
    "requirements",
    "risks",
    "scope",
    "see also",
    "steps to reproduce",
    "summary",
    "why",
    "why this matters",
];

/// Words of a section that wants something, though no sentence of it asks.
const WANTS: &[&str] = &[
    "bug", "broken", "crash", "crashes", "fail", "fails", "missing", "must", "need", "needed", "needs",
    "ought", "required", "should", "want", "wanted", "wants", "wrong",
];

/// The part that a heading names; `None` when it says nothing about that.
pub(super) fn named(heading: &str) -> Option<Part> {
    let name = heading.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase().replace('’', "'");
    match name.as_str() {
        "if tests fail"
        | "if the tests fail"
        | "if a test fails"
        | "when the tests fail"
        | "when tests fail" => Some(Part::IfTestsFail),
        "what failed" => Some(Part::WhatFailed),
        name if CONTEXT.contains(&name) => Some(Part::Context),
        _ => None,
    }
}

/// What a section is there for; one that only tells, under whatever heading, is context.
pub(super) fn part(section: &Section<'_>, reading: &Reading) -> Part {
    let Some(heading) = &section.heading else {
        return if reading.asks() { Part::Task } else { Part::Context };
    };
    if let Some(part) = named(&heading.text) {
        return part;
    }
    let is_task = reading.asks() || heading.level > 1 && (is_order(heading) || wants(section.blocks));
    if is_task { Part::Task } else { Part::Context }
}

/// Whether a heading begins with a verb that asks for something.
fn is_order(heading: &Heading<'_>) -> bool {
    sentences(heading.line).iter().any(|sentence| !matches!(mood(sentence), Mood::Told))
}

fn wants(blocks: &[Block]) -> bool {
    blocks.iter().filter(|block| !block.is_aside).any(|block| match &block.what {
        What::Prose(pieces) => sentences(pieces).iter().any(|sentence| {
            sentence.tokens.iter().filter_map(|token| token.word()).any(|word| WANTS.contains(&word))
        }),
        What::Heading { .. } | What::Code(_) => false,
    })
}

/// What is to be done for a task: all that its sections ask, or what the ticket says about failed tests when
/// the task tells that tests failed.
pub(super) fn wanted(document: &Document<'_>) -> Wanted {
    let sections = document.sections();
    let is = |section: &&Section<'_>, part| {
        section.heading.as_ref().and_then(|heading| named(&heading.text)) == Some(part)
    };
    let has_failed = sections.iter().any(|section| is(&section, Part::WhatFailed));
    if has_failed {
        let first = sections.iter().find(|section| is(section, Part::IfTestsFail));
        return Wanted { has_failed, reading: first.map(|section| Reading::of(section.blocks)) };
    }
    let is_task = |section: &&Section<'_>| {
        section.heading.as_ref().is_none_or(|heading| named(&heading.text).is_none())
    };
    // The heading is read too: it may say what the block under it is.
    let blocks = sections.iter().filter(is_task).flat_map(|section| section.whole);
    Wanted { has_failed, reading: Some(Reading::of(blocks)) }
}

/// What a task wants.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Whether tests failed.
    pub has_failed: bool,
    /// `None` when tests failed and the ticket does not say what to do then.
    pub reading: Option<Reading>,
}
