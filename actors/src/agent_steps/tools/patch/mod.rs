//! Patches: several files changed together, or none of them.
//!
//! **Invariant:** nothing is written before every hunk of every file has found its place.

mod parse;
mod place;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    path::{Path, PathBuf},
};

use self::{
    parse::{FilePatch, Of},
    place::{Effort, Misfit},
};
use super::{
    paths::{Root, shown},
    refusal,
};
use crate::sandboxes::{Change, Entry, FileError, Kind, Version};

/// The largest patch, in bytes.
pub(super) const PATCH_BYTES_MAX: usize = 1 << 20;
/// The files of one patch together, as they are.
const BYTES_MAX: usize = 16 << 20;
/// Files of one patch.
const FILES_MAX: usize = 100;

/// Applies a patch to the files of a tree; the answer says what was changed, or why nothing was.
pub(super) async fn apply(root: &Root, patch: String) -> Result<String, String> {
    if patch.len() > PATCH_BYTES_MAX {
        return Err(format!("the patch is larger than {PATCH_BYTES_MAX} bytes; apply it in parts"));
    }
    let mut found = Plan::default();
    for path in names(root, &patch)? {
        found.look(root, path).await.map_err(unchanged)?;
    }
    let planning = {
        let root = root.clone();
        move || found.complete(&root, &patch)
    };
    let planned = tokio::task::spawn_blocking(planning).await;
    let (changes, said) = planned.map_err(unchanged)??;
    let done = root.files.change(changes).await;
    done.map_err(|error| {
        let why = refusal(&error.path, &error.source);
        if error.is_torn { format!("some files before it stay changed: {why}") } else { unchanged(why) }
    })?;
    Ok(said)
}

fn unchanged(why: impl Display) -> String {
    format!("nothing was changed: {why}")
}

fn read(patch: &str) -> Result<Vec<FilePatch<'_>>, String> {
    let files = parse::parse(patch).map_err(|why| format!("the patch cannot be read: {why}"))?;
    if files.len() > FILES_MAX {
        return Err(format!("the patch changes more than {FILES_MAX} files; apply it in parts"));
    }
    Ok(files)
}

/// The files that a patch is about.
fn names(root: &Root, patch: &str) -> Result<BTreeSet<PathBuf>, String> {
    let files = read(patch)?;
    Ok(files.iter().flat_map(|file| [&file.old, &file.new]).flatten().map(|name| root.path(name)).collect())
}

/// What the files of a patch are, and what they become.
#[derive(Default)]
struct Plan {
    files: BTreeMap<PathBuf, Planned>,
    /// What was read of all files.
    bytes: usize,
}

struct Planned {
    before: Option<Text>,
    after: Option<Text>,
}

#[derive(Clone, PartialEq, Eq)]
struct Text {
    text: String,
    is_executable: bool,
}

impl Plan {
    /// Reads what a file is; nothing when there is none.
    async fn look(&mut self, root: &Root, path: PathBuf) -> Result<(), String> {
        let before = match root.files.entry(&path).await {
            Err(FileError::Missing) => None,
            Err(error) => return Err(refusal(&path, &error)),
            Ok(entry) if entry.kind != Kind::File => return Err(refusal(&path, &FileError::Irregular)),
            Ok(Entry { is_executable, .. }) => {
                let left = u64::try_from(BYTES_MAX - self.bytes).unwrap_or(0);
                let read = root.files.read(&path, left).await.map_err(|error| refusal(&path, &error))?;
                let text =
                    String::from_utf8(read).map_err(|_| format!("{}: it is not UTF-8 text", shown(&path)))?;
                self.bytes += text.len();
                Some(Text { text, is_executable })
            }
        };
        self.files.insert(path, Planned { before: before.clone(), after: before });
        Ok(())
    }

    /// Plans all that a patch does, and says it.
    fn complete(mut self, root: &Root, patch: &str) -> Result<(Vec<Change>, String), String> {
        let mut said = vec!["applied".to_owned()];
        let mut effort = Effort::default();
        for file in &read(patch)? {
            said.push(self.add(root, file, &mut effort).map_err(unchanged)?);
        }
        Ok((self.changes(), said.join("\n")))
    }

    /// What a file is once everything that is planned so far is done.
    fn text(&self, path: &Path) -> Option<&Text> {
        self.files.get(path)?.after.as_ref()
    }

    fn set(&mut self, path: &Path, after: Option<Text>) {
        if let Some(planned) = self.files.get_mut(path) {
            planned.after = after;
        }
    }

    /// Plans what a patch makes of one file, and says it.
    fn add(&mut self, root: &Root, file: &FilePatch<'_>, effort: &mut Effort) -> Result<String, String> {
        let [old, new] = [&file.old, &file.new].map(|name| name.as_deref().map(|name| root.path(name)));
        let text = match &old {
            Some(path) => self.text(path).ok_or_else(|| refusal(path, &FileError::Missing))?,
            None => &Text { text: String::new(), is_executable: false },
        };
        if let Some(path) = new.as_ref().filter(|path| old != new && self.text(path).is_some()) {
            let path = shown(path);
            return Err(format!("{path} exists already; change it with its own name before and after"));
        }
        let name = new.as_ref().or(old.as_ref()).map(|path| shown(path)).unwrap_or_default();
        let patched = place::apply(&text.text, &file.hunks, effort);
        let patched = patched.map_err(|misfit| does_not_apply(&name, file, &misfit))?;
        let said = match (&old, &new) {
            (None, _) => format!("created {name}"),
            (Some(_), None) if !patched.is_empty() => {
                return Err(format!("the patch deletes {name}, but not all of its lines; use delete_file"));
            }
            (Some(_), None) => format!("deleted {name}"),
            (Some(old), Some(new)) if old != new => format!("renamed {} to {name}", shown(old)),
            (Some(_), Some(_)) => format!("changed {name}"),
        };
        let is_executable = file.is_executable.unwrap_or(text.is_executable);
        if let Some(old) = old.filter(|old| Some(old) != new.as_ref()) {
            self.set(&old, None);
        }
        if let Some(new) = new {
            self.set(&new, Some(Text { text: patched, is_executable }));
        }
        Ok(format!("{said} ({})", counted(file)))
    }

    /// What differs in the end; what goes comes first, so that a directory can take a file's name.
    fn changes(self) -> Vec<Change> {
        let version =
            |text: Text| Version { content: text.text.into_bytes(), is_executable: text.is_executable };
        let differing = self.files.into_iter().filter(|(_, planned)| planned.before != planned.after);
        let mut changes: Vec<Change> = differing
            .map(|(path, Planned { before, after })| Change {
                path,
                before: before.map(version),
                after: after.map(version),
            })
            .collect();
        changes.sort_by_key(|change| change.after.is_some());
        changes
    }
}

fn does_not_apply(name: &str, file: &FilePatch<'_>, misfit: &Misfit) -> String {
    let header = file.hunks.get(misfit.hunk).map(|hunk| hunk.header).unwrap_or_default();
    let header: String = header.chars().take(80).collect();
    let (number, of, why) = (misfit.hunk + 1, file.hunks.len(), &misfit.why);
    format!("hunk {number} of {of} of {name} (`{header}`) does not apply: {why}")
}

fn counted(file: &FilePatch<'_>) -> String {
    let lines = || file.hunks.iter().flat_map(|hunk| &hunk.lines);
    let count = |of| lines().filter(|line| line.of == of).count();
    format!("+{} -{}", count(Of::New), count(Of::Old))
}
