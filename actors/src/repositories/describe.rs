//! What state a repository is in, and what follows from it for work in it.
//!
//! | state | answer |
//! |---|---|
//! | empty | work begins from an empty commit; the first merge creates the branch |
//! | detached HEAD | work begins from the default branch, merging is allowed |
//! | bare | nothing differs; there is no checkout to bring along |
//! | submodules | they stay at their commits, what is in them is not written out |
//! | Git LFS | pointers stay pointers |
//! | dirty checkout | no obstacle to work; merging into the branch that is checked out is refused |

use std::collections::BTreeSet;

use git2::{BranchType, ObjectType, Oid, Repository, StatusOptions, Tree, TreeEntry};

use super::{
    CommitId, Failure, commits,
    failure::shown,
    names::{HEADS, SHOWN},
};

/// The state of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The branch that work begins from and is merged into.
    pub default_branch: String,
    /// Its commit; none in an empty repository.
    pub head: Option<CommitId>,
    /// Whether it has no checkout.
    pub bare: bool,
    /// The branch that is checked out; none when bare or when HEAD is detached.
    pub checked_out: Option<String>,
    /// Tracked files of the checkout whose changes are in no commit.
    pub dirty: Vec<String>,
    /// Whether the default branch has submodules.
    pub has_submodules: bool,
    /// Whether the default branch has files in Git LFS.
    pub has_lfs: bool,
    /// What a person should know before work begins.
    pub notes: Vec<String>,
}

/// Looks at a repository.
pub(super) fn describe(repo: &Repository) -> Result<Description, Failure> {
    let branch = default_branch(repo)?;
    let head = commits::tip(repo, &branch)?;
    let (mut has_submodules, mut has_lfs) = (false, false);
    if let Some(head) = head {
        let mut looked_at = BTreeSet::new();
        each_entry(repo, &repo.find_commit(head)?.tree()?, &mut looked_at, &mut |entry| {
            has_submodules |= entry.kind() == Some(ObjectType::Commit);
            if entry.name_bytes() == b".gitattributes" && entry.kind() == Some(ObjectType::Blob) {
                let content = repo.find_blob(entry.id())?;
                has_lfs |= content.content().windows(10).any(|part| part == b"filter=lfs");
            }
            Ok(())
        })?;
    }
    let checked_out = checked_out(repo)?.filter(|_| !repo.is_bare());
    let dirty = dirty(repo)?;
    let mut notes = Vec::new();
    let mut note = |holds: bool, text: &str| notes.extend(holds.then(|| text.to_owned()));
    note(
        head.is_none(),
        "the repository is empty: work begins from nothing, and the first merge creates the branch",
    );
    note(!repo.is_bare() && checked_out.is_none(), "HEAD is detached: work begins from the default branch");
    note(has_submodules, "submodules stay at their commits; their files are not written out");
    note(
        has_lfs,
        "files in Git LFS are seen as their pointers; run `git lfs pull` after a merge that changes them",
    );
    note(!dirty.is_empty(), "changes that are not committed are not part of the work");
    Ok(Description {
        default_branch: branch.trim_start_matches(HEADS).to_owned(),
        head: head.map(CommitId::from),
        bare: repo.is_bare(),
        checked_out: checked_out.map(|name| name.trim_start_matches(HEADS).to_owned()),
        dirty,
        has_submodules,
        has_lfs,
        notes,
    })
}

/// The full name of the branch that work begins from and is merged into: `main`, else `master`, else the one
/// that HEAD names, else the only one. In an empty repository HEAD names what `init.defaultBranch` said when
/// it was made.
pub(super) fn default_branch(repo: &Repository) -> Result<String, Failure> {
    for name in ["refs/heads/main", "refs/heads/master"] {
        if commits::tip(repo, name)?.is_some() {
            return Ok(name.to_owned());
        }
    }
    let named = checked_out(repo)?;
    let mut branches = Vec::new();
    for branch in repo.branches(Some(BranchType::Local))? {
        let name = shown(branch?.0.get().name_bytes());
        // A branch that shows a run is never what it is merged into.
        branches.extend((!name.starts_with(SHOWN)).then_some(name));
    }
    match (named, branches.as_slice()) {
        (Some(named), branches) if branches.is_empty() || branches.contains(&named) => Ok(named),
        (_, [only]) => Ok(only.clone()),
        _ => Err(Failure::Refused(
            "which branch is the main one cannot be told; create one with `git branch main`".to_owned(),
        )),
    }
}

/// The full name of the branch that HEAD names.
pub(super) fn checked_out(repo: &Repository) -> Result<Option<String>, git2::Error> {
    let head = repo.find_reference("HEAD")?;
    let target = head.symbolic_target_bytes().map(shown);
    Ok(target.filter(|target| target.starts_with(HEADS)))
}

/// The tracked files of a checkout that differ from its commit; a submodule is its own affair.
pub(super) fn dirty(repo: &Repository) -> Result<Vec<String>, git2::Error> {
    if repo.is_bare() {
        return Ok(Vec::new());
    }
    let mut options = StatusOptions::new();
    options.include_untracked(false).include_ignored(false).exclude_submodules(true);
    let statuses = repo.statuses(Some(&mut options))?;
    Ok(statuses.iter().map(|entry| shown(entry.path_bytes())).collect())
}

/// Visits every entry of a tree and of those in it, each different tree once.
pub(super) fn each_entry(
    repo: &Repository,
    tree: &Tree<'_>,
    visited: &mut BTreeSet<Oid>,
    visit: &mut dyn FnMut(&TreeEntry<'_>) -> Result<(), git2::Error>,
) -> Result<(), git2::Error> {
    // Kept in a list and not on the stack: a tree from outside may be deeper than the stack.
    let mut waiting = vec![tree.id()];
    while let Some(next) = waiting.pop() {
        if !visited.insert(next) {
            continue;
        }
        for entry in &repo.find_tree(next)? {
            visit(&entry)?;
            waiting.extend((entry.kind() == Some(ObjectType::Tree)).then(|| entry.id()));
        }
    }
    Ok(())
}
