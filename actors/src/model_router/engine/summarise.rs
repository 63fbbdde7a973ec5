//! A summary made of the text's own sentences, in their order.
//!
//! Sentences are chosen by how often their words occur in the whole; words of a sentence that was chosen
//! count less for the next (`SumBasic`). Counted in integers, so every machine chooses the same.

use std::collections::BTreeMap;

use super::{
    classify::{first_words, words},
    document::{Document, What},
    phrases::sentences,
    usage::BYTES_A_TOKEN,
};

/// At most so many sentences are looked at; the rest of a longer text is not.
const SENTENCES_MAX: usize = 4000;
/// At most so many are chosen.
const CHOSEN_MAX: usize = 40;
/// A summary has at most this part of the text, but may have [`SHORT`] bytes.
const PART: usize = 4;
const SHORT: usize = 280;

/// A summary of a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub text: String,
    /// Whether a sentence had to be cut.
    pub is_cut: bool,
}

/// A text to choose from, sentence by sentence.
struct Line {
    text: String,
    words: Vec<String>,
}

/// Summarises within `tokens_max` tokens (0 means there is no limit); `None` when there is no sentence.
pub(super) fn summarise(prompt: &str, tokens_max: u32) -> Option<Summary> {
    let lines = lines(prompt);
    let total: usize = lines.iter().map(|line| line.text.len()).sum();
    let limit = match usize::try_from(tokens_max).unwrap_or(usize::MAX) {
        0 => usize::MAX,
        tokens => tokens.saturating_mul(BYTES_A_TOKEN),
    };
    let wanted = limit.min(SHORT.max(total / PART));
    let mut weights: BTreeMap<&str, u64> = BTreeMap::new();
    for word in lines.iter().flat_map(|line| &line.words) {
        // So large that it can be made smaller many times.
        *weights.entry(word).or_default() += 1 << 20;
    }
    let mut chosen: Vec<usize> = Vec::new();
    let mut length = 0;
    while chosen.len() < CHOSEN_MAX {
        let fits = |place: &usize| !chosen.contains(place) && length + lines[*place].text.len() < wanted;
        let score = |place: usize| {
            let words = &lines[place].words;
            let sum: u64 = words.iter().filter_map(|word| weights.get(word.as_str())).sum();
            // Very short sentences say little.
            sum / (u64::try_from(words.len()).unwrap_or(u64::MAX).max(5))
        };
        let best = (0..lines.len()).filter(fits).max_by_key(|place| (score(*place), lines.len() - place));
        let Some(best) = best.filter(|best| score(*best) > 0) else { break };
        for word in &lines[best].words {
            if let Some(weight) = weights.get_mut(word.as_str()) {
                *weight /= 4;
            }
        }
        length += lines[best].text.len() + 1;
        chosen.push(best);
    }
    chosen.sort_unstable();
    if chosen.is_empty() {
        let first = lines.first()?;
        return Some(cut(&first.text, limit));
    }
    let text: Vec<&str> = chosen.iter().map(|place| lines[*place].text.as_str()).collect();
    Some(Summary { text: text.join(" "), is_cut: false })
}

fn lines(prompt: &str) -> Vec<Line> {
    let document = Document::parse(prompt);
    let mut lines: Vec<Line> = Vec::new();
    for block in &document.blocks {
        let What::Prose(pieces) = &block.what else { continue };
        for sentence in sentences(pieces) {
            let mut stems: Vec<String> = words(&sentence.text).into_iter().map(|(stem, _)| stem).collect();
            stems.sort_unstable();
            stems.dedup();
            lines.push(Line { text: sentence.text, words: stems });
        }
        if lines.len() >= SENTENCES_MAX {
            break;
        }
    }
    // The request itself is no part of the text.
    if lines.len() > 1 && is_asked(&lines[0].text) {
        lines.remove(0);
    }
    lines.truncate(SENTENCES_MAX);
    lines
}

fn cut(text: &str, limit: usize) -> Summary {
    if text.len() <= limit {
        return Summary { text: text.to_owned(), is_cut: false };
    }
    let mut end = limit.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let end = text[..end].rfind(' ').unwrap_or(end);
    Summary { text: format!("{}…", text[..end].trim_end()), is_cut: true }
}

/// Whether a prompt of no kind asks for a summary.
pub(super) fn is_asked(prompt: &str) -> bool {
    first_words(prompt).any(|word| {
        ["condense", "summarise", "summarize", "summary", "shorten", "tldr"].contains(&word.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Summarise the following report:\n\n\
        The store failed at night. The store holds all runs of the team. A disk was full, so the store could \
        not write. Somebody had lunch. After the disk was cleaned, the store wrote again and no run was lost. \
        The weather was fine.";

    #[test]
    fn a_summary_is_made_of_the_most_telling_sentences_in_their_order() {
        insta::assert_snapshot!(summarise(TEXT, 40).unwrap().text, @"The store holds all runs of the team. A disk was full, so the store could not write. After the disk was cleaned, the store wrote again and no run was lost.");
    }

    #[test]
    fn a_summary_keeps_within_its_tokens_even_if_a_sentence_must_be_cut() {
        let summary = summarise(TEXT, 4).unwrap();
        assert!(summary.is_cut && summary.text.len() <= 16, "{summary:?}");
    }

    #[test]
    fn a_text_without_sentences_has_no_summary() {
        assert_eq!(summarise("```\nlet a = 1;\n```", 100), None);
    }
}
