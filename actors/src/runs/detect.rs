//! Finds out how a repository tests itself, from the files that it has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::sandboxes::{Files, Kind};

/// What is read of a file.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// Entries of a directory that are looked at.
const ENTRIES_MAX: usize = 10_000;
/// Python tests that are read to see what they are written for.
const TESTS_READ: usize = 8;

/// Files that are read when they are at the top.
const READ: [&str; 8] = [
    "package.json",
    "pyproject.toml",
    "setup.cfg",
    "tox.ini",
    "requirements-dev.txt",
    "GNUmakefile",
    "makefile",
    "Makefile",
];

/// How a repository is tested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    /// A line for `sh`, run at the top of the tree.
    pub command: String,
    /// What in the tree says so.
    pub because: String,
}

/// What of a tree is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Regular files at the top.
    top: BTreeSet<String>,
    /// Regular files of `tests/`.
    tests: BTreeSet<String>,
    /// The content of those that say something, by their path.
    texts: BTreeMap<String, String>,
}

/// Finds the command that tests a tree; none when nothing in it tells.
pub async fn detect(files: &Files) -> Option<Detected> {
    let mut seen =
        Seen { top: names(files, "").await, tests: names(files, "tests").await, ..Seen::default() };
    let top = READ.iter().filter(|name| seen.top.contains(**name)).map(|name| (*name).to_owned());
    let pythons = seen.top.iter().filter(|name| is_python_test(name)).cloned();
    let tests = seen.tests.iter().filter(|name| is_python_test(name)).map(|name| format!("tests/{name}"));
    let paths: Vec<String> = top.chain(pythons.take(TESTS_READ)).chain(tests.take(TESTS_READ)).collect();
    for path in paths {
        if let Ok(content) = files.read(&path, FILE_BYTES_MAX).await {
            seen.texts.insert(path, String::from_utf8_lossy(&content).into_owned());
        }
    }
    seen.command()
}

/// The regular files of a directory; none when it is not there or too large.
async fn names(files: &Files, dir: &str) -> BTreeSet<String> {
    let entries = files.list(dir, ENTRIES_MAX).await.unwrap_or_default();
    let regular = entries.into_iter().filter(|entry| entry.kind == Kind::File);
    regular.filter_map(|entry| entry.name.into_string().ok()).collect()
}

impl Seen {
    /// The first that applies, from what a repository says outright to what is customary.
    fn command(&self) -> Option<Detected> {
        let has = |name: &'static str| self.top.contains(name).then_some(name);
        let found = |command: &str, because: &str| {
            Some(Detected { command: command.to_owned(), because: because.to_owned() })
        };
        if let Some(name) = has("test.sh") {
            return found("sh test.sh", name);
        }
        if let Some(name) = has("Cargo.toml") {
            return found("cargo test --offline", name);
        }
        if self.text("package.json").is_some_and(has_npm_test) {
            return found("npm test", "scripts.test in package.json");
        }
        if let Some(name) = has("go.mod") {
            return found("go test ./...", name);
        }
        if let Some(detected) = self.python() {
            return Some(detected);
        }
        // In the order in which make looks for them; it reads the first only.
        let makefile = ["GNUmakefile", "makefile", "Makefile"].into_iter().find_map(has)?;
        let has_target = self.text(makefile).is_some_and(has_test_target);
        if has_target { found("make test", &format!("the target test in {makefile}")) } else { None }
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Tests in Python: pytest where something names it or tests are where it looks for them, and unittest,
    /// which every Python has, where the tests are written for that alone.
    fn python(&self) -> Option<Detected> {
        const PYTEST: &str = "python3 -m pytest";
        const UNITTEST: &str = "python3 -m unittest discover";
        let found = |command: &str, because: String| Some(Detected { command: command.to_owned(), because });
        let configured = ["pytest.ini", "conftest.py"].into_iter().find(|name| self.top.contains(*name));
        let mentions = |name: &&str| self.text(name).is_some_and(|text| text.contains("pytest"));
        let named =
            ["pyproject.toml", "setup.cfg", "tox.ini", "requirements-dev.txt"].into_iter().find(mentions);
        if let Some(name) = configured {
            return found(PYTEST, name.to_owned());
        }
        if let Some(name) = named {
            return found(PYTEST, format!("{name} names pytest"));
        }
        let folder = self.tests.iter().find(|name| is_python_test(name)).map(|name| format!("tests/{name}"));
        let is_plain = self.are_for_unittest();
        let command = match &folder {
            _ if !is_plain => PYTEST.to_owned(),
            Some(_) if !self.tests.contains("__init__.py") => format!("{UNITTEST} -s tests"),
            _ => UNITTEST.to_owned(),
        };
        let test = folder.or_else(|| self.top.iter().find(|name| is_python_test(name)).cloned())?;
        found(&command, test)
    }

    /// Whether every test that was read uses unittest, and none pytest.
    fn are_for_unittest(&self) -> bool {
        let mut texts = self.tests_in_python().peekable();
        texts.peek().is_some() && texts.all(|text| text.contains("unittest") && !text.contains("pytest"))
    }

    fn tests_in_python(&self) -> impl Iterator<Item = &str> {
        let is_test = |path: &str| is_python_test(path.strip_prefix("tests/").unwrap_or(path));
        self.texts.iter().filter(move |(path, _)| is_test(path)).map(|(_, text)| text.as_str())
    }
}

/// Whether unittest or pytest looks for tests in a file of this name.
fn is_python_test(name: &str) -> bool {
    let stem = name.strip_suffix(".py").unwrap_or_default();
    stem.starts_with("test") && stem != "tests" || stem.ends_with("_test")
}

/// Whether `npm test` does anything; what `npm init` writes does not.
fn has_npm_test(package: &str) -> bool {
    let package: Value = serde_json::from_str(package).unwrap_or_default();
    let script = package["scripts"]["test"].as_str().unwrap_or_default();
    !script.trim().is_empty() && !script.contains("no test specified")
}

/// Whether a makefile has a rule for `test`.
fn has_test_target(makefile: &str) -> bool {
    makefile.lines().filter(|line| !line.starts_with(['\t', ' ', '#'])).any(|line| {
        let Some((targets, rest)) = line.split_once(':') else { return false };
        // `test := x` and `test ::= x` set a variable.
        let is_rule = !rest.trim_start_matches(':').starts_with('=');
        is_rule && !targets.contains('=') && targets.split_whitespace().any(|target| target == "test")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The command for files with their content.
    fn command(files: &[(&str, &str)]) -> String {
        let mut seen = Seen::default();
        for (path, content) in files {
            match path.strip_prefix("tests/") {
                Some(name) => seen.tests.insert(name.to_owned()),
                None => seen.top.insert((*path).to_owned()),
            };
            seen.texts.insert((*path).to_owned(), (*content).to_owned());
        }
        seen.command().map_or("none".to_owned(), |found| format!("{} ({})", found.command, found.because))
    }

    #[test]
    fn the_first_that_applies_tests_a_repository() {
        let npm = r#"{"scripts":{"test":"node --test"}}"#;
        let none = r#"{"scripts":{"test":"echo \"Error: no test specified\" && exit 1"}}"#;
        let unit = "import unittest";
        let functions = "def test_it(): pass";
        for (files, expected) in [
            (vec![], "none"),
            (vec![("README.md", "cargo test")], "none"),
            (vec![("Cargo.toml", ""), ("test.sh", "")], "sh test.sh (test.sh)"),
            (vec![("Cargo.toml", ""), ("package.json", npm)], "cargo test --offline (Cargo.toml)"),
            (vec![("package.json", npm), ("go.mod", "")], "npm test (scripts.test in package.json)"),
            (vec![("package.json", none), ("go.mod", "")], "go test ./... (go.mod)"),
            (vec![("package.json", "{}")], "none"),
            (vec![("package.json", "[")], "none"),
            (vec![("pytest.ini", ""), ("Makefile", "test:")], "python3 -m pytest (pytest.ini)"),
            (
                vec![("pyproject.toml", "[tool.pytest.ini_options]")],
                "python3 -m pytest (pyproject.toml names pytest)",
            ),
            (vec![("pyproject.toml", "[project]")], "none"),
            (vec![("tests/test_a.py", functions)], "python3 -m pytest (tests/test_a.py)"),
            (vec![("tests/test_a.py", unit)], "python3 -m unittest discover -s tests (tests/test_a.py)"),
            (
                vec![("tests/test_a.py", unit), ("tests/__init__.py", "")],
                "python3 -m unittest discover (tests/test_a.py)",
            ),
            (
                vec![("tests/test_a.py", unit), ("tests/test_b.py", functions)],
                "python3 -m pytest (tests/test_a.py)",
            ),
            (vec![("test_a.py", unit)], "python3 -m unittest discover (test_a.py)"),
            (vec![("test_a.py", "import pytest, unittest")], "python3 -m pytest (test_a.py)"),
            (vec![("a_test.py", functions)], "python3 -m pytest (a_test.py)"),
            (vec![("tests.py", unit)], "none"),
            (vec![("Makefile", "all:\n\ntest: all\n\t./t")], "make test (the target test in Makefile)"),
            (vec![("Makefile", "check test:: all\n")], "make test (the target test in Makefile)"),
            (vec![("Makefile", "test := 1\n.PHONY: test\nx: test\n# test:\n\ttest: x\n")], "none"),
            (vec![("GNUmakefile", "all:\n"), ("Makefile", "test:\n")], "none"),
        ] {
            assert_eq!(command(&files), expected, "{files:?}");
        }
    }

    #[tokio::test]
    async fn a_tree_is_looked_at_without_following_links() {
        let tree = tempfile::tempdir().unwrap();
        let files = Files::open(tree.path(), None).unwrap();
        assert_eq!(detect(&files).await, None);
        std::os::unix::fs::symlink("/etc/passwd", tree.path().join("test.sh")).unwrap();
        std::fs::create_dir(tree.path().join("Cargo.toml")).unwrap();
        files.write("tests/test_sum.py", "import unittest\n").await.unwrap();
        let found = detect(&files).await.unwrap();
        assert_eq!(found.command, "python3 -m unittest discover -s tests");
        files.write("package.json", r#"{"scripts":{"test":"true"}}"#).await.unwrap();
        assert_eq!(detect(&files).await.unwrap().command, "npm test");
    }
}
