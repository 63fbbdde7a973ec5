//! A unified diff, read line by line; what is malformed is passed over.

/// The files of a diff.
#[derive(Debug, Default)]
pub(super) struct Diff<'d> {
    pub files: Vec<File<'d>>,
}

/// What a diff does to one file.
#[derive(Debug, Default)]
pub(super) struct File<'d> {
    /// Its path after the change, or before when it is deleted.
    pub path: String,
    pub fate: Fate,
    pub is_binary: bool,
    pub is_link: bool,
    /// Added lines by their number.
    pub added: Vec<(u32, &'d str)>,
    pub removed: Vec<&'d str>,
}

/// Whether a file stays one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Changed,
    New,
    Deleted,
}

impl<'d> Diff<'d> {
    pub(super) fn parse(text: &'d str) -> Self {
        let mut reader = Reader::default();
        for line in text.split_terminator('\n') {
            reader.line(line);
        }
        Self { files: reader.files }
    }
}

#[derive(Default)]
struct Reader<'d> {
    files: Vec<File<'d>>,
    /// The path of a `---` line, until its `+++` line comes.
    old: Option<String>,
    /// Whether the last file was begun by a `diff` line.
    has_head: bool,
    /// Lines of the hunk that are still to come, before and after the change.
    left: (u32, u32),
    /// The number of the next line after the change.
    number: u32,
}

impl<'d> Reader<'d> {
    fn line(&mut self, line: &'d str) {
        if self.left != (0, 0) {
            self.in_hunk(line);
        } else if let Some(names) = line.strip_prefix("diff --git ") {
            self.files.push(File { path: path_of_head(names), ..File::default() });
            self.has_head = true;
        } else if let Some(path) = line.strip_prefix("--- ") {
            self.old = Some(path_of(path));
        } else if let (Some(path), Some(old)) = (line.strip_prefix("+++ "), self.old.take()) {
            self.begin(old, path_of(path));
        } else if let Some(ranges) = line.strip_prefix("@@ ") {
            self.hunk(ranges);
        } else if let Some(file) = self.files.last_mut() {
            if line.starts_with("new file mode ") {
                file.fate = Fate::New;
            } else if line.starts_with("deleted file mode ") {
                file.fate = Fate::Deleted;
            }
            file.is_link |= line == "new file mode 120000";
            file.is_binary |= line.starts_with("Binary files ") || line == "GIT binary patch";
        }
    }

    fn begin(&mut self, old: String, new: String) {
        if !std::mem::take(&mut self.has_head) {
            self.files.push(File::default());
        }
        if let Some(file) = self.files.last_mut() {
            let (is_new, is_deleted) = (old == "/dev/null", new == "/dev/null");
            if is_new || is_deleted {
                file.fate = if is_deleted { Fate::Deleted } else { Fate::New };
            }
            file.path = if is_deleted { old } else { new };
        }
    }

    /// `-1,2 +1,3 @@ …`
    fn hunk(&mut self, ranges: &str) {
        let mut words = ranges.split(' ');
        let mut range = |mark: char| -> Option<(u32, u32)> {
            let range = words.next()?.strip_prefix(mark)?;
            let (start, count) = range.split_once(',').unwrap_or((range, "1"));
            Some((start.parse().ok()?, count.parse().ok()?))
        };
        if let (Some((_, before)), Some((start, after))) = (range('-'), range('+'))
            && !self.files.is_empty()
        {
            self.left = (before, after);
            self.number = start;
        }
    }

    fn in_hunk(&mut self, line: &'d str) {
        let Some(file) = self.files.last_mut() else { return };
        if let Some(text) = line.strip_prefix('+') {
            file.added.push((self.number, text));
            self.left.1 = self.left.1.saturating_sub(1);
            self.number = self.number.saturating_add(1);
        } else if let Some(text) = line.strip_prefix('-') {
            file.removed.push(text);
            self.left.0 = self.left.0.saturating_sub(1);
        } else if line.starts_with("diff --git ") {
            // The hunk was shorter than it said.
            self.left = (0, 0);
            self.line(line);
        } else if !line.starts_with('\\') {
            self.left = (self.left.0.saturating_sub(1), self.left.1.saturating_sub(1));
            self.number = self.number.saturating_add(1);
        }
    }
}

/// The path of a `---` or `+++` line.
fn path_of(text: &str) -> String {
    let path = unquoted(text.split('\t').next().unwrap_or_default().trim_end());
    let bare = path.strip_prefix("a/").or_else(|| path.strip_prefix("b/")).unwrap_or(&path);
    bare.to_owned()
}

/// The second path of `a/x b/x`.
fn path_of_head(names: &str) -> String {
    let at = names.rfind(" b/").or_else(|| names.rfind(" \"b/")).map_or(0, |at| at + 1);
    path_of(&names[at..])
}

/// A path that git wrote between quotes, with bytes as octal numbers.
fn unquoted(path: &str) -> String {
    let Some(inner) = path.strip_prefix('"').and_then(|path| path.strip_suffix('"')) else {
        return path.to_owned();
    };
    let mut bytes = Vec::new();
    let mut rest = inner.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        let octal = |digits: &[u8]| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        };
        match (first, after) {
            (b'\\', [a, b, c, more @ ..]) if octal(&[*a, *b, *c]).is_some() => {
                bytes.extend(octal(&[*a, *b, *c]));
                rest = more;
            }
            (b'\\', [escaped, more @ ..]) => {
                bytes.push(match escaped {
                    b'n' => b'\n',
                    b't' => b'\t',
                    other => *other,
                });
                rest = more;
            }
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
