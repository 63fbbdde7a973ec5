//! A run's commit becomes part of main: at once, or not at all.

use super::*;

#[tokio::test]
async fn a_merge_is_a_commit_of_its_own_and_the_clean_checkout_comes_along() {
    let work = users(&[("kept", "1\n"), ("changed", "1\n"), ("deleted", "1\n"), (".gitignore", "*.tmp\n")]);
    let main = work.head().await;
    write(&work.path().join("untracked"), "mine");
    write(&work.path().join("mine.tmp"), "mine");
    let before = fs::metadata(work.path().join("kept")).unwrap().modified().unwrap();
    let tree = work.tree("build", std::slice::from_ref(&main)).await;
    write(&tree.path().join("changed"), "2\n");
    write(&tree.path().join("added/deep"), "2\n");
    fs::remove_file(tree.path().join("deleted")).unwrap();
    let done = keep(&tree).await.commit;
    let merged = work.merge(&done, Some(&main)).await.unwrap();
    let repo = work.repo();
    let commit = repo.find_commit(oid(&merged)).unwrap();
    assert_eq!(commit.parent_ids().map(CommitId::from).collect::<Vec<_>>(), [main, done.clone()]);
    assert_eq!((commit.message().unwrap(), commit.time().seconds()), ("Merge a run", 1_780_000_000));
    assert_eq!(work.head().await, merged);
    let merged_as = work.desk.repositories.merged_as(&work.source, &done).await.unwrap();
    assert_eq!(merged_as, Some(merged));
    let wanted = [
        (".gitignore", "*.tmp\n"),
        ("added/deep", "2\n"),
        ("changed", "2\n"),
        ("kept", "1\n"),
        ("mine.tmp", "mine"),
        ("untracked", "mine"),
    ];
    assert_eq!(everything(work.path()), wanted.map(|(name, text)| (name.into(), file(text))).into());
    assert_eq!(
        fs::metadata(work.path().join("kept")).unwrap().modified().unwrap(),
        before,
        "only what differs is written"
    );
    if let Some(said) = work.git(&["log", "--oneline", "--merges", "--format=%s by %an", "main"]) {
        assert_eq!(said, "Merge a run by cendriix\n");
        assert_eq!(work.git(&["status", "--porcelain"]).unwrap(), "?? untracked\n");
        assert!(work.git(&["reflog", "main"]).unwrap().lines().next().unwrap().contains("cendriix"));
    }
    work.is_sound();
}

#[tokio::test]
async fn what_is_merged_already_stays_as_it_is() {
    let work = managed();
    let main = work.head().await;
    let done = work.step("build", std::slice::from_ref(&main), &[("a", "1")]).await;
    let merged = work.merge(&done, Some(&main)).await.unwrap();
    assert_eq!(work.merge(&done, Some(&main)).await.unwrap(), merged);
    assert_eq!(work.head().await, merged);
}

#[tokio::test]
async fn what_was_made_for_another_main_is_not_merged_before_it_is_joined_with_the_one_there_is() {
    let work = users(&[("a", "1\n"), ("b", "1\n")]);
    let main = work.head().await;
    let done = work.step("build", std::slice::from_ref(&main), &[("a", "2\n")]).await;
    let moved = commit(work.path(), &[("b", "2\n")]);
    let refused = work.merge(&done, Some(&main)).await.unwrap_err();
    assert!(matches!(&refused, Failure::MainMoved { main } if *main == moved), "{refused:?}");
    assert_eq!(work.head().await, moved);
    let joined = work.desk.repositories.join(&work.source, &[done.clone(), moved.clone()]).await.unwrap();
    let merged = work.merge(&joined, Some(&moved)).await.unwrap();
    assert_eq!(
        (work.text(&merged, "a").unwrap(), work.text(&merged, "b").unwrap()),
        ("2\n".into(), "2\n".into())
    );
    let merged_as = work.desk.repositories.merged_as(&work.source, &done).await.unwrap();
    assert_eq!(merged_as, Some(merged));
    assert_eq!(work.git(&["status", "--porcelain"]).unwrap_or_default(), "");
}

#[tokio::test]
async fn a_main_that_contradicts_is_left_as_it_is() {
    let work = users(&[("a", "1\n")]);
    let main = work.head().await;
    let done = work.step("build", std::slice::from_ref(&main), &[("a", "2\n")]).await;
    let moved = commit(work.path(), &[("a", "3\n")]);
    let known = work.merge(&done, Some(&moved)).await.unwrap_err();
    assert!(matches!(&known, Failure::Conflict { paths } if paths == &["a"]), "{known:?}");
    assert_eq!(work.head().await, moved);
    assert_eq!(everything(work.path()), [("a".into(), file("3\n"))].into());
}

#[tokio::test]
async fn a_dirty_main_is_refused_and_nothing_changes() {
    let names: Vec<String> = (10..25).map(|number| format!("file{number}")).collect();
    let files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1\n")).collect();
    let work = users(&files);
    let main = work.head().await;
    let done = work.step("build", std::slice::from_ref(&main), &[("new", "1\n")]).await;
    for name in &names {
        write(&work.path().join(name), "mine\n");
    }
    let before = everything(work.path());
    let index = fs::read(work.path().join(".git/index")).unwrap();
    let refused = work.merge(&done, Some(&main)).await.unwrap_err();
    assert!(
        matches!(&refused, Failure::Dirty { branch, files } if branch == "main" && *files == names),
        "{refused:?}"
    );
    let said = refused.to_string();
    assert!(said.contains("file19 and 5 more") && !said.contains("file20"), "{said}");
    assert_eq!((everything(work.path()), work.head().await), (before, main));
    assert_eq!(fs::read(work.path().join(".git/index")).unwrap(), index);
    assert!(!work.path().join(".git/refs/heads/main.lock").exists());
}

#[tokio::test]
async fn an_untracked_or_ignored_file_is_never_overwritten() {
    let work = users(&[("a", "1\n"), (".gitignore", "ignored\n")]);
    let main = work.head().await;
    let tree = work.tree("build", std::slice::from_ref(&main)).await;
    write(&tree.path().join(".gitignore"), "");
    write(&tree.path().join("a"), "2\n");
    write(&tree.path().join("ignored"), "theirs");
    write(&tree.path().join("untracked"), "theirs");
    let done = keep(&tree).await.commit;
    for name in ["ignored", "untracked"] {
        write(&work.path().join(name), "mine");
        let before = everything(work.path());
        let refused = work.merge(&done, Some(&main)).await.unwrap_err();
        assert!(matches!(&refused, Failure::InTheWay { files } if files == &[name]), "{refused:?}");
        assert_eq!((everything(work.path()), work.head().await), (before, main.clone()));
        fs::remove_file(work.path().join(name)).unwrap();
    }
    work.merge(&done, Some(&main)).await.unwrap();
    assert_eq!(everything(work.path())[Path::new("untracked")], file("theirs"));
}

#[tokio::test]
async fn a_merge_in_progress_or_a_sparse_checkout_is_refused() {
    let work = users(&[("a", "1\n")]);
    let main = work.head().await;
    let done = work.step("build", std::slice::from_ref(&main), &[("a", "2\n")]).await;
    fs::write(work.path().join(".git/MERGE_HEAD"), format!("{main}\n")).unwrap();
    assert!(
        matches!(work.merge(&done, Some(&main)).await, Err(Failure::Refused(said)) if said.contains("middle"))
    );
    fs::remove_file(work.path().join(".git/MERGE_HEAD")).unwrap();
    Repository::open(work.path()).unwrap().config().unwrap().set_bool("core.sparseCheckout", true).unwrap();
    assert!(
        matches!(work.merge(&done, Some(&main)).await, Err(Failure::Refused(said)) if said.contains("sparse"))
    );
}

#[tokio::test]
async fn a_merge_that_was_cut_off_after_the_checkout_is_carried_on() {
    let work = users(&[("a", "1\n"), ("gone", "1\n")]);
    let main = work.head().await;
    let tree = work.tree("build", std::slice::from_ref(&main)).await;
    write(&tree.path().join("new"), "2\n");
    fs::remove_file(tree.path().join("gone")).unwrap();
    let done = keep(&tree).await.commit;
    let repo = Repository::open(work.path()).unwrap();
    let result = repo.find_commit(oid(&done)).unwrap();
    repo.checkout_tree(result.as_object(), None).unwrap();
    assert_eq!(work.desk.repositories.merged_as(&work.source, &done).await.unwrap(), None);
    work.merge(&done, Some(&main)).await.unwrap();
    assert_eq!(work.git(&["status", "--porcelain"]).unwrap_or_default(), "");
    assert_eq!(everything(work.path()).len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_merge_at_once_both_succeed_and_nothing_is_lost() {
    let work = managed();
    let main = work.head().await;
    // As two processes would, they know nothing of each other; only the compare-and-set stands between them.
    let other = Repositories::new(work.desk.folder.path().join("data")).unwrap();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..6 {
        let name = format!("file{round}");
        let done = work.step(&name, std::slice::from_ref(&main), &[(&name, "x")]).await;
        if round % 2 == 0 { ours.push(done) } else { theirs.push(done) }
    }
    let merge_all = async |repositories: Repositories, commits: Vec<CommitId>| {
        for commit in commits {
            let expected_main = Some(main.clone());
            let mut wanted = Merge { commit, expected_main, message: "Merge".into(), at: AT };
            // A lost race is told, and asking again is all there is to do.
            while let Err(failure) = repositories.merge(&work.source, wanted.clone()).await {
                if let Failure::MainMoved { main } = failure {
                    let both = [wanted.commit, main.clone()];
                    wanted.commit = repositories.join(&work.source, &both).await.unwrap();
                    wanted.expected_main = Some(main);
                } else {
                    assert!(matches!(failure, Failure::Raced(_)), "{failure:?}");
                }
            }
        }
    };
    tokio::join!(merge_all(work.desk.repositories.clone(), ours), merge_all(other, theirs));
    let head = work.head().await;
    for round in 0..6 {
        assert_eq!(work.text(&head, &format!("file{round}")).as_deref(), Some("x"), "round {round}");
    }
    work.is_sound();
}

#[test]
fn of_two_threads_that_move_a_branch_from_the_same_commit_one_wins() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let work = managed();
    let main = runtime.block_on(work.head());
    let base = [main.clone()];
    let commits = ["a", "b"].map(|name| runtime.block_on(work.step(name, &base, &[(name, "x")])));
    let together = std::sync::Barrier::new(2);
    let outcomes: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
        let race = |commit: CommitId| {
            let (home, repo) = (&work.desk.repositories.home, work.repo());
            let (together, main) = (&together, oid(&main));
            scope.spawn(move || {
                together.wait();
                super::super::branches::advance(home, &repo, "refs/heads/main", Some(main), oid(&commit))
            })
        };
        let racers = commits.clone().map(race);
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    let won: Vec<_> = outcomes.iter().filter(|outcome| outcome.is_ok()).collect();
    assert_eq!(won.len(), 1, "{outcomes:?}");
    assert!(outcomes.iter().any(|outcome| matches!(outcome, Err(Failure::Raced(_)))), "{outcomes:?}");
    let winner = &commits[usize::from(outcomes[1].is_ok())];
    assert_eq!(runtime.block_on(work.head()), *winner);
}
