//! What people see of a run: its difference and its branch.

use super::*;
use crate::repositories::{Change, Diff, PATCH_MAX};

#[tokio::test]
async fn a_difference_tells_each_file_and_its_lines() {
    let long = "the same\n".repeat(20);
    let work =
        users(&[("changed", "1\n2\n3\n"), ("deleted", "gone\n"), ("old name", &long), ("binary", "a\0b")]);
    let main = work.head().await;
    let tree = work.tree("build", std::slice::from_ref(&main)).await;
    write(&tree.path().join("changed"), "1\ntwo\n3\n4");
    write(&tree.path().join("added"), "x\n");
    write(&tree.path().join("binary"), "a\0c");
    fs::remove_file(tree.path().join("deleted")).unwrap();
    fs::rename(tree.path().join("old name"), tree.path().join("new name")).unwrap();
    let done = keep(&tree).await.commit;
    let diff = work.desk.repositories.diff(&work.source, &main, &done).await.unwrap();
    let seen: Vec<_> = diff
        .files
        .iter()
        .map(|file| (file.path.as_str(), &file.change, file.additions, file.deletions, file.is_binary))
        .collect();
    let wanted = [
        ("added", &Change::Added, 1, 0, false),
        ("binary", &Change::Modified, 0, 0, true),
        ("changed", &Change::Modified, 2, 1, false),
        ("deleted", &Change::Deleted, 0, 1, false),
        ("new name", &Change::Renamed { from: "old name".into() }, 0, 0, false),
    ];
    assert_eq!(seen, wanted);
    assert_eq!((diff.additions, diff.deletions, diff.truncated), (3, 2, false));
    assert!(diff.patch.contains("\n-2\n+two\n 3\n+4\n\\ No newline at end of file\n"), "{}", diff.patch);
    if let Some(said) = work.git(&["diff", "-M", "--no-color", main.as_str(), done.as_str()]) {
        assert_eq!(diff.patch, said, "git writes the same");
    }
    assert_eq!(work.desk.repositories.diff(&work.source, &done, &done).await.unwrap(), Diff::default());
}

#[tokio::test]
async fn a_long_difference_is_cut_and_still_counted() {
    let work = managed();
    let main = work.head().await;
    let line = format!("{}\n", "x".repeat(99));
    let text = line.repeat(20_000);
    let done = work.step("build", std::slice::from_ref(&main), &[("a", &text), ("b", "short\n")]).await;
    let diff = work.desk.repositories.diff(&work.source, &main, &done).await.unwrap();
    assert!(diff.truncated && diff.patch.len() <= PATCH_MAX && diff.patch.ends_with("x\n"));
    assert_eq!((diff.files.len(), diff.additions), (2, 20_001));
}

#[tokio::test]
async fn a_run_is_shown_on_a_branch_that_moves_with_it_but_not_over_others() {
    let work = users(&[("a", "1\n")]);
    let main = work.head().await;
    let show = async |commit: &CommitId| {
        work.desk.repositories.show(&work.source, run(), "Fix the parser", commit).await
    };
    let first = work.step("one", std::slice::from_ref(&main), &[("a", "2\n")]).await;
    let name = show(&first).await.unwrap();
    assert_eq!(name, "cendriix/fix-the-parser-0000feed");
    let second = work.step("two", std::slice::from_ref(&main), &[("a", "3\n")]).await;
    assert_eq!(show(&second).await.unwrap(), name, "another attempt of the same run replaces it");
    assert_eq!(show(&second).await.unwrap(), name);
    let repo = work.repo();
    let at = |repo: &Repository| CommitId::from(repo.refname_to_id(&format!("refs/heads/{name}")).unwrap());
    assert_eq!(at(&repo), second);
    repo.set_head(&format!("refs/heads/{name}")).unwrap();
    repo.checkout_head(Some(git2::build::CheckoutBuilder::new().force())).unwrap();
    let theirs = commit(work.path(), &[("a", "theirs\n")]);
    let refused = show(&first).await.unwrap_err();
    assert!(matches!(&refused, Failure::Refused(said) if said.contains("not of this run")), "{refused:?}");
    assert_eq!(at(&repo), theirs);
}
