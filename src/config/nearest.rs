//! What somebody probably meant who misspelt a key.

/// How alike two words must be, from 0 to 1, to be taken for each other.
const ALIKE_MIN: f64 = 0.6;

/// How alike two keys are at least that have the same name in different sections.
const SAME_NAME: f64 = 0.85;

/// The word that is closest to a misspelt one, if any is close.
pub(super) fn word<'a>(misspelt: &str, words: &[&'a str]) -> Option<&'a str> {
    let alike = |word: &&str| strsim::normalized_damerau_levenshtein(misspelt, word);
    let best = words.iter().copied().max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    (alike(&best) >= ALIKE_MIN).then_some(best)
}

/// The key that is closest to a misspelt one: one of the same name in another section, else the one whose
/// whole path is closest.
pub(super) fn place(misspelt: &[String], places: Vec<Vec<String>>) -> Option<Vec<String>> {
    let whole = misspelt.join(".");
    let alike = |place: &Vec<String>| {
        let same_name = place.last() == misspelt.last() && place.len() > 1;
        let likeness = strsim::normalized_damerau_levenshtein(&whole, &place.join("."));
        if same_name { likeness.max(SAME_NAME) } else { likeness }
    };
    let best = places.into_iter().max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    (alike(&best) >= ALIKE_MIN).then_some(best)
}
