//! Finds where hunks belong in a file, and puts them there.
//!
//! **Invariant:** a hunk goes only where every line of it that is no addition stands exactly so; its line
//! number is a hint.

use super::parse::{Hunk, Line, Of};

/// A hunk may be so many lines away from where it says; further away only when it fits nowhere else.
const DRIFT_MAX: usize = 50;

/// Lines that are looked through for hunks that are not where they say; only a patch that is made to cost
/// needs more.
const LOOKED_THROUGH_MAX: usize = 50_000_000;

/// Lines that are compared to say where a hunk nearly fits.
const COMPARED_MAX: usize = 5_000_000;

/// A hunk that fits nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// Its place among the hunks of its file.
    pub(super) hunk: usize,
    /// What stands in the file instead.
    pub(super) why: String,
}

/// How many lines were looked through for all hunks of a patch.
#[derive(Debug, Default)]
pub(super) struct Effort(usize);

/// The text with all hunks put in place, in the order they come.
pub(super) fn apply(text: &str, hunks: &[Hunk<'_>], effort: &mut Effort) -> Result<String, Misfit> {
    let is_dos = text.contains("\r\n") && text.matches('\n').count() == text.matches("\r\n").count();
    let lines: Vec<Stands<'_>> = text.split_inclusive('\n').map(Stands::new).collect();
    let newline = if is_dos { "\r\n" } else { "\n" };
    let mut out = Output { text: String::with_capacity(text.len()), newline };
    let (mut done, mut drift) = (0, 0_isize);
    for (number, hunk) in hunks.iter().enumerate() {
        let sought = Sought::new(hunk, is_dos);
        let stated = hunk.start.map(|start| sought.begin(start).saturating_add_signed(drift));
        let at = sought.find(&lines, done, stated, effort).map_err(|why| Misfit { hunk: number, why })?;
        if let Some(start) = hunk.start {
            drift = at.cast_signed().saturating_sub(sought.begin(start).cast_signed());
        }
        lines[done..at].iter().for_each(|line| out.push(line.text, "", line.is_ended));
        let mut standing = lines[at..].iter();
        for line in &hunk.lines {
            match line.of {
                // As it stands: its end may be another than the patch says.
                Of::Both => standing.next().iter().for_each(|line| out.push(line.text, "", line.is_ended)),
                Of::Old => drop(standing.next()),
                Of::New => out.push(line.text, sought.end_of(line), line.is_ended),
            }
        }
        done = at + sought.old.len();
    }
    lines[done..].iter().for_each(|line| out.push(line.text, "", line.is_ended));
    Ok(out.text)
}

/// The file that comes out.
struct Output {
    text: String,
    newline: &'static str,
}

impl Output {
    /// Adds a line; what comes before it is a line too, whatever it said.
    fn push(&mut self, text: &str, end: &str, is_ended: bool) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push_str(self.newline);
        }
        self.text.push_str(text);
        self.text.push_str(end);
        if is_ended {
            self.text.push('\n');
        }
    }
}

/// A line of the file, without its newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stands<'t> {
    text: &'t str,
    is_ended: bool,
}

impl<'t> Stands<'t> {
    fn new(line: &'t str) -> Self {
        line.strip_suffix('\n')
            .map_or(Self { text: line, is_ended: false }, |text| Self { text, is_ended: true })
    }
}

/// The lines that must stand where a hunk goes.
struct Sought<'h> {
    old: Vec<&'h Line<'h>>,
    /// What would stand there when the hunk was applied already.
    new: Vec<&'h Line<'h>>,
    /// Whether the lines of the file end in carriage returns that those of the hunk lack.
    is_dos: bool,
    /// Whether the hunk says that the file ends without a newline; otherwise it may, or may not.
    tells_end: bool,
}

impl<'h> Sought<'h> {
    fn new(hunk: &'h Hunk<'h>, is_dos: bool) -> Self {
        let without = |of: Of| hunk.lines.iter().filter(|line| line.of != of).collect::<Vec<_>>();
        Self {
            old: without(Of::New),
            new: without(Of::Old),
            is_dos: is_dos && !hunk.lines.iter().any(|line| line.text.ends_with('\r')),
            tells_end: hunk.lines.iter().any(|line| line.of != Of::New && !line.is_ended),
        }
    }

    /// The place of a line number; of no lines, the number is that of the line before them.
    fn begin(&self, start: usize) -> usize {
        if self.old.is_empty() { start } else { start.saturating_sub(1) }
    }

    /// What a line of the hunk has before its newline.
    fn end_of(&self, line: &Line<'_>) -> &'static str {
        if self.is_dos && line.is_ended { "\r" } else { "" }
    }

    fn fits(&self, stands: &Stands<'_>, line: &Line<'_>) -> bool {
        let text = stands.text.strip_suffix(self.end_of(line));
        let has_text = text == Some(line.text) || !stands.is_ended && stands.text == line.text;
        has_text && (stands.is_ended == line.is_ended || !self.tells_end && !stands.is_ended)
    }

    /// Where the hunk goes, at `floor` or below it.
    fn find(
        &self,
        lines: &[Stands<'_>],
        floor: usize,
        stated: Option<usize>,
        effort: &mut Effort,
    ) -> Result<usize, String> {
        if self.old.is_empty() {
            return match stated {
                Some(at) if (floor..=lines.len()).contains(&at) => Ok(at),
                None if lines.is_empty() => Ok(0),
                Some(_) => Err(format!("the file has {} lines", lines.len())),
                None => Err("it has neither a line number nor a line that stands in the file".to_owned()),
            };
        }
        if let Some(at) = stated.filter(|at| *at >= floor && self.stands(lines, *at)) {
            return Ok(at);
        }
        effort.0 = effort.0.saturating_add(lines.len()).saturating_add(self.old.len());
        if effort.0 > LOOKED_THROUGH_MAX {
            return Err("too many hunks are not where they say; apply the patch in parts".to_owned());
        }
        let places = self.places(&self.old, lines, floor);
        let Some(stated) = stated else {
            return match places.as_slice() {
                [only] => Ok(*only),
                [] => Err(self.nearly(lines, floor, floor)),
                many => Err(ambiguous(many)),
            };
        };
        match places.iter().min_by_key(|place| place.abs_diff(stated)) {
            Some(nearest) if places.len() == 1 || nearest.abs_diff(stated) <= DRIFT_MAX => Ok(*nearest),
            Some(_) => Err(ambiguous(&places)),
            None => Err(self.nearly(lines, floor, stated)),
        }
    }

    /// Whether the hunk fits at a place.
    fn stands(&self, lines: &[Stands<'_>], at: usize) -> bool {
        let there = lines.get(at..at.saturating_add(self.old.len())).unwrap_or_default();
        there.len() == self.old.len()
            && there.iter().zip(&self.old).all(|(stands, line)| self.fits(stands, line))
    }

    /// Every place from `floor` on where lines of the hunk stand, in time that grows with the file alone
    /// (Knuth, Morris and Pratt).
    fn places(&self, wanted: &[&Line<'_>], lines: &[Stands<'_>], floor: usize) -> Vec<usize> {
        let is_same =
            |one: &Line<'_>, other: &Line<'_>| one.text == other.text && one.is_ended == other.is_ended;
        // For each line, how many lines up to it are also the first lines.
        let mut borders = vec![0; wanted.len()];
        let mut length = 0;
        for at in 1..wanted.len() {
            while length > 0 && !is_same(wanted[at], wanted[length]) {
                length = borders[length - 1];
            }
            length += usize::from(is_same(wanted[at], wanted[length]));
            borders[at] = length;
        }
        let mut found = Vec::new();
        let mut length = 0;
        for (at, stands) in lines.iter().enumerate().skip(floor) {
            while length > 0 && (length == wanted.len() || !self.fits(stands, wanted[length])) {
                length = borders[length - 1];
            }
            length += usize::from(wanted.get(length).is_some_and(|line| self.fits(stands, line)));
            if length == wanted.len() && length > 0 {
                found.push(at + 1 - length);
            }
        }
        found
    }

    /// Says where the hunk nearly fits, and which line there keeps it from fitting.
    fn nearly(&self, lines: &[Stands<'_>], floor: usize, stated: usize) -> String {
        let stated = stated.clamp(floor, lines.len().max(floor));
        let is_affordable = lines.len().saturating_mul(self.old.len()) <= COMPARED_MAX;
        let fitting = |at: &usize| {
            let pairs = lines.iter().skip(*at).zip(&self.old);
            pairs.filter(|(stands, line)| self.fits(stands, line)).count()
        };
        let near = |at: &usize| (fitting(at), std::cmp::Reverse(at.abs_diff(stated)));
        let best = if is_affordable { (floor..lines.len()).max_by_key(near) } else { None };
        let at = best.filter(|at| fitting(at) > 0).unwrap_or(stated);
        let wrong = self
            .old
            .iter()
            .enumerate()
            .find(|(offset, line)| lines.get(at + offset).is_none_or(|stands| !self.fits(stands, line)));
        let mut why = match wrong.map(|(offset, line)| (at + offset, lines.get(at + offset), line)) {
            Some((at, Some(stands), line)) if stands.text == line.text => {
                let ends = if stands.is_ended { "with" } else { "without" };
                format!("line {} of the file ends {ends} a newline, which the patch denies", at + 1)
            }
            Some((at, Some(stands), line)) => {
                format!(
                    "line {} is {}, but the patch expects {}",
                    at + 1,
                    quoted(stands.text),
                    quoted(line.text)
                )
            }
            Some((_, None, line)) => {
                format!(
                    "the file ends after line {}, but the patch expects {}",
                    lines.len(),
                    quoted(line.text)
                )
            }
            None => "it fits only above the hunk before it; hunks go from top to bottom".to_owned(),
        };
        if !self.new.is_empty() && !self.places(&self.new, lines, floor).is_empty() {
            why.push_str(" (what it makes of these lines stands in the file already)");
        }
        why
    }
}

fn ambiguous(places: &[usize]) -> String {
    let shown: Vec<String> = places.iter().take(5).map(|place| (place + 1).to_string()).collect();
    let more = if places.len() > shown.len() { " and more" } else { "" };
    let shown = shown.join(", ");
    format!("it fits at lines {shown}{more}; give the right line number, or more lines of context")
}

/// A line for a message, cut when it is long.
fn quoted(line: &str) -> String {
    let short: String = line.chars().take(160).collect();
    let more = if short.len() < line.len() { "…" } else { "" };
    format!("`{short}{more}`")
}

#[cfg(test)]
mod tests {
    use git2::{DiffOptions, Patch};
    use proptest::prelude::*;

    use super::{super::parse::parse, *};

    fn patched(text: &str, body: &str) -> String {
        let patch = format!("--- a/x\n+++ b/x\n{body}");
        let files = parse(&patch).unwrap();
        apply(text, &files[0].hunks, &mut Effort::default())
            .unwrap_or_else(|misfit| format!("{}: {}", misfit.hunk, misfit.why))
    }

    #[test]
    fn a_hunk_is_found_by_its_lines() {
        let text = "a\nb\nc\nd\n";
        assert_eq!(patched(text, "@@ -2,2 +2,2 @@\n b\n-c\n+C\n"), "a\nb\nC\nd\n");
        assert_eq!(patched(text, "@@ -40,2 +41,2 @@\n b\n-c\n+C\n"), "a\nb\nC\nd\n");
        assert_eq!(patched(text, "@@\n b\n-c\n+C\n"), "a\nb\nC\nd\n");
        assert_eq!(patched(text, "@@ -0,0 +1 @@\n+first\n"), "first\na\nb\nc\nd\n");
        assert_eq!(patched(text, "@@ -4,0 +5 @@\n+last\n"), "a\nb\nc\nd\nlast\n");
        assert_eq!(patched("", "@@ -0,0 +1 @@\n+only\n"), "only\n");
        // The second hunk is as far from its number as the first.
        let repeated = "x\n".repeat(10);
        let moved = format!("new\nnew\na\n{repeated}");
        assert_eq!(
            patched(&moved, "@@ -1 +1 @@\n-a\n+A\n@@ -5 +5 @@\n-x\n+X\n"),
            format!("new\nnew\nA\n{}X\n{}", "x\n".repeat(3), "x\n".repeat(6))
        );
    }

    #[test]
    fn what_does_not_fit_is_said_with_what_stands_there() {
        let text = "fn a() {\n    1\n}\n\nfn b() {\n    2\n}\n";
        insta::assert_snapshot!(
            patched(text, "@@ -5,3 +5,3 @@\n fn b() {\n-    3\n+    4\n }\n"),
            @"0: line 6 is `    2`, but the patch expects `    3`"
        );
        insta::assert_snapshot!(
            patched(text, "@@ -6,2 +6,3 @@\n     2\n }\n fn c() {}\n+x\n"),
            @"0: the file ends after line 7, but the patch expects `fn c() {}`"
        );
        insta::assert_snapshot!(
            patched(text, "@@\n-}\n+};\n"),
            @"0: it fits at lines 3, 7; give the right line number, or more lines of context"
        );
        insta::assert_snapshot!(
            patched(text, "@@ -6 +6 @@\n-    3\n+    2\n"),
            @"0: line 6 is `    2`, but the patch expects `    3` (what it makes of these lines stands in the file already)"
        );
        insta::assert_snapshot!(
            patched(text, "@@ -6 +6 @@\n-    2\n+    3\n@@ -2 +2 @@\n-    1\n+    2\n"),
            @"1: line 7 is `}`, but the patch expects `    1`"
        );
        insta::assert_snapshot!(patched(text, "@@ -60,0 +61 @@\n+x\n"), @"0: the file has 7 lines");
        insta::assert_snapshot!(
            patched("a\n", "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n"),
            @"0: line 1 of the file ends with a newline, which the patch denies"
        );
    }

    #[test]
    fn a_place_far_away_is_taken_only_when_it_is_the_only_one() {
        let text = format!("x\n{}x\n", "y\n".repeat(200));
        let said = patched(&text, "@@ -100 +100 @@\n-x\n+z\n");
        assert!(said.starts_with("0: it fits at lines 1, 202"), "{said}");
        assert!(patched(&text, "@@ -160 +160 @@\n-x\n+z\n").ends_with("z\n"));
    }

    #[test]
    fn the_ends_of_lines_stay_what_they_are() {
        assert_eq!(patched("a\r\nb\r\n", "@@ -1,2 +1,3 @@\n a\n-b\n+c\n+d\n"), "a\r\nc\r\nd\r\n");
        assert_eq!(patched("a\r\nb", "@@ -1,2 +1,2 @@\n a\n-b\n+c\n"), "a\r\nc\r\n");
        assert_eq!(patched("a\nb", "@@ -1,2 +1,2 @@\n-a\n+A\n b\n"), "A\nb");
        assert_eq!(patched("a\nb", "@@ -2 +2,2 @@\n b\n+c\n"), "a\nb\nc\n");
        assert_eq!(patched("a", "@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n"), "b");
    }

    #[test]
    fn many_equal_lines_are_looked_through_once() {
        let text = "\n".repeat(200_000);
        let body = format!("@@ -1 +1 @@\n{}-x\n", " \n".repeat(100_000));
        assert!(patched(&text, &body).starts_with("0: line "));
    }

    #[test]
    fn a_patch_that_is_made_to_cost_is_given_up() {
        let files = parse("--- a/x\n+++ b/x\n@@ -9 +9 @@\n-x\n").unwrap();
        let mut effort = Effort(LOOKED_THROUGH_MAX - 4);
        assert_eq!(apply("x\n", &files[0].hunks, &mut effort), Ok(String::new()));
        let given_up = apply("1\n2\nx\n", &files[0].hunks, &mut effort).unwrap_err();
        assert!(given_up.why.starts_with("too many hunks are not where they say"), "{given_up:?}");
    }

    fn texts() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            8 => "[ab]{0,2}",
            1 => Just("-- x".to_owned()),
            1 => Just("++ y".to_owned()),
            1 => Just("@@ -1 +1 @@".to_owned()),
            1 => Just("\\ No".to_owned()),
            1 => Just("x\r".to_owned()),
            1 => Just("diff --git a/x b/x".to_owned()),
        ];
        (prop::collection::vec(line, 0..30), any::<bool>()).prop_map(|(lines, is_ended)| {
            let text = lines.join("\n");
            if is_ended && !lines.is_empty() { text + "\n" } else { text }
        })
    }

    /// What git writes of the difference of two texts.
    fn git_diff(old: &str, new: &str, radius: u32) -> String {
        let mut options = DiffOptions::new();
        options.context_lines(radius).force_text(true);
        let name = Some(std::path::Path::new("x"));
        let patch = Patch::from_buffers(old.as_bytes(), name, new.as_bytes(), name, Some(&mut options));
        String::from_utf8(patch.unwrap().to_buf().unwrap().to_vec()).unwrap()
    }

    proptest! {
        #[test]
        fn the_difference_of_two_texts_leads_from_one_to_the_other(
            old in texts(), new in texts(), radius in 0_u32..4,
        ) {
            // Where all lines end with CRLF, those that are added do too, whatever the patch says.
            let is_dos = old.contains('\n') && old.replace("\r\n", "").find('\n').is_none();
            prop_assume!(old != new && !is_dos);
            let patch = git_diff(&old, &new, radius);
            let files = parse(&patch).unwrap();
            prop_assert_eq!(apply(&old, &files[0].hunks, &mut Effort::default()), Ok(new));
        }

        #[test]
        fn no_patch_breaks_the_reader(text in "(---|\\+\\+\\+|@@|diff --git|[ +\\-a\\\\\"]|\n| a/x| -1,2|){0,40}") {
            if let Ok(files) = parse(&text) {
                for file in files {
                    drop(apply("a\n\na\n", &file.hunks, &mut Effort::default()));
                }
            }
        }
    }
}
