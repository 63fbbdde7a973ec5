//! Reads unified diffs, with git's headers or without.
//!
//! Where models err often and no harm comes of it, this is lenient: the numbers of a hunk's header may be
//! wrong or missing, an empty line of context may lack its space, and other text may stand before the first
//! file. It is strict about everything else: no line between hunks is passed over.

/// What becomes of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FilePatch<'p> {
    /// The file as it is; none when it is created.
    pub(super) old: Option<String>,
    /// The file as it will be; none when it is deleted. Another name than `old` renames.
    pub(super) new: Option<String>,
    /// Whether it becomes a program, or ceases to be one.
    pub(super) is_executable: Option<bool>,
    pub(super) hunks: Vec<Hunk<'p>>,
}

/// A place of a file that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hunk<'p> {
    /// Its first line, as it was written.
    pub(super) header: &'p str,
    /// The line of the old file where it begins, counted from one, as the header says.
    pub(super) start: Option<usize>,
    pub(super) lines: Vec<Line<'p>>,
}

/// A line of a hunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line<'p> {
    pub(super) of: Of,
    pub(super) text: &'p str,
    /// Whether a newline follows.
    pub(super) is_ended: bool,
}

/// Which version of a file a line belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Both,
    Old,
    New,
}

/// How many lines of the old and of the new file a hunk has.
type Counts = (usize, usize);

/// Reads a patch; the error says which line is wrong, and how.
pub(super) fn parse(text: &str) -> Result<Vec<FilePatch<'_>>, String> {
    let lines = text.strip_suffix('\n').unwrap_or(text).split('\n').collect();
    let mut reader = Reader { lines, at: 0 };
    let mut files = Vec::new();
    while let Some(line) = reader.peek() {
        if reader.begins_file() {
            files.push(reader.file()?);
        } else if line.starts_with("@@") {
            return Err(reader.wrong("a hunk stands before the name of its file"));
        } else if files.is_empty() || line.trim().is_empty() || line.starts_with(FENCE) {
            reader.at += 1;
        } else {
            return Err(reader.wrong("this begins with neither a space, + nor -, and is no header"));
        }
    }
    if files.is_empty() {
        return Err("it is no unified diff: no `--- a/path` with a `+++ b/path` below it".to_owned());
    }
    Ok(files)
}

/// What models put around a patch.
const FENCE: &str = "```";

struct Reader<'p> {
    lines: Vec<&'p str>,
    at: usize,
}

impl<'p> Reader<'p> {
    fn peek(&self) -> Option<&'p str> {
        self.lines.get(self.at).copied()
    }

    fn wrong(&self, why: &str) -> String {
        let line: String = self.peek().unwrap_or_default().chars().take(200).collect();
        format!("line {} of the patch: {why}: `{line}`", self.at + 1)
    }

    /// Whether two lines from `at` name a file.
    fn is_pair(&self, at: usize) -> bool {
        let begins = |at: usize, mark| self.lines.get(at).is_some_and(|line: &&str| line.starts_with(mark));
        begins(at, "--- ") && begins(at + 1, "+++ ")
    }

    fn begins_file(&self) -> bool {
        self.peek().is_some_and(|line| line.starts_with("diff --git ")) || self.is_pair(self.at)
    }

    fn file(&mut self) -> Result<FilePatch<'p>, String> {
        let mut file = FilePatch::default();
        let mut names = None;
        let begin = self.at;
        if let Some(both) = self.peek().and_then(|line| line.strip_prefix("diff --git ")) {
            self.at += 1;
            names = self.git_headers(&mut file, both.trim_end_matches('\r'))?;
        }
        if self.is_pair(self.at) {
            let name =
                |at: usize| self.lines.get(at).and_then(|line| name(line.get(4..).unwrap_or_default()));
            let pair = (name(self.at), name(self.at + 1));
            // Below what git says of a file without hunks, another file may follow that git says nothing of.
            if names.as_ref().is_none_or(|names| is_of(&pair, names)) {
                names = Some(pair);
                self.at += 2;
            }
        }
        (file.old, file.new) = match names {
            Some((None, None)) | None => {
                self.at = begin;
                return Err(self.wrong("no file is named here"));
            }
            Some(names) => without_prefixes(names),
        };
        while self.peek().is_some_and(|line| line.starts_with("@@")) {
            file.hunks.push(self.hunk()?);
        }
        Ok(file)
    }

    /// Reads what git says of a file before its hunks, and gives the file's names.
    fn git_headers(&mut self, file: &mut FilePatch<'_>, both: &str) -> Result<Option<Names>, String> {
        let (mut old, mut new) = both_names(both);
        while let Some(line) = self.peek().map(|line| line.trim_end_matches('\r')) {
            let rest = |head| line.strip_prefix(head);
            if let Some(from) = rest("rename from ") {
                old = name(from).map(|name| format!("a/{name}"));
            } else if let Some(to) = rest("rename to ") {
                new = name(to).map(|name| format!("b/{name}"));
            } else if let Some(mode) = rest("new file mode ") {
                file.is_executable = Some(self.is_program(mode)?);
                old = None;
            } else if let Some(mode) = rest("new mode ") {
                file.is_executable = Some(self.is_program(mode)?);
            } else if rest("deleted file mode ").is_some() {
                new = None;
            } else if rest("copy from ").is_some() {
                return Err(self.wrong("copies are not understood; create the file instead"));
            } else if rest("GIT binary patch").or_else(|| rest("Binary files ")).is_some() {
                return Err(self.wrong("only text can be patched"));
            } else if !["old mode ", "index ", "similarity index ", "dissimilarity index "]
                .iter()
                .any(|head| line.starts_with(head))
            {
                break;
            }
            self.at += 1;
        }
        Ok(Some((old, new)))
    }

    fn is_program(&self, mode: &str) -> Result<bool, String> {
        match mode.trim() {
            "100755" => Ok(true),
            "100644" => Ok(false),
            _ => Err(self.wrong("only regular files, of mode 100644 or 100755, can be patched")),
        }
    }

    fn hunk(&mut self) -> Result<Hunk<'p>, String> {
        let header = self.peek().unwrap_or_default().trim_end_matches('\r');
        let numbers = numbers(header);
        if numbers.is_none() && header.starts_with("@@ -") {
            return Err(self.wrong("this is no header of a hunk, such as `@@ -12,3 +12,4 @@`"));
        }
        self.at += 1;
        let stated = numbers.map(|(_, counts)| counts);
        let mut hunk = Hunk { header, start: numbers.map(|(start, _)| start), lines: Vec::new() };
        // Empty lines at the end, which are context or nothing at all.
        let mut bare = 0;
        let mut counts = (0, 0);
        while let Some(line) = self.peek() {
            if self.ends_hunk(stated, counts) {
                break;
            }
            if line.starts_with('\\') {
                let last = hunk.lines.last_mut().ok_or_else(|| self.wrong("no line stands before this"))?;
                last.is_ended = false;
                self.at += 1;
                continue;
            }
            let of = of(line)
                .ok_or_else(|| self.wrong("this begins with neither a space, + nor -, and is no header"))?;
            counts = counted(counts, of);
            bare = if line.is_empty() { bare + 1 } else { 0 };
            hunk.lines.push(Line { of, text: line.get(1..).unwrap_or_default(), is_ended: true });
            self.at += 1;
        }
        let is_stated = |over: &usize| stated == Some((counts.0 - over, counts.1 - over));
        let over = (0..=bare).find(is_stated).unwrap_or(bare);
        hunk.lines.truncate(hunk.lines.len() - over);
        if hunk.lines.is_empty() { Err(self.wrong("the hunk above has no lines")) } else { Ok(hunk) }
    }

    /// Whether a hunk that has `counts` of lines is over.
    fn ends_hunk(&self, stated: Option<Counts>, counts: Counts) -> bool {
        let Some(line) = self.peek() else { return true };
        if is_boundary(line) {
            return true;
        }
        // A removed `-- x` with an added `++ y` below it looks like the names of a file.
        self.is_pair(self.at) && !stated.is_some_and(|stated| self.fills(stated, counts))
    }

    /// Whether there are to be more lines, and those from here on, names of files or not, make `counts`
    /// exactly what the header states.
    fn fills(&self, stated: Counts, mut counts: Counts) -> bool {
        if counts == stated {
            return false;
        }
        let mut rest = self.lines.get(self.at..).unwrap_or_default().iter();
        while counts.0 < stated.0 || counts.1 < stated.1 {
            let Some(line) = rest.next().filter(|line| !is_boundary(line)) else { return false };
            if !line.starts_with('\\') {
                let Some(of) = of(line) else { return false };
                counts = counted(counts, of);
            }
        }
        counts == stated
    }
}

type Names = (Option<String>, Option<String>);

/// Whether names that stand above hunks can be those that git gave; where git gave none, they can.
fn is_of(pair: &Names, names: &Names) -> bool {
    let is_same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
    *names == (None, None) || is_same(&pair.0, &names.0) || is_same(&pair.1, &names.1)
}

fn is_boundary(line: &str) -> bool {
    line.starts_with("@@") || line.starts_with("diff --git ") || line.starts_with(FENCE)
}

fn of(line: &str) -> Option<Of> {
    match line.as_bytes().first() {
        None | Some(b' ' | b'\r') => Some(Of::Both),
        Some(b'-') => Some(Of::Old),
        Some(b'+') => Some(Of::New),
        Some(_) => None,
    }
}

fn counted((old, new): Counts, of: Of) -> Counts {
    (old + usize::from(of != Of::New), new + usize::from(of != Of::Old))
}

/// Reads `@@ -12,3 +12,4 @@`: where the hunk begins, and how many lines it has. A number of lines that is
/// left out is one.
fn numbers(header: &str) -> Option<(usize, Counts)> {
    let (ranges, _) = header.strip_prefix("@@ -")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let range = |range: &str| {
        let (start, count) = range.trim().split_once(',').unwrap_or((range.trim(), "1"));
        Some((start.parse::<usize>().ok()?, count.parse::<usize>().ok()?))
    };
    let ((start, old), (_, new)) = (range(old)?, range(new)?);
    Some((start, (old, new)))
}

/// The name on a line of its own; `/dev/null` is none.
fn name(raw: &str) -> Option<String> {
    let raw = raw.trim_end_matches('\r');
    if let Some(quoted) = raw.strip_prefix('"') {
        return Some(unquoted(quoted).0);
    }
    let name = raw.split('\t').next().unwrap_or_default().trim_end();
    (name != "/dev/null").then(|| name.to_owned())
}

/// The two names behind `diff --git`; a name may have spaces, so they are told apart by being the same.
fn both_names(both: &str) -> Names {
    if let Some(quoted) = both.strip_prefix('"') {
        let (old, rest) = unquoted(quoted);
        return (Some(old), name(rest.trim_start()));
    }
    let halves = both.match_indices(" b/").map(|(at, _)| both.split_at(at));
    let same = |(old, new): &(&str, &str)| old.strip_prefix("a/") == new.strip_prefix(" b/");
    match halves.into_iter().find(same) {
        Some((old, new)) => (name(old), name(&new[1..])),
        None => (None, None),
    }
}

/// Reads a name as git quotes it, and what stands behind its closing quote.
fn unquoted(quoted: &str) -> (String, &str) {
    let bytes = quoted.as_bytes();
    let (mut name, mut at) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(at).copied().filter(|byte| *byte != b'"') {
        at += 1;
        if byte != b'\\' {
            name.push(byte);
            continue;
        }
        let octal = bytes.get(at..at + 3).and_then(|digits| str::from_utf8(digits).ok());
        if let Some(byte) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            name.push(byte);
            at += 3;
            continue;
        }
        name.extend(bytes.get(at).map(|byte| match byte {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            other => *other,
        }));
        at += 1;
    }
    (String::from_utf8_lossy(&name).into_owned(), quoted.get(at + 1..).unwrap_or_default())
}

/// Takes `a/` and `b/` away when both names that are there have them.
fn without_prefixes((old, new): Names) -> Names {
    let is_prefixed =
        |name: &Option<String>, prefix| name.as_ref().is_none_or(|name| name.starts_with(prefix));
    if !is_prefixed(&old, "a/") || !is_prefixed(&new, "b/") {
        return (old, new);
    }
    let short = |name: Option<String>| name.map(|name| name[2..].to_owned());
    (short(old), short(new))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a patch does, a line for each file.
    fn read(text: &str) -> String {
        let shown = |file: &FilePatch<'_>| {
            let name = |name: &Option<String>| name.clone().unwrap_or("nothing".to_owned());
            let hunks = file.hunks.iter().map(|hunk| {
                let counts = hunk.lines.iter().fold((0, 0), |counts, line| counted(counts, line.of));
                format!("{:?}{counts:?}", hunk.start)
            });
            let hunks = hunks.collect::<Vec<_>>().join(" ").replace("Some", "");
            format!("{} -> {} {:?} {hunks}", name(&file.old), name(&file.new), file.is_executable)
        };
        match parse(text) {
            Ok(files) => files.iter().map(shown).collect::<Vec<_>>().join("\n"),
            Err(wrong) => wrong,
        }
    }

    #[test]
    fn what_git_writes_is_read() {
        let text = "\
From 1 to 2

diff --git a/run me.sh b/run me.sh
old mode 100644
new mode 100755
diff --git a/empty b/empty
new file mode 100644
index 0000000..e69de29
diff --git a/old.rs b/sub/new.rs
similarity index 90%
rename from old.rs
rename to sub/new.rs
index 1..2 100644
--- a/old.rs
+++ b/sub/new.rs
@@ -1,2 +1,2 @@ fn main() {
 a
-b
+c
@@ -9 +9,0 @@
-x
\\ No newline at end of file
diff --git \"a/f\\303\\274.txt\" \"b/f\\303\\274.txt\"
deleted file mode 100644
--- \"a/f\\303\\274.txt\"
+++ /dev/null
@@ -1 +0,0 @@
-gone
";
        insta::assert_snapshot!(read(text), @"
        run me.sh -> run me.sh Some(true) 
        nothing -> empty Some(false) 
        old.rs -> sub/new.rs None (1)(2, 2) (9)(1, 0)
        fü.txt -> nothing None (1)(1, 0)
        ");
    }

    #[test]
    fn what_models_get_wrong_without_harm_is_read() {
        let text = "Here it is:\n```diff\n--- src/a.rs\t2026-01-01\n+++ src/a.rs\n@@ -3,99 +3,99 @@\n one\n\n-two\n+deux\n\n--- a/b\n+++ b/b\n@@\n one\n+two\n\n\n```\n";
        insta::assert_snapshot!(read(text), @"
        src/a.rs -> src/a.rs None (3)(3, 3)
        b -> b None None(1, 2)
        ");
    }

    #[test]
    fn lines_that_look_like_the_names_of_a_file_are_lines_when_they_are_counted() {
        let text = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n y\n--- old\n+++ new\n@@ -9 +9 @@\n-1\n+2\n--- a/z\n+++ b/z\n@@ -1 +1 @@\n-1\n+2\n";
        insta::assert_snapshot!(read(text), @"
        x -> x None (1)(2, 2) (9)(1, 1)
        z -> z None (1)(1, 1)
        ");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, said) in [
            ("*** Begin Patch\n", "it is no unified diff"),
            ("@@ -1 +1 @@\n-a\n+b\n", "line 1 of the patch: a hunk stands before the name of its file"),
            (
                "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n-a\n+b\nc\n",
                "line 6 of the patch: this begins with neither",
            ),
            ("--- a/x\n+++ b/x\n@@ -1,x +1 @@\n-a\n", "line 3 of the patch: this is no header of a hunk"),
            ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n", "line 4 of the patch: the hunk above has no lines"),
            ("--- /dev/null\n+++ /dev/null\n", "line 1 of the patch: no file is named here"),
            ("diff --git a/x b/y\nindex 1..2\n", "line 1 of the patch: no file is named here"),
            ("diff --git a/x b/x\nnew file mode 120000\n", "line 2 of the patch: only regular files"),
            ("diff --git a/x b/x\nGIT binary patch\n", "line 2 of the patch: only text can be patched"),
            ("diff --git a/x b/y\ncopy from x\n", "line 2 of the patch: copies are not understood"),
            ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n\\ No\n", "line 4 of the patch: no line stands before this"),
        ] {
            let wrong = read(text);
            assert!(wrong.starts_with(said), "{text:?}: {wrong}");
        }
    }
}
