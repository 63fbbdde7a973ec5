//! What one sentence of a ticket asks for, when it says it literally.

use super::{
    document::Code,
    instruction::{Change, Instruction},
    phrases::{Clause, Mood, Sentence, Token, mood},
    scripts::{is_diff, is_patch, quoted, script},
    words::{has_ending, is_path, is_run, is_verb, may_be_path, path_beside_fence},
};

/// What a sentence asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// Nothing: it tells something.
    Context,
    /// Something literal, which takes so many of the blocks of code that follow.
    Does { instructions: Vec<Instruction>, codes: usize },
    /// The block of code that follows becomes the one after it.
    Swap { path: String, every: bool },
    /// Something that is not said literally; why.
    Cannot(&'static str),
}

const VAGUE: &str = "it is prose";

/// Reads a sentence that the blocks `codes` follow; `it` is the file that was spoken of last.
pub(super) fn of(sentence: &Sentence, codes: &[&Code], it: Option<&str>) -> Meaning {
    let clauses = match mood(sentence) {
        Mood::Told => return told(sentence, codes, it),
        Mood::Conditional => return Meaning::Cannot("it holds only under a condition"),
        Mood::Asked(clauses) => clauses,
    };
    let last = clauses.len() - 1;
    let is_for_last =
        is_run(&clauses[last].verb) && !clauses[last].rest.iter().any(|it| matches!(it, Token::Code(_)));
    let mut it = it.map(str::to_owned);
    let (mut all, mut used) = (Vec::new(), 0);
    for (place, clause) in clauses.iter().enumerate() {
        let offered = if is_for_last && place < last { &[] } else { &codes[used..] };
        match Parts::of(clause, offered, it.as_deref()).meaning() {
            Meaning::Does { instructions, codes } => {
                it = instructions.iter().rev().find_map(Instruction::path).map(str::to_owned).or(it);
                all.extend(instructions);
                used += codes;
            }
            swap @ Meaning::Swap { .. } if last == 0 => return swap,
            Meaning::Swap { .. } | Meaning::Context => return Meaning::Cannot(VAGUE),
            cannot @ Meaning::Cannot(_) => return cannot,
        }
    }
    Meaning::Does { instructions: all, codes: used }
}

/// A sentence that tells what a file holds says what to write: "`a.sh`:", "The content of `a.sh` is:".
fn told(sentence: &Sentence, codes: &[&Code], it: Option<&str>) -> Meaning {
    let Some(code) = codes.first() else { return Meaning::Context };
    let words: Vec<&str> = sentence.tokens.iter().filter_map(Token::word).collect();
    let named: Vec<&str> = sentence
        .tokens
        .iter()
        .filter_map(|token| if let Token::Code(code) = token { Some(code.as_str()) } else { None })
        .collect();
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(word));
    let is_name = words.iter().all(|word| {
        ["a", "and", "content", "contents", "executable", "file", "in", "new", "of", "script", "the"]
            .contains(word)
    });
    let is_stated = has(&["content", "contents"]) && has(&["of", "is", "should", "with"])
        || has(&["must", "should"]) && has(&["contain", "read", "hold", "look"]);
    let path = match named.as_slice() {
        [path] if is_path(path) => Some(*path),
        [] if has(&["it"]) => it,
        _ => None,
    };
    let ends_open = sentence.tokens.last() == Some(&Token::Colon);
    match path {
        Some(path) if is_name && !named.is_empty() || is_stated && ends_open && !has(&["not", "never"]) => {
            let write = Instruction::Write {
                path: path.to_owned(),
                content: code.text.clone(),
                is_executable: has(&["executable"]),
            };
            Meaning::Does { instructions: vec![write], codes: 1 }
        }
        _ => Meaning::Context,
    }
}

/// What a piece of code is in its clause, by the word before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Plain,
    In,
    Into,
    To,
    With,
    From,
    Of,
    As,
    At,
    Other,
}

/// A clause, taken apart.
struct Parts<'c> {
    verb: &'c str,
    words: Vec<&'c str>,
    named: Vec<(Role, &'c str)>,
    codes: &'c [&'c Code],
    it: Option<&'c str>,
}

impl<'c> Parts<'c> {
    fn of(clause: &'c Clause, codes: &'c [&'c Code], it: Option<&'c str>) -> Self {
        let words = clause.lead.iter().chain(&clause.rest).filter_map(Token::word).collect();
        let mut named = roles(&clause.rest);
        named.extend(roles(&clause.lead));
        Self { verb: &clause.verb, words, named, codes, it }
    }

    fn has(&self, wanted: &[&str]) -> bool {
        self.words.iter().any(|word| wanted.contains(word))
    }

    fn as_any(&self, wanted: &[Role]) -> Vec<&'c str> {
        self.named.iter().filter(|(role, _)| wanted.contains(role)).map(|(_, code)| *code).collect()
    }

    fn meaning(&self) -> Meaning {
        let is_check = ["check", "confirm", "ensure", "test", "validate", "verify"].contains(&self.verb)
            || self.verb == "make" && self.has(&["sure"]);
        if is_run(self.verb) {
            self.run()
        } else if is_check {
            self.check()
        } else if ["delete", "drop", "erase", "remove"].contains(&self.verb) {
            self.delete()
        } else if ["make", "mark", "set"].contains(&self.verb)
            && self.has(&["executable"])
            && self.codes.is_empty()
        {
            self.make_executable()
        } else if let Some(patch) = self.patch() {
            patch
        } else if ["copy", "move", "rename"].contains(&self.verb) && self.as_any(&[Role::In]).is_empty() {
            self.carry()
        } else {
            self.replace().unwrap_or_else(|| self.write())
        }
    }

    fn run(&self) -> Meaning {
        let mut commands = self.as_any(&[Role::Plain]);
        if commands.is_empty() {
            commands = self.as_any(&[Role::With]);
        }
        let folders = self.as_any(&[Role::In, Role::From]);
        if commands.len() + folders.len() < self.named.len() || folders.len() > 1 {
            return Meaning::Cannot("how the parts of its command go together is not said");
        }
        let within = |command: String| match folders.first() {
            Some(folder) => format!("cd {} && {command}", quoted(folder)),
            None => command,
        };
        if !commands.is_empty() {
            let runs = commands.into_iter().map(|one| Instruction::Run(within(one.to_owned()))).collect();
            return Meaning::Does { instructions: runs, codes: 0 };
        }
        if let Some(code) = self.codes.first() {
            let Some(script) = script(code) else {
                return Meaning::Cannot("what it runs is not a block of shell commands");
            };
            return Meaning::Does { instructions: vec![Instruction::Run(within(script))], codes: 1 };
        }
        match self.it {
            Some(path) if has_ending(path, &["sh"]) && self.has(&["it"]) && self.words.len() == 1 => {
                let run = Instruction::Run(within(format!("sh {}", quoted(path))));
                Meaning::Does { instructions: vec![run], codes: 0 }
            }
            _ => Meaning::Cannot("the command is not stated"),
        }
    }

    /// "Check that `sh test.sh` passes" is a command; what asks for judgement is none.
    fn check(&self) -> Meaning {
        let is_plain = self.words.iter().all(|word| {
            [
                "all",
                "by",
                "everything",
                "exits",
                "green",
                "is",
                "it",
                "pass",
                "passes",
                "result",
                "running",
                "still",
                "succeeds",
                "sure",
                "tests",
                "that",
                "the",
                "this",
                "using",
                "with",
                "work",
                "works",
            ]
            .contains(word)
        });
        let commands = self.as_any(&[Role::Plain, Role::With, Role::Other]);
        let is_command =
            |one: &&str| one.contains(' ') || !may_be_path(one) || self.has(&["running", "with"]);
        if !is_plain || commands.is_empty() || !commands.iter().all(is_command) {
            return Meaning::Cannot("it asks for a judgement");
        }
        let runs = commands.into_iter().map(|one| Instruction::Run(one.to_owned())).collect();
        Meaning::Does { instructions: runs, codes: 0 }
    }

    fn delete(&self) -> Meaning {
        let old = self.as_any(&[Role::Plain]);
        let paths = self.as_any(&[Role::From, Role::In]);
        let every = self.has(&["all", "each", "every"]);
        if let [path] = paths[..] {
            let is_lines = self.has(&["line", "lines"]);
            let end = if is_lines { "\n" } else { "" };
            let texts: Vec<String> = old.iter().map(|text| format!("{text}{end}")).collect();
            let (texts, codes) = match self.codes.first() {
                Some(code) if texts.is_empty() => (vec![code.text.clone()], 1),
                _ => (texts, 0),
            };
            let is_lines = is_lines || codes == 1;
            let edit = |old| Instruction::Edit {
                path: path.to_owned(),
                change: Change::Replace { old, new: String::new(), every, is_lines },
            };
            if texts.is_empty() {
                return Meaning::Cannot("what to remove is not stated");
            }
            return Meaning::Does { instructions: texts.into_iter().map(edit).collect(), codes };
        }
        let is_file = |path: &&str| {
            is_path(path) || may_be_path(path) && self.has(&["directory", "file", "files", "folder"])
        };
        let old = if old.is_empty() && self.words == ["it"] { self.it.into_iter().collect() } else { old };
        if old.is_empty() || old.len() < self.named.len() || !old.iter().all(is_file) {
            return Meaning::Cannot("which file it is about is not stated");
        }
        let deletes = old.into_iter().map(|path| Instruction::Delete(path.to_owned())).collect();
        Meaning::Does { instructions: deletes, codes: 0 }
    }

    fn make_executable(&self) -> Meaning {
        let mut paths = self.as_any(&[Role::Plain, Role::As]);
        if paths.is_empty() && self.has(&["it"]) {
            paths.extend(self.it);
        }
        if paths.is_empty() || !paths.iter().all(|path| may_be_path(path)) {
            return Meaning::Cannot("which file it is about is not stated");
        }
        let made = paths.into_iter().map(|path| Instruction::MakeExecutable(path.to_owned())).collect();
        Meaning::Does { instructions: made, codes: 0 }
    }

    fn patch(&self) -> Option<Meaning> {
        let code = self.codes.first()?;
        let is_saved = self.named.iter().any(|(_, path)| has_ending(path, &["diff", "patch"]));
        if is_saved || !is_diff(code) {
            return None;
        }
        Some(if is_patch(&code.text) {
            Meaning::Does { instructions: vec![Instruction::Patch(code.text.clone())], codes: 1 }
        } else {
            Meaning::Cannot("its diff does not name the file with `---` and `+++` lines")
        })
    }

    /// "Rename `a.sh` to `b.sh`".
    fn carry(&self) -> Meaning {
        match (&self.as_any(&[Role::Plain])[..], &self.as_any(&[Role::To, Role::Into])[..]) {
            ([from], [to]) if self.named.len() == 2 && is_path(from) && is_path(to) => {
                let program = if self.verb == "copy" { "cp -p" } else { "mv" };
                let run = Instruction::Run(format!("{program} -- {} {}", quoted(from), quoted(to)));
                Meaning::Does { instructions: vec![run], codes: 0 }
            }
            _ => Meaning::Cannot("which file becomes which is not stated"),
        }
    }

    fn replace(&self) -> Option<Meaning> {
        let verbs =
            ["change", "correct", "modify", "rename", "replace", "substitute", "swap", "turn", "update"];
        if !verbs.contains(&self.verb) {
            return None;
        }
        let old = self.as_any(&[Role::Plain, Role::Of]);
        let new = self.as_any(&[Role::With, Role::To, Role::Into]);
        let paths = self.as_any(&[Role::In, Role::From, Role::At]);
        let every = self.has(&["all", "each", "every", "everywhere", "throughout"]);
        let edit = |path: &str, old: &str, new: &str, is_lines| Instruction::Edit {
            path: path.to_owned(),
            change: Change::Replace { old: old.to_owned(), new: new.to_owned(), every, is_lines },
        };
        let edits = |old: &str, new: &str, is_lines, codes| {
            let all = paths.iter().map(|path| edit(path, old, new, is_lines)).collect();
            Meaning::Does { instructions: all, codes }
        };
        let is_known = !paths.is_empty() && paths.iter().all(|path| may_be_path(path));
        match (&old[..], &new[..], self.codes) {
            ([_], [_], _) if !is_known => Some(Meaning::Cannot("in which file is not stated")),
            ([old], [new], _) => Some(edits(old, new, false, 0)),
            ([old], [], [code, ..]) if is_known => {
                let text = code.text.strip_suffix('\n').unwrap_or(&code.text);
                Some(edits(old, text, false, 1))
            }
            ([], [], [first, second, ..]) if is_known => Some(edits(&first.text, &second.text, true, 2)),
            ([], [], [_]) if is_known && paths.len() == 1 => {
                Some(Meaning::Swap { path: paths[0].to_owned(), every })
            }
            _ => None,
        }
    }

    fn write(&self) -> Meaning {
        if self.has(&["directory", "folder"]) && self.codes.is_empty() {
            return self.make_folders();
        }
        let codes: Vec<&Code> = self.codes.to_vec();
        let Some(paths) = self.paths(&codes) else {
            return Meaning::Cannot(match codes.first() {
                Some(_) => "which file the block after it belongs to is not stated",
                None => VAGUE,
            });
        };
        let Some(place) = self.place(&paths, codes.first().copied()) else {
            return Meaning::Cannot("where in the file it goes is not stated");
        };
        let write = |path: &str, content: String| match place {
            Place::Whole => Instruction::Write {
                path: path.to_owned(),
                content,
                is_executable: self.has(&["executable"]),
            },
            Place::End => Instruction::Edit { path: path.to_owned(), change: Change::Append(content) },
            Place::Top => Instruction::Edit { path: path.to_owned(), change: Change::Prepend(content) },
        };
        if let Some(content) = self.inline(&paths) {
            return Meaning::Does { instructions: vec![write(&paths[0], content)], codes: 0 };
        }
        if codes.is_empty() {
            return Meaning::Cannot("the content is not stated");
        }
        if codes.len() < paths.len() {
            return Meaning::Cannot("which file the block after it belongs to is not stated");
        }
        let all: Vec<Instruction> =
            paths.iter().zip(&codes).map(|(path, code)| write(path, code.text.clone())).collect();
        Meaning::Does { codes: all.len(), instructions: all }
    }

    fn make_folders(&self) -> Meaning {
        let folders = self.as_any(&[Role::Plain, Role::As]);
        let is_make = ["add", "create", "make"].contains(&self.verb) && folders.len() == self.named.len();
        if folders.is_empty() || !is_make || !folders.iter().all(|path| may_be_path(path)) {
            return Meaning::Cannot(VAGUE);
        }
        let run = |path: &&str| Instruction::Run(format!("mkdir -p -- {}", quoted(path)));
        Meaning::Does { instructions: folders.iter().map(run).collect(), codes: 0 }
    }

    /// The files that are spoken of; the surest ones only.
    fn paths(&self, codes: &[&Code]) -> Option<Vec<String>> {
        let plain = self.as_any(&[Role::Plain, Role::As]);
        if plain.len() > 1 && plain.len() <= codes.len() && plain.iter().all(|path| may_be_path(path)) {
            return Some(plain.into_iter().map(str::to_owned).collect());
        }
        // "Add `a.sh` to `src/`": the file is in that folder.
        let folder = self
            .as_any(&[Role::To, Role::Into, Role::In, Role::At])
            .into_iter()
            .find(|path| path.ends_with('/') && may_be_path(path));
        let within = |path: &str| match folder {
            Some(folder) if path != folder => format!("{folder}{path}"),
            _ => path.to_owned(),
        };
        let places = [Role::To, Role::Into, Role::In, Role::Of, Role::As, Role::At];
        let keep = |roles: &[Role], is_one: fn(&str) -> bool| -> Vec<String> {
            let found = self.as_any(roles).into_iter().filter(|path| is_one(path) && !path.ends_with('/'));
            found.map(within).collect()
        };
        let beside =
            || codes.first().and_then(|code| path_beside_fence(&code.tag)).into_iter().collect::<Vec<_>>();
        let it = || self.it.filter(|_| self.has(&["it"]) && self.named.is_empty()).map(str::to_owned);
        let is_new = self.has(&["file", "script"]) || self.named.len() == 1;
        let maybe = |roles: &[Role]| if is_new { keep(roles, may_be_path) } else { Vec::new() };
        [
            keep(&[Role::Plain, Role::As], is_path),
            keep(&places, is_path),
            beside(),
            maybe(&[Role::Plain, Role::As]),
            maybe(&places),
            it().into_iter().collect(),
        ]
        .into_iter()
        .find(|tier| !tier.is_empty())
    }

    fn place(&self, paths: &[String], code: Option<&Code>) -> Option<Place> {
        let path = paths.first()?;
        let role = self
            .named
            .iter()
            .find(|(_, code)| !code.ends_with('/') && is_of(path, code))
            .map(|(role, _)| *role);
        let is_beside = code.and_then(|code| path_beside_fence(&code.tag)).as_ref() == Some(path);
        let is_whole = self
            .has(&["becomes", "contain", "contains", "content", "contents", "follows", "read", "reads"])
            || self.has(&["this"]) && self.has(&["to"]);
        match self.verb {
            "append" => Some(Place::End),
            "prepend" => Some(Place::Top),
            "create" | "generate" | "make" | "overwrite" | "rewrite" | "save" | "store" => Some(Place::Whole),
            _ if self.has(&["beginning", "start", "top"]) => Some(Place::Top),
            _ if self.has(&["bottom", "end"]) => Some(Place::End),
            "place" | "put" | "write" => Some(Place::Whole),
            "add" | "include" | "insert" if matches!(role, Some(Role::To | Role::Into)) => {
                (self.verb == "add" && !self.has(&["after", "before", "above", "below", "between"]))
                    .then_some(Place::End)
            }
            "add" if matches!(role, Some(Role::Plain | Role::As)) => Some(Place::Whole),
            "change" | "edit" | "modify" | "replace" | "set" | "update"
                if is_whole || self.ends_with_joint() =>
            {
                Some(Place::Whole)
            }
            _ => is_beside.then_some(Place::Whole),
        }
    }

    /// "Change `a.sh` to:", "Replace `a.sh` with:".
    fn ends_with_joint(&self) -> bool {
        self.words.last().is_some_and(|word| ["by", "following", "this", "to", "with"].contains(word))
    }

    /// The content, when it stands in the sentence: "with the content `a`", "Append `a` to `b`".
    fn inline(&self, paths: &[String]) -> Option<String> {
        let [path] = paths else { return None };
        let others: Vec<&str> =
            self.named.iter().map(|(_, code)| *code).filter(|code| !is_of(path, code)).collect();
        if others.is_empty() && self.has(&["empty"]) && self.codes.is_empty() {
            return Some(String::new());
        }
        let [text] = others[..] else { return None };
        let role = self.named.iter().find(|(_, code)| *code == text).map(|(role, _)| *role)?;
        let is_said = self.has(&["containing", "contains", "content", "contents", "line", "text"]);
        let is_line = match role {
            Role::With => is_said,
            Role::Plain => {
                ["append", "prepend", "put", "save", "store", "write"].contains(&self.verb)
                    || is_said
                    || self.verb == "add" && path.ends_with("ignore")
            }
            Role::In | Role::Into | Role::To | Role::From | Role::Of | Role::As | Role::At => false,
            Role::Other => self.has(&["containing", "contains"]),
        };
        (is_line && self.codes.is_empty()).then(|| format!("{text}\n"))
    }
}

/// Whether a piece of code is the path, or the folder or the file that it is made of.
fn is_of(path: &str, code: &str) -> bool {
    path == code
        || code.ends_with('/') && path.starts_with(code)
        || path.strip_suffix(code).is_some_and(|folder| folder.ends_with('/'))
}

/// Where content goes.
#[derive(Clone, Copy)]
enum Place {
    Whole,
    End,
    Top,
}

/// What each piece of code is; one that is joined to another is the same.
fn roles(tokens: &[Token]) -> Vec<(Role, &str)> {
    let mut role = Role::Plain;
    let mut named = Vec::new();
    for token in tokens {
        match token {
            Token::Code(code) => named.push((role, code.as_str())),
            Token::Word(word) => {
                role = match word.as_str() {
                    "in" | "inside" | "within" => Role::In,
                    "into" => Role::Into,
                    "to" => Role::To,
                    "by" | "containing" | "using" | "via" | "with" => Role::With,
                    "from" => Role::From,
                    "of" => Role::Of,
                    "as" | "called" | "named" => Role::As,
                    "at" | "on" | "throughout" => Role::At,
                    "above" | "after" | "before" | "below" | "between" | "for" | "like" | "than" | "that"
                    | "under" | "when" | "where" | "which" => Role::Other,
                    verb if role == Role::To && is_verb(verb) => Role::Other,
                    _ => role,
                };
            }
            Token::Comma | Token::Colon => {}
        }
    }
    named
}
