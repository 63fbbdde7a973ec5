//! Branches that people see: moved by compare-and-set, with the checkouts that stand on them.
//!
//! **Invariant:** a branch moves only while its lock is held and only from the commit that was expected.
//! **Invariant:** a checkout is changed only as a whole, and never where it holds something that is in no
//! commit.

use cendriix_protocol::ids::RunId;
use git2::{
    CheckoutNotificationType, ErrorCode, Oid, Reference, ReferenceType, Repository, RepositoryState,
    build::CheckoutBuilder,
};

use super::{
    Failure, commits,
    describe::{checked_out, dirty},
    failure::{shown, when},
    hidden,
    home::Home,
    names::{self, HEADS},
};

/// Moves a branch (or creates it) and brings along the checkouts that stand on it.
pub(super) fn advance(
    home: &Home,
    repo: &Repository,
    branch: &str,
    from: Option<Oid>,
    to: Oid,
) -> Result<(), Failure> {
    let raced = || Failure::Raced(branch.trim_start_matches(HEADS).to_owned());
    let mut lock = repo.transaction()?;
    lock.lock_ref(branch).map_err(when(ErrorCode::Locked, raced))?;
    if commits::tip(repo, branch)? != from {
        return Err(raced());
    }
    let is_alias = |found: Reference<'_>| found.kind() == Some(ReferenceType::Symbolic);
    if repo.find_reference(branch).is_ok_and(is_alias) {
        return Err(Failure::Refused(format!(
            "{branch} only stands for another branch; make it a branch of its own"
        )));
    }
    let commit = repo.find_commit(to)?;
    let mut behind = Vec::new();
    for checkout in checkouts(home, repo, branch)? {
        if !shows(&checkout, to)? {
            ready(&checkout, branch)?;
            behind.push(checkout);
        }
    }
    for checkout in behind {
        bring_along(&checkout, to)?;
    }
    lock.set_target(branch, to, Some(&commit.committer()), "cendriix")?;
    Ok(lock.commit()?)
}

/// Puts the branch that shows a run at a commit and gives its name.
pub(super) fn show(
    home: &Home,
    repo: &Repository,
    run: RunId,
    title: &str,
    commit: Oid,
) -> Result<String, Failure> {
    let name = names::branch(run, title);
    let branch = format!("{HEADS}{name}");
    let now = commits::tip(repo, &branch)?;
    if let Some(now) = now
        && !is_of(repo, run, commit, now)?
    {
        return Err(foreign(&name));
    }
    if now != Some(commit) {
        advance(home, repo, &branch, now, commit)?;
    }
    Ok(name)
}

/// Whether a branch that shows a run at `now` may show it at `commit` instead: nothing that somebody else
/// added is lost.
pub(super) fn is_of(repo: &Repository, run: RunId, commit: Oid, now: Oid) -> Result<bool, git2::Error> {
    Ok(now == commit || commits::contains(repo, commit, now)? || hidden::is_of(repo, run, now)?)
}

/// The refusal to overwrite what somebody else added to a branch.
pub(super) fn foreign(name: &str) -> Failure {
    Failure::Refused(format!("the branch {name} has commits that are not of this run; rename it first"))
}

/// The checkouts of a repository, its own and linked ones, that stand on a branch.
fn checkouts(home: &Home, repo: &Repository, branch: &str) -> Result<Vec<Repository>, Failure> {
    let mut all = vec![Repository::open(repo.commondir())?];
    for name in &repo.worktrees()? {
        let Ok(Some(name)) = name else { continue };
        let linked = repo.find_worktree(name)?;
        // One whose folder was deleted has nothing to bring along.
        if linked.validate().is_ok() {
            all.push(Repository::open_from_worktree(&linked)?);
        }
    }
    let mut found = Vec::new();
    for checkout in all {
        if !checkout.is_bare() && checked_out(&checkout)?.as_deref() == Some(branch) {
            found.push(home.with_settings(checkout)?);
        }
    }
    Ok(found)
}

/// Whether a checkout and its index hold exactly a commit: it was brought along before, and a crash came
/// between.
fn shows(checkout: &Repository, commit: Oid) -> Result<bool, git2::Error> {
    let tree = checkout.find_commit(commit)?.tree()?;
    Ok(checkout.diff_tree_to_workdir_with_index(Some(&tree), None)?.deltas().len() == 0)
}

/// Refuses a checkout that must not be changed.
fn ready(checkout: &Repository, branch: &str) -> Result<(), Failure> {
    let branch = branch.trim_start_matches(HEADS);
    let files = dirty(checkout)?;
    if !files.is_empty() {
        return Err(Failure::Dirty { branch: branch.to_owned(), files });
    }
    if checkout.state() != RepositoryState::Clean {
        return Err(Failure::Refused(format!(
            "{branch} is checked out in the middle of a merge or rebase; end it first"
        )));
    }
    if checkout.config()?.get_bool("core.sparseCheckout").unwrap_or(false) {
        return Err(Failure::Refused(format!(
            "{branch} is checked out in part (sparse); check out another branch first"
        )));
    }
    Ok(())
}

/// Changes the files of a checkout that differ from a commit. The library looks at all before it touches one.
fn bring_along(checkout: &Repository, commit: Oid) -> Result<(), Failure> {
    let commit = checkout.find_commit(commit)?;
    let mut files = Vec::new();
    let mut options = CheckoutBuilder::new();
    options.safe().overwrite_ignored(false).notify_on(CheckoutNotificationType::CONFLICT);
    options.notify(|_, path, _, _, _| {
        files.extend(path.map(|path| shown(path.as_os_str().as_encoded_bytes())));
        true
    });
    let done = checkout.checkout_tree(commit.as_object(), Some(&mut options));
    drop(options);
    done.map_err(when(ErrorCode::Conflict, || Failure::InTheWay { files }))
}
