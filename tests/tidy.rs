//! The repository's own rules, as tests; each fails with `file:line: what is wrong and what to do`.
//!
//! **Invariant:** a list of exceptions only shrinks; one that nothing needs any more fails its rule.

mod layers;
mod scanner;
mod source;

use std::{collections::BTreeMap, fs, path::PathBuf, process::Command, sync::LazyLock};

use scanner::Line;
use source::{Function, Source, functions, words};

/// Where the repository is.
pub(crate) const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// This file.
const TIDY: &str = "tests/tidy.rs";

/// The longest line, in characters.
const WIDTH_MAX: usize = 110;
/// The longest function, in lines.
const FUNCTION_MAX: usize = 70;
/// A file has fewer lines than this before its tests.
const FILE_MAX: usize = 600;
/// `ARCHITECTURE.md` has fewer lines than this.
const ARCHITECTURE_MAX: usize = 200;

/// Functions that are longer than [`FUNCTION_MAX`] for the time being: `path::function lines`, one a line.
const RATCHET: &str = "tests/tidy_ratchet.txt";

/// Files that may be longer than [`FILE_MAX`]: the file, and why.
const LONG_FILES: [(&str, &str); 0] = [];

/// Names that say nothing.
const VAGUE: [&str; 8] = ["common", "data", "helpers", "info", "manager", "misc", "service", "utils"];

/// Code that is never left behind, and what to do instead.
const LEFTOVERS: [(&str, &str); 6] = [
    ("dbg!(", "remove it, or log with `tracing`"),
    ("todo!(", "write it, or leave it out"),
    ("unimplemented!(", "write it, or leave it out"),
    ("#[ignore", "make the test quick and sound, or remove it"),
    ("thread::sleep", "wait for what happens, not for time"),
    ("[allow(", "use `#[expect(.., reason = \"..\")]`"),
];

/// Words in comments that tell a history.
const HISTORY: [&str; 4] = ["for now", "previously", "simplified", "temporarily"];

/// Every Rust file of the repository.
static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let read = |path: String| fs::read_to_string(at_root(&path)).ok().map(|text| Source::new(path, &text));
    let mut sources: Vec<Source> = listed().unwrap_or_else(walked).into_iter().filter_map(read).collect();
    let modules: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    let is_inside =
        |path: &str, module| path.strip_prefix(module).is_some_and(|rest| rest.starts_with(['.', '/']));
    for source in &mut sources {
        if modules.iter().any(|module| is_inside(&source.path, module)) {
            source.serves_tests();
        }
    }
    sources
});

/// The Rust files that git keeps or would keep; `None` outside a repository.
fn listed() -> Option<Vec<String>> {
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", "*.rs"];
    let output = Command::new("git").args(arguments).current_dir(ROOT).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.split_terminator('\0').map(str::to_owned).collect())
}

/// The Rust files in the folders that have any.
fn walked() -> Vec<String> {
    let mut folders = ["src", "actors", "protocol", "persistence", "tests", "benches", "examples"]
        .map(str::to_owned)
        .to_vec();
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(at_root(&folder)).into_iter().flatten().flatten() {
            let path = format!("{folder}/{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() {
                folders.push(path);
            } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

fn at_root(path: &str) -> PathBuf {
    PathBuf::from(ROOT).join(path)
}

/// Fails with all findings at once.
pub(crate) fn report(findings: impl IntoIterator<Item = String>) {
    let findings: Vec<String> = findings.into_iter().collect();
    assert!(findings.is_empty(), "{} to mend:\n{}\n", findings.len(), findings.join("\n"));
}

/// What `wrong` says about the lines that `lines` chooses from each file.
fn in_lines(lines: fn(&Source) -> &[Line], wrong: impl Fn(&Source, &Line) -> Option<String>) -> Vec<String> {
    let wrong_in = |source: &Source| -> Vec<String> {
        let findings = lines(source).iter().map(|line| Some(source.at(line.number, wrong(source, line)?)));
        findings.flatten().collect()
    };
    SOURCES.iter().flat_map(wrong_in).collect()
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let silent =
        SOURCES.iter().filter(|source| !source.lines.first().is_some_and(|line| line.raw.starts_with("//!")));
    report(silent.map(|source| source.at(1, "begin the file with `//!` and a sentence on what it is for")));
}

#[test]
fn no_file_or_module_has_a_name_that_says_nothing() {
    let vague = |name: &str| VAGUE.contains(&name).then(|| format!("`{name}` says nothing; name the thing"));
    let in_path =
        |source: &Source| source.path.split(['/', '.']).find_map(vague).map(|found| source.at(1, found));
    let in_code = in_lines(Source::all, |_, line| {
        words(&line.code).skip_while(|word| *word != "mod").nth(1).and_then(vague)
    });
    report(SOURCES.iter().filter_map(in_path).chain(in_code));
}

#[test]
fn no_type_has_a_name_that_says_nothing() {
    report(in_lines(Source::all, |_, line| {
        let mut words =
            words(&line.code).skip_while(|word| !["struct", "enum", "trait", "type", "union"].contains(word));
        let name = words.nth(1)?;
        let is_vague =
            ["Manager", "Helper", "Helpers", "Util", "Utils"].iter().any(|end| name.ends_with(end));
        is_vague.then(|| format!("`{name}` says nothing; name the thing"))
    }));
}

#[test]
fn nothing_is_left_over() {
    let notes = ["FIXME", "TODO", "XXX"];
    report(in_lines(Source::all, |_, line| {
        let note = words(&line.code).chain(words(&line.comment)).find(|word| notes.contains(word));
        let code = || LEFTOVERS.iter().find(|(code, _)| line.code.contains(code));
        note.map(|note| format!("`{note}` is left over; do it, or write it down elsewhere"))
            .or_else(|| code().map(|(code, instead)| format!("`{code}` is left over; {instead}")))
    }));
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    report(in_lines(Source::shipped, |_, line| {
        let found = [".unwrap()", ".expect("].into_iter().find(|call| line.code.contains(call))?;
        Some(format!("`{found}` outside tests; return an error, or make the case impossible"))
    }));
}

#[test]
fn comments_read_the_same_a_year_later() {
    report(in_lines(Source::all, |_, line| {
        let comment = line.comment.to_lowercase();
        let found = HISTORY.iter().find(|marker| comment.contains(**marker))?;
        Some(format!("\"{found}\" tells a history; say what is, and why"))
    }));
}

#[test]
fn lines_are_within_110_characters() {
    report(in_lines(Source::all, |source, line| {
        let width = line.raw.chars().count();
        let is_free = ["http://", "https://"].iter().any(|scheme| line.raw.contains(scheme))
            || line.has_literal && source.is_in_tests(line);
        (width > WIDTH_MAX && !is_free)
            .then(|| format!("{width} characters; break the line before {WIDTH_MAX}"))
    }));
}

#[test]
fn functions_are_within_70_lines_unless_they_were_longer() {
    let ratchet = fs::read_to_string(at_root(RATCHET)).unwrap_or_default();
    let mut listed: BTreeMap<&str, usize> = ratchet
        .lines()
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, lines)| (name, lines.parse().unwrap_or(0)))
        .collect();
    let mut findings = Vec::new();
    for source in SOURCES.iter() {
        let long = functions(source.shipped()).into_iter().filter(|function| function.length > FUNCTION_MAX);
        for Function { line, name, length } in long {
            let limit = listed.remove(format!("{}::{name}", source.path).as_str()).unwrap_or(FUNCTION_MAX);
            if length > limit {
                findings.push(
                    source.at(line, format!("`{name}` has {length} lines, not {limit}; make it shorter")),
                );
            }
        }
    }
    let over =
        listed.keys().map(|name| format!("{RATCHET}: `{name}` is short or gone; remove it from the list"));
    report(findings.into_iter().chain(over));
}

#[test]
fn files_are_under_600_lines_before_their_tests() {
    let long = |source: &&Source| source.shipped().len() >= FILE_MAX;
    let is_known = |source: &&Source| LONG_FILES.iter().any(|(file, _)| *file == source.path);
    let long_ones = SOURCES.iter().filter(long).filter(|source| !is_known(source));
    let too_long = long_ones.map(|source| {
        source.at(FILE_MAX, format!("{} lines; look for the missing noun", source.shipped().len()))
    });
    let is_long = |file: &str| SOURCES.iter().any(|source| source.path == file && long(&source));
    let stale = LONG_FILES.iter().filter(|(file, _)| !is_long(file));
    let over = stale.map(|(file, _)| format!("{TIDY}: {file} is short or gone; remove it from `LONG_FILES`"));
    report(too_long.chain(over));
}

#[test]
fn the_documents_are_there_and_short() {
    let wrong = |document: &str| match fs::read_to_string(at_root(document)).map(|text| text.lines().count())
    {
        Err(error) => Some(format!("{document}:1: cannot be read ({error}); write it")),
        Ok(lines) if document == "ARCHITECTURE.md" && lines >= ARCHITECTURE_MAX => {
            Some(format!("{document}:{ARCHITECTURE_MAX}: {lines} lines; leave out what the code says"))
        }
        Ok(_) => None,
    };
    report(["README.md", "CHANGELOG.md", "ARCHITECTURE.md"].into_iter().filter_map(wrong));
}
