//! A plan from a ticket's own structure: its headings, else its numbered items, else the ticket as it is.

use serde::{Deserialize, Serialize};

use cendriix_protocol::model_router::TaskType;

use super::{
    document::{Block, Document, Section, without_front_matter},
    instruction::{Instruction, stated},
    phrases::sentences,
    reading::Reading,
    ticket::{Part, named, part},
    words::shortened,
};

/// At most so many steps; what is left goes into the last.
pub const STEPS_MAX: usize = 64;
/// A plan with more bytes of prompts is one step.
const PROMPTS_MAX: usize = 2 * 1024 * 1024;
/// The longest name, in characters.
const NAME_MAX: usize = 80;

/// Steps, each after those it depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub steps: Vec<Step>,
}

/// One piece of work for one agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// `step-1`, `step-2` …
    pub id: String,
    pub name: String,
    /// `dev`, `qa`, `sre` or `security`.
    pub agent: String,
    pub task_type: TaskType,
    /// Ids of earlier steps.
    pub depends_on: Vec<String>,
    /// The ticket's own words, and what is good to know.
    pub prompt: String,
    pub reversibility_tier: String,
    /// How sure the engine is to do it by itself, 0 to 1.
    pub confidence_score: f64,
    /// Why.
    pub reasons: Vec<String>,
}

/// A step before it has its place.
struct Draft {
    name: String,
    /// The ticket's own markdown.
    text: String,
    is_parallel: bool,
}

/// Plans a ticket; a ticket without structure is one step.
pub fn plan(title: &str, body: &str) -> Plan {
    let document = Document::parse(without_front_matter(body));
    let parts: Vec<(Part, Section<'_>)> = document
        .sections()
        .into_iter()
        .map(|section| (part(&section, &Reading::of(section.blocks)), section))
        .collect();
    let source = |section: &Section<'_>| source(&document, section);
    let failing: Vec<String> =
        parts.iter().filter(|(part, _)| *part == Part::IfTestsFail).map(|(_, one)| source(one)).collect();
    let mut drafts = by_headings(&document, &parts);
    if drafts.len() < 2 {
        drafts = by_items(&document, &parts).unwrap_or(drafts);
    }
    let notes = notes(title, &document, &parts);
    let tail = [notes.as_slice(), failing.as_slice()].concat().join("\n\n");
    merge_rest(&mut drafts);
    let size: usize = drafts.iter().map(|draft| draft.text.len() + tail.len()).sum();
    if drafts.is_empty() || size > PROMPTS_MAX {
        let whole = parts.iter().filter(|(part, _)| *part != Part::IfTestsFail).map(|(_, one)| source(one));
        let mut text: Vec<String> = whole.collect();
        if !has_title(&document, title) {
            text.insert(0, format!("# {}", one_line(title)));
        }
        text.extend(failing);
        let name = shortened(title, NAME_MAX);
        let draft = Draft { name, text: text.join("\n\n").trim().to_owned(), is_parallel: false };
        return Plan { steps: placed(vec![draft], "") };
    }
    Plan { steps: placed(drafts, &tail) }
}

/// The markdown of a section. One on what failed is told as background: under its own heading it would say
/// that tests of this run failed.
fn source(document: &Document<'_>, section: &Section<'_>) -> String {
    match &section.heading {
        Some(heading) if named(&heading.text) == Some(Part::WhatFailed) => {
            let text = &document.source[heading.span.end..section.span.end];
            format!("## Background\n\n{}", text.trim())
        }
        _ => document.source[section.span.clone()].trim().to_owned(),
    }
}

fn one_line(title: &str) -> String {
    title.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn has_title(document: &Document<'_>, title: &str) -> bool {
    let sections = document.sections();
    let first = sections.first().and_then(|section| section.heading.as_ref());
    first.is_some_and(|heading| heading.level == 1 && one_line(&heading.text) == one_line(title))
}

fn by_headings(document: &Document<'_>, parts: &[(Part, Section<'_>)]) -> Vec<Draft> {
    let tasks: Vec<&Section<'_>> =
        parts.iter().filter(|(part, _)| *part == Part::Task).map(|(_, section)| section).collect();
    if !tasks.iter().any(|section| section.heading.as_ref().is_some_and(|heading| heading.level == 2)) {
        return Vec::new();
    }
    let draft = |section: &&Section<'_>| {
        let text = document.source[section.span.clone()].trim().to_owned();
        let first = || document.source[section.span.clone()].trim().lines().next().unwrap_or_default();
        let title = section.heading.as_ref().map_or_else(|| first().to_owned(), |it| it.text.clone());
        let (name, is_parallel) = name(&title);
        Draft { name, text, is_parallel }
    };
    tasks.iter().map(draft).collect()
}

/// The numbered items, when nothing outside them asks for anything.
fn by_items(document: &Document<'_>, parts: &[(Part, Section<'_>)]) -> Option<Vec<Draft>> {
    let is_numbered = |place: usize| document.items.get(place).is_some_and(|item| item.is_numbered);
    let tasks: Vec<&Section<'_>> =
        parts.iter().filter(|(part, _)| *part == Part::Task).map(|(_, section)| section).collect();
    let blocks = || tasks.iter().flat_map(|section| section.blocks);
    let mut places: Vec<usize> =
        blocks().filter_map(|block| block.item).filter(|place| is_numbered(*place)).collect();
    places.dedup();
    let outside = blocks().filter(|block: &&Block| !block.item.is_some_and(is_numbered));
    if places.len() < 2 || Reading::of(outside).asks() {
        return None;
    }
    let draft = |place: usize| {
        let text = undented(document.source, document.items.get(place)?.span.clone());
        let first = text.lines().next().unwrap_or_default().trim_end_matches(':');
        let (name, is_parallel) = name(first);
        Some(Draft { name, text, is_parallel })
    };
    Some(places.into_iter().filter_map(draft).collect())
}

/// The text of an item without its number and the spaces before its lines.
fn undented(source: &str, span: std::ops::Range<usize>) -> String {
    let text = &source[span.clone()];
    let line_start = source[..span.start].rfind('\n').map_or(0, |end| end + 1);
    let column = span.start - line_start;
    let number = text.len() - text.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let rest = text.get(number + 1..).unwrap_or_default();
    let spaces = rest.len() - rest.trim_start_matches(' ').len();
    let width = column + number + 1 + if spaces > 4 { 1 } else { spaces };
    let mut lines = rest.trim_start_matches(' ').lines();
    let first = lines.next().unwrap_or_default().to_owned();
    let mut all = vec![first];
    all.extend(lines.map(|line| {
        let indent = line.len() - line.trim_start_matches(' ').len();
        line.strip_prefix('\t').unwrap_or(&line[indent.min(width)..]).to_owned()
    }));
    all.join("\n").trim_end().to_owned()
}

/// What is good to know, for each prompt.
fn notes(title: &str, document: &Document<'_>, parts: &[(Part, Section<'_>)]) -> Vec<String> {
    let mut about = vec!["## About the ticket".to_owned(), one_line(title)];
    let mut notes = Vec::new();
    for (_, section) in parts.iter().filter(|(part, _)| [Part::Context, Part::WhatFailed].contains(part)) {
        let own = section.heading.as_ref().filter(|heading| heading.level > 1);
        let start = section.heading.as_ref().map_or(section.span.start, |heading| heading.span.end);
        let text = document.source[start..section.span.end].trim();
        match own {
            Some(_) => notes.push(source(document, section)),
            None if !text.is_empty() => about.push(text.to_owned()),
            None => {}
        }
    }
    notes.insert(0, about.join("\n\n"));
    notes
}

/// The name without its number, and whether it is done beside its neighbours.
fn name(title: &str) -> (String, bool) {
    let title = title.trim();
    let bare = title.trim_end_matches([':', '.']);
    let parallel = "(in parallel)";
    let split = bare.len().checked_sub(parallel.len()).filter(|at| bare.is_char_boundary(*at));
    let is_parallel = split.is_some_and(|at| bare[at..].eq_ignore_ascii_case(parallel));
    let title = if is_parallel { bare[..split.unwrap_or(0)].trim_end() } else { title };
    let after_number = title.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_number = after_number.len() < title.len() && after_number.starts_with(['.', ')', ':']);
    let title = if is_number { after_number[1..].trim_start() } else { title };
    (shortened(title.trim_end_matches([':', '.']), NAME_MAX), is_parallel)
}

/// Puts what is over [`STEPS_MAX`] into the last step.
fn merge_rest(drafts: &mut Vec<Draft>) {
    if drafts.len() > STEPS_MAX {
        let rest = drafts.split_off(STEPS_MAX);
        if let Some(last) = drafts.last_mut() {
            last.name = shortened(&format!("{} (and {} more)", last.name, rest.len()), NAME_MAX);
            last.is_parallel = false;
            for draft in rest {
                last.text.push_str("\n\n");
                last.text.push_str(&draft.text);
            }
        }
    }
}

/// Gives each step its place: after the one before, or beside its neighbours.
fn placed(drafts: Vec<Draft>, tail: &str) -> Vec<Step> {
    let mut before: Vec<String> = Vec::new();
    let mut group: Vec<String> = Vec::new();
    let mut steps = Vec::new();
    for (number, draft) in (1..).zip(drafts) {
        let id = format!("step-{number}");
        if !draft.is_parallel && !group.is_empty() {
            before = std::mem::take(&mut group);
        }
        let depends_on = before.clone();
        if draft.is_parallel {
            group.push(id.clone());
        } else {
            before = vec![id.clone()];
        }
        steps.push(step(id, depends_on, &draft, tail));
    }
    steps
}

fn step(id: String, depends_on: Vec<String>, draft: &Draft, tail: &str) -> Step {
    let prompt = if tail.is_empty() { draft.text.clone() } else { format!("{}\n\n{tail}", draft.text) };
    let document = Document::parse(&prompt);
    let reading = super::ticket::wanted(&document).reading.unwrap_or_default();
    let (confidence_score, reasons) = confidence(&reading);
    Step {
        id,
        name: draft.name.clone(),
        agent: agent(&draft.name).to_owned(),
        task_type: task_type(&draft.name, &reading),
        depends_on,
        prompt,
        reversibility_tier: "reversible".to_owned(),
        confidence_score,
        reasons,
    }
}

fn confidence(reading: &Reading) -> (f64, Vec<String>) {
    let literal = format!("states {} literally", stated(&reading.instructions));
    let is_blind = |one: &Instruction| matches!(one, Instruction::Edit { .. } | Instruction::Patch(_));
    match (reading.instructions.is_empty(), reading.unclear.first()) {
        (false, None) if reading.instructions.iter().any(is_blind) => {
            (0.9, vec![literal, "depends on what the changed files hold".to_owned()])
        }
        (false, None) => (0.95, vec![literal]),
        (false, Some(unclear)) => {
            let quote = shortened(&unclear.sentence, NAME_MAX);
            (0.3, vec![literal, format!("{quote:?} needs a language model: {}", unclear.why)])
        }
        (true, _) => (0.1, vec!["is prose: a language model is needed".to_owned()]),
    }
}

fn words(name: &str) -> Vec<String> {
    let line = [super::document::Piece::Text(name.to_owned())];
    let sentences = sentences(&line);
    let all = sentences.iter().flat_map(|sentence| &sentence.tokens).filter_map(|token| token.word());
    all.map(str::to_owned).collect()
}

/// Who does it, by the words of its name.
fn agent(name: &str) -> &'static str {
    let words = words(name);
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    if has(&["credentials", "cve", "secret", "secrets", "security", "vulnerabilities", "vulnerability"]) {
        "security"
    } else if has(&["alerts", "ci", "deploy", "deployment", "docker", "monitoring", "pipeline", "rollback"]) {
        "sre"
    } else if has(&["check", "qa", "test", "tests", "verify"]) {
        "qa"
    } else {
        "dev"
    }
}

fn task_type(name: &str, reading: &Reading) -> TaskType {
    let words = words(name);
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    if !reading.instructions.is_empty() {
        TaskType::CodeGeneration
    } else if has(&["summarise", "summarize", "summary"]) {
        TaskType::Summarisation
    } else if has(&["categorise", "categorize", "classify", "triage"]) {
        TaskType::Classification
    } else if has(&["analyse", "analyze", "compare", "decide", "evaluate", "investigate", "research"]) {
        TaskType::Reasoning
    } else {
        TaskType::CodeGeneration
    }
}
