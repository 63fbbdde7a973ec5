//! Which kind of thing a text is, by the words in it.

use std::collections::BTreeSet;

use super::{
    document::{Document, What, plain},
    words::shortened,
};

/// At most so many classes.
const CLASSES_MAX: usize = 64;

/// Kinds of tickets, with the words that point to each.
const KINDS: &[(&str, &str)] = &[
    (
        "bug",
        "bug broken crash defect error exception fail fault freeze hang incorrect panic regression stuck \
             traceback unexpected wrong",
    ),
    (
        "feature",
        "ability add allow create enhancement enable feature implement introduce offer provide \
                 support want wish",
    ),
    ("question", "how what when where which who why whether wonder question explain can could does"),
    ("docs", "doc documentation guide manual readme tutorial typo wording changelog"),
    (
        "chore",
        "bump chore cleanup dependency lint maintenance migrate refactor rename reorganise tidy update \
               upgrade version",
    ),
    ("security", "attack cve exploit injection leak secret security vulnerability xss"),
    ("incident", "alert down incident outage unavailable degraded rollback pager"),
];

/// A class with the words that point to it.
#[derive(Debug, PartialEq, Eq)]
struct Class {
    name: String,
    words: BTreeSet<String>,
}

/// The class of a text and the words that decided, or why there is none.
///
/// Classes that the system's text or the prompt names are the ones to choose from; otherwise kinds of
/// tickets.
pub(super) fn classify(system: &str, prompt: &str) -> Result<String, String> {
    let (classes, text) = match (listed(system), listed(prompt)) {
        (Some((classes, _)), _) => (classes, prompt.to_owned()),
        (None, Some((classes, rest))) => (classes, rest),
        (None, None) => (kinds(), prompt.to_owned()),
    };
    let said = words(&text);
    let mut best: Option<(&Class, Vec<&str>)> = None;
    for class in &classes {
        let mut decided: Vec<&str> = Vec::new();
        for (stem, word) in &said {
            if class.words.contains(stem) && !decided.contains(&word.as_str()) {
                decided.push(word);
            }
        }
        if decided.len() > best.as_ref().map_or(0, |(_, most)| most.len()) {
            best = Some((class, decided));
        }
    }
    if let Some((class, decided)) = best {
        let shown = decided.iter().take(12).copied().collect::<Vec<_>>().join(", ");
        return Ok(format!("{}\n\nDecided by: {shown}.", class.name));
    }
    let names = classes.iter().map(|class| class.name.as_str()).collect::<Vec<_>>().join(", ");
    Err(format!("No word of the text points to one of the classes {}", shortened(&names, 300)))
}

fn kinds() -> Vec<Class> {
    KINDS
        .iter()
        .map(|(name, words)| Class {
            name: (*name).to_owned(),
            words: words.split_whitespace().map(stem).collect(),
        })
        .collect()
}

/// The classes that a text lists, and what else it says.
fn listed(text: &str) -> Option<(Vec<Class>, String)> {
    let mut lines = text.lines().enumerate();
    lines.find_map(|(place, line)| {
        let small = line.to_ascii_lowercase();
        let marks = ["classes", "categories", "labels", "intents", "one of", "either of"];
        let mark = marks.iter().find_map(|mark| small.find(mark).map(|at| at + mark.len()))?;
        let rest = line.get(mark..)?;
        let colon = rest.find(':').filter(|at| *at < 40)?;
        let (names, after) = match rest[colon + 1..].trim() {
            "" => bullets(text, place + 1),
            inline => (in_line(inline), place + 1),
        };
        let other = text.lines().take(place).chain(text.lines().skip(after));
        (names.len() > 1).then(|| (names, other.collect::<Vec<_>>().join("\n")))
    })
}

/// `a, b or c`
fn in_line(names: &str) -> Vec<Class> {
    let spaced = names.trim_end_matches('.').replace(" or ", ", ").replace(" and ", ", ").replace('|', ",");
    let class = |name: &str| {
        let name = name.trim().trim_matches(['`', '"', '\'', '*']);
        (!name.is_empty() && name.len() <= 80).then(|| class(name, ""))
    };
    spaced.split([',', ';']).filter_map(class).take(CLASSES_MAX).collect()
}

/// `- a: what it is`, and the place of the line after them.
fn bullets(text: &str, from: usize) -> (Vec<Class>, usize) {
    let mut classes = Vec::new();
    let mut at = from;
    for line in text.lines().skip(from) {
        let item = line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit());
        let Some(item) = ["- ", "* ", ". ", ") "].iter().find_map(|mark| item.strip_prefix(mark)) else {
            if classes.is_empty() && line.trim().is_empty() {
                at += 1;
                continue;
            }
            break;
        };
        at += 1;
        let (name, says) = item.split_once(':').or_else(|| item.split_once(" - ")).unwrap_or((item, ""));
        let name = name.trim().trim_matches(['`', '"', '\'', '*']);
        if !name.is_empty() && classes.len() < CLASSES_MAX {
            classes.push(class(name, says));
        }
    }
    (classes, at)
}

/// A class is pointed to by the words of its name, of what is said about it, and of a kind of that name.
fn class(name: &str, says: &str) -> Class {
    let known = KINDS.iter().find(|(kind, _)| stem(kind) == stem(&name.to_lowercase()));
    let mut all: BTreeSet<String> =
        words(&format!("{name} {says}")).into_iter().map(|(stem, _)| stem).collect();
    all.extend(known.into_iter().flat_map(|(_, words)| words.split_whitespace().map(stem)));
    Class { name: name.to_owned(), words: all }
}

/// The words of a text with their stems; those that say nothing are left out.
pub(super) fn words(text: &str) -> Vec<(String, String)> {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'')
        .map(|word| word.trim_matches('\'').to_lowercase())
        .filter(|word| word.len() > 1 && !EMPTY.contains(&word.as_str()))
        .map(|word| (stem(&word), word))
        .collect()
}

/// Words that are in every text.
const EMPTY: &[&str] = &[
    "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because", "been",
    "but", "by", "for", "from", "had", "has", "have", "he", "her", "his", "if", "in", "into", "is", "it",
    "its", "itself", "more", "most", "my", "no", "not", "of", "on", "one", "only", "or", "other", "our",
    "out", "over", "she", "so", "some", "such", "than", "that", "the", "their", "them", "then", "there",
    "these", "they", "this", "those", "to", "too", "under", "up", "us", "very", "was", "we", "were", "while",
    "will", "with", "you", "your",
];

/// A word without its ending, so that "crashes" and "crash" are the same.
pub(super) fn stem(word: &str) -> String {
    let cut = |ending: &str, rest_min: usize| {
        word.strip_suffix(ending).filter(|rest| rest.len() >= rest_min).map(str::to_owned)
    };
    let found = cut("ies", 3)
        .map(|rest| format!("{rest}y"))
        .or_else(|| cut("ing", 4))
        .or_else(|| cut("ed", 4))
        .or_else(|| cut("es", 4).filter(|rest| rest.ends_with(['s', 'x', 'h', 'z'])))
        .or_else(|| cut("s", 3).filter(|rest| !rest.ends_with(['s', 'u', 'i'])))
        .unwrap_or_else(|| word.to_owned());
    match found.strip_suffix('e') {
        Some(rest) if rest.len() >= 4 => rest.to_owned(),
        _ => found,
    }
}

/// Whether a prompt of no kind asks for a class.
pub(super) fn is_asked(prompt: &str) -> bool {
    first_words(prompt).any(|word| ["categorise", "categorize", "classify", "label"].contains(&word.as_str()))
}

/// The first words of a prompt, past politeness.
pub(super) fn first_words(prompt: &str) -> impl Iterator<Item = String> {
    let document = Document::parse(prompt.get(..prompt.len().min(400)).unwrap_or(prompt));
    let first = document.blocks.iter().find_map(|block| match &block.what {
        What::Heading { line, .. } | What::Prose(line) => Some(plain(line)),
        What::Code(_) => None,
    });
    let small = first.unwrap_or_default().to_lowercase();
    let all: Vec<String> = small
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let is_polite = |word: &String| ["can", "could", "please", "you", "would"].contains(&word.as_str());
    all.into_iter().skip_while(move |word| is_polite(word)).take(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_classified_by_its_words() {
        insta::assert_snapshot!(classify("", "The export crashes with an error on empty files.").unwrap(), @r#"
        bug

        Decided by: crashes, error.
        "#);
        insta::assert_snapshot!(classify("", "How do I set the port, and where does it read it?").unwrap(), @r#"
        question

        Decided by: how, where, does.
        "#);
        insta::assert_snapshot!(classify("", "Please fix a typo in the README").unwrap(), @r#"
        docs

        Decided by: typo, readme.
        "#);
    }

    #[test]
    fn classes_are_taken_from_the_prompt_or_the_system() {
        let prompt = "Classify into one of these classes: billing, shipping or returns.\n\nWhere is my shipping label?";
        insta::assert_snapshot!(classify("", prompt).unwrap(), @r#"
        shipping

        Decided by: shipping.
        "#);
        let system =
            "Intents:\n- C1: a question about the status of runs\n- C3: new work to start or dispatch\n";
        insta::assert_snapshot!(classify(system, "Start a run for this ticket, it is new work").unwrap(), @r#"
        C3

        Decided by: start, new, work.
        "#);
    }

    #[test]
    fn nothing_is_guessed_when_no_word_decides() {
        let prompt = "Classes: apple, pear\n\nThe moon is made of stone.";
        insta::assert_snapshot!(classify("", prompt).unwrap_err(), @"No word of the text points to one of the classes apple, pear");
    }
}
