//! Which untracked files of a work tree are left out: the rules of its `.gitignore` files, as texts.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};

/// The largest file of rules that is obeyed, in bytes; each rule is compiled, so a large one would take long.
pub(super) const RULES_MAX: u64 = 64 << 10;

/// The rules that hold in the folder one is in.
pub(super) struct Rules {
    /// Where a set of rules begins to hold; the outermost first.
    sets: Vec<(PathBuf, Gitignore)>,
}

impl Rules {
    /// Those of the repository itself, from a file beside it. What its owner ignores everywhere is not asked:
    /// the same work shall give the same commit on every machine.
    pub(super) fn of_repository(exclude: &Path) -> Self {
        let mut rules = Self { sets: Vec::new() };
        let mut text = String::new();
        let read = File::open(exclude).and_then(|file| file.take(RULES_MAX).read_to_string(&mut text));
        if read.is_ok() {
            rules.enter(Path::new(""), &text);
        }
        rules
    }

    /// Adds the rules of a folder. A line that is no rule is passed over, as git does.
    pub(super) fn enter(&mut self, folder: &Path, text: &str) {
        let mut builder = GitignoreBuilder::new("");
        for line in text.trim_start_matches('\u{feff}').lines() {
            drop(builder.add_line(None, line));
        }
        if let Ok(set) = builder.build() {
            self.sets.push((folder.to_owned(), set));
        }
    }

    /// Forgets the rules of a folder; those of the root hold to the end.
    pub(super) fn leave(&mut self, folder: &Path) {
        if !folder.as_os_str().is_empty() {
            self.sets.pop_if(|(place, _)| place == folder);
        }
    }

    /// Whether something is to be left out unless it is tracked: the innermost rule about it decides.
    pub(super) fn ignore(&self, path: &Path, is_folder: bool) -> bool {
        for (folder, set) in self.sets.iter().rev() {
            let Ok(inner) = path.strip_prefix(folder) else { continue };
            match set.matched(inner, is_folder) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => {}
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_rule_decides_and_the_last_line_of_it() {
        let mut rules = Rules { sets: Vec::new() };
        rules.enter(Path::new(""), "\u{feff}*.log\n!keep.log\n/target/\n# a comment\n");
        rules.enter(Path::new("a"), "!debug.log\nonly-here\n");
        let ignored = |path: &str, is_folder| rules.ignore(Path::new(path), is_folder);
        assert!(ignored("x.log", false) && ignored("b/x.log", false) && ignored("a/x.log", false));
        assert!(!ignored("keep.log", false) && !ignored("a/debug.log", false) && ignored("debug.log", false));
        assert!(ignored("target", true) && !ignored("target", false) && !ignored("a/target", true));
        assert!(
            ignored("a/only-here", false) && ignored("a/b/only-here", false) && !ignored("only-here", false)
        );
        rules.leave(Path::new("a"));
        assert!(rules.ignore(Path::new("a/debug.log"), false));
    }
}
