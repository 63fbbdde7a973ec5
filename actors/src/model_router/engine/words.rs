//! The words that tell an instruction from a description, and a path from other code.

/// Verbs that ask for something when a sentence begins with them.
const VERBS: &[&str] = &[
    "add",
    "adjust",
    "adapt",
    "allow",
    "append",
    "apply",
    "build",
    "bump",
    "cache",
    "call",
    "change",
    "check",
    "clean",
    "configure",
    "confirm",
    "connect",
    "convert",
    "copy",
    "correct",
    "cover",
    "create",
    "debug",
    "declare",
    "define",
    "delete",
    "deploy",
    "design",
    "develop",
    "disable",
    "document",
    "download",
    "drop",
    "edit",
    "enable",
    "ensure",
    "erase",
    "exec",
    "execute",
    "export",
    "expose",
    "extend",
    "extract",
    "fetch",
    "find",
    "fix",
    "format",
    "generate",
    "handle",
    "implement",
    "import",
    "improve",
    "include",
    "insert",
    "install",
    "integrate",
    "introduce",
    "investigate",
    "invoke",
    "launch",
    "let",
    "log",
    "make",
    "mark",
    "merge",
    "migrate",
    "modify",
    "move",
    "optimise",
    "optimize",
    "overwrite",
    "parse",
    "place",
    "port",
    "prepend",
    "prevent",
    "print",
    "provide",
    "publish",
    "put",
    "raise",
    "redesign",
    "reduce",
    "refactor",
    "remove",
    "rename",
    "repair",
    "replace",
    "report",
    "research",
    "restore",
    "restructure",
    "return",
    "revert",
    "review",
    "rewrite",
    "rework",
    "run",
    "save",
    "set",
    "show",
    "simplify",
    "sort",
    "speed",
    "split",
    "start",
    "store",
    "substitute",
    "support",
    "swap",
    "test",
    "tidy",
    "translate",
    "turn",
    "update",
    "upgrade",
    "validate",
    "verify",
    "wire",
    "wrap",
    "write",
];

/// Verbs that are nouns as often.
const NOUNS_TOO: &[&str] = &[
    "build", "cache", "call", "change", "check", "copy", "cover", "design", "document", "export", "fix",
    "format", "import", "log", "move", "port", "print", "report", "research", "review", "run", "set", "show",
    "sort", "speed", "start", "store", "support", "test", "update", "upgrade",
];

/// What stands soon after a noun that a sentence begins with.
const SAYS: &[&str] = &[
    "are", "can", "cannot", "comes", "contains", "does", "fails", "goes", "had", "has", "have", "is",
    "lives", "means", "must", "never", "should", "stands", "takes", "was", "were", "will", "works",
];

const FILLERS: &[&str] = &[
    "afterwards",
    "also",
    "and",
    "finally",
    "first",
    "firstly",
    "just",
    "kindly",
    "last",
    "lastly",
    "later",
    "next",
    "now",
    "please",
    "second",
    "secondly",
    "simply",
    "step",
    "task",
    "then",
    "third",
    "to-do",
];

/// Words that a phrase before the instruction itself begins with: "In `a.sh`, …".
const LEADS: &[&str] = &[
    "after", "as", "at", "because", "before", "below", "for", "from", "in", "inside", "on", "once", "since",
    "to", "under", "using", "when", "with", "within",
];

/// Words after which an instruction holds only sometimes.
const CONDITIONS: &[&str] = &["except", "if", "otherwise", "unless", "whenever"];

pub(super) fn is_verb(word: &str) -> bool {
    VERBS.contains(&word)
}

/// Whether what belongs to a verb is a command.
pub(super) fn is_run(verb: &str) -> bool {
    ["call", "exec", "execute", "invoke", "launch", "run", "start"].contains(&verb)
}

pub(super) fn is_noun_too(word: &str) -> bool {
    NOUNS_TOO.contains(&word)
}

pub(super) fn says(word: &str) -> bool {
    SAYS.contains(&word)
}

pub(super) fn is_filler(word: &str) -> bool {
    FILLERS.contains(&word) || word.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn is_lead(word: &str) -> bool {
    LEADS.contains(&word)
}

pub(super) fn is_condition(word: &str) -> bool {
    CONDITIONS.contains(&word)
}

/// Files without an extension that everybody knows.
const KNOWN_FILES: &[&str] = &[
    "AUTHORS",
    "CHANGELOG",
    "CODEOWNERS",
    "COPYING",
    "Containerfile",
    "Dockerfile",
    "Gemfile",
    "INSTALL",
    "Jenkinsfile",
    "Justfile",
    "LICENCE",
    "LICENSE",
    "Makefile",
    "NOTICE",
    "Procfile",
    "README",
    "Rakefile",
    "VERSION",
    "Vagrantfile",
    "justfile",
    "makefile",
];

/// Endings of files that may stand alone beside a fence.
const ENDINGS: &[&str] = &[
    "bash", "c", "cfg", "conf", "cpp", "css", "csv", "go", "h", "html", "ini", "java", "js", "json", "kt",
    "lua", "md", "mjs", "php", "pl", "py", "rb", "rs", "sh", "sql", "svg", "toml", "ts", "tsv", "tsx", "txt",
    "xml", "yaml", "yml",
];

/// Whether it could name a file.
pub(super) fn may_be_path(code: &str) -> bool {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "|<>*?\"'`$;(){}&=!,".contains(c);
    !code.is_empty()
        && code.len() < 4096
        && !code.starts_with('-')
        && !code.contains("://")
        && !code.contains(is_odd)
}

/// Whether it names a file, whatever stands around it.
pub(super) fn is_path(code: &str) -> bool {
    let has_mark = || code.contains('/') || code.trim_matches('.').contains('.') || code.starts_with('.');
    may_be_path(code)
        && code.contains(|c: char| c.is_alphanumeric())
        && (has_mark() || KNOWN_FILES.contains(&code))
}

/// Whether a file's name ends in one of these, in whatever letters.
pub(super) fn has_ending(path: &str, endings: &[&str]) -> bool {
    path.rsplit_once('.').is_some_and(|(_, ending)| endings.contains(&ending.to_lowercase().as_str()))
}

/// The file that stands beside a fence: `sh count.sh`, `sh file=count.sh`, `title="count.sh"`.
pub(super) fn path_beside_fence(tag: &str) -> Option<String> {
    let trim = |word: &str| word.trim_matches(['{', '}', '"', '\'', ',', ' ']).to_owned();
    let of_word = |(place, word): (usize, &str)| {
        let word = trim(word);
        if let Some((key, value)) = word.split_once('=') {
            let is_name = ["file", "filename", "name", "path", "title"].contains(&key);
            return Some(trim(value)).filter(|value| is_name && may_be_path(value));
        }
        if let Some((_, path)) = word.split_once(':').filter(|(language, _)| !language.contains('/')) {
            return Some(path.to_owned()).filter(|path| is_path(path));
        }
        let ends_well = || has_ending(&word, ENDINGS);
        Some(word.clone()).filter(|word| is_path(word) && (place > 0 || word.contains('/') || ends_well()))
    };
    tag.split_whitespace().enumerate().find_map(of_word)
}

/// The language beside a fence, in small letters.
pub(super) fn language(tag: &str) -> String {
    let first = tag.split([' ', '\t', ',', ':', '{']).next().unwrap_or_default();
    if path_beside_fence(first).is_some() { String::new() } else { first.to_lowercase() }
}

/// At most so many characters of a text, for a sentence about it.
pub(super) fn shortened(text: &str, max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= max {
        return line;
    }
    let cut: String = line.chars().take(max).collect();
    let end = cut.rfind(' ').filter(|end| *end > max / 2).unwrap_or(cut.len());
    format!("{}…", cut[..end].trim_end_matches([',', '.', ';', ':']))
}

/// `1 file`, `2 files`.
pub(super) fn counted(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// `a`, `a and b`, `a, b and c`.
pub(super) fn joined(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_names_its_file_in_several_spellings() {
        for tag in [
            "sh count.sh",
            "sh file=count.sh",
            "sh title=\"count.sh\"",
            "sh {file=count.sh}",
            "sh:count.sh",
            "count.sh",
            "sh filename='count.sh'",
        ] {
            assert_eq!(path_beside_fence(tag).as_deref(), Some("count.sh"), "{tag}");
        }
        for tag in ["", "sh", "rust,ignore", "c++", "vb.net", "sh run", "json5 lines=3"] {
            assert_eq!(path_beside_fence(tag), None, "{tag}");
        }
    }

    #[test]
    fn a_path_is_told_from_a_command_and_a_name() {
        for path in ["count.sh", "tests/a", ".gitignore", "Makefile", "../up", "/etc/passwd"] {
            assert!(is_path(path), "{path}");
        }
        for other in ["sh test.sh", "total", "foo()", "a|b", "https://example.com/a", "--all", "..."] {
            assert!(!is_path(other), "{other}");
        }
    }
}
