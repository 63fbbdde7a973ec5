//! Every state that a repository may be in has a defined answer.

use super::*;

#[tokio::test]
async fn a_managed_repository_begins_with_an_empty_commit_on_main_and_stays_the_same() {
    let work = managed();
    let repositories = &work.desk.repositories;
    let (first, second) =
        tokio::join!(repositories.describe(&work.source), repositories.describe(&work.source));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first, second);
    let again = Repositories::new(work.desk.folder.path().join("data")).unwrap();
    assert_eq!(first, again.describe(&work.source).await.unwrap());
    assert_eq!(
        (first.default_branch.as_str(), first.bare, first.checked_out.as_deref()),
        ("main", true, None)
    );
    assert_eq!((first.dirty, first.notes), (vec![], Vec::<String>::new()));
    let repo = work.repo();
    let begin = repo.find_commit(oid(&first.head.unwrap())).unwrap();
    assert_eq!(begin.author().to_string(), "cendriix <noreply@localhost>");
    assert_eq!(
        (begin.time().seconds(), begin.tree().unwrap().len(), begin.parent_count()),
        (1_780_000_000, 0, 0)
    );
    assert_eq!(again.kept().await.unwrap(), std::slice::from_ref(&work.source));
    work.is_sound();
}

#[tokio::test]
async fn a_folder_in_no_repository_is_refused_with_what_to_do() {
    let desk = desk();
    let refused = desk.repositories.open_path(desk.folder.path()).await.unwrap_err();
    assert!(
        matches!(refused, Failure::NoRepository(_)) && refused.to_string().contains("git init"),
        "{refused}"
    );
    let around = desk.folder.path().join("around");
    init(&around, "main");
    fs::create_dir(around.join("inner")).unwrap();
    let inner = Source::Path(around.join("inner"));
    assert!(
        matches!(desk.repositories.describe(&inner).await, Err(Failure::NoRepository(_))),
        "it is another one"
    );
    let gone = Source::Path(desk.folder.path().join("gone"));
    assert!(matches!(desk.repositories.describe(&gone).await, Err(Failure::NoRepository(_))));
}

#[tokio::test]
async fn a_subfolder_leads_to_the_repository_it_is_in() {
    let work = users(&[("deep/down/file", "x")]);
    let found = work.desk.repositories.open_path(&work.path().join("deep/down")).await.unwrap();
    let Source::Path(found) = found else { panic!("{found:?}") };
    assert_eq!(found.canonicalize().unwrap(), work.path().canonicalize().unwrap());
}

#[tokio::test]
async fn an_empty_repository_is_worked_in_from_nothing_and_its_first_merge_creates_the_branch() {
    let desk = desk();
    let path = desk.folder.path().join("user");
    init(&path, "trunk");
    let work = Work { desk, source: Source::Path(path) };
    let state = work.desk.repositories.describe(&work.source).await.unwrap();
    assert_eq!((state.default_branch.as_str(), state.head), ("trunk", None));
    assert!(state.notes[0].contains("empty"), "{:?}", state.notes);
    let commit = work.step("build", &[], &[("src/main.rs", "fn main() {}\n")]).await;
    assert_eq!(work.desk.repositories.merged_as(&work.source, &commit).await.unwrap(), None);
    // The branch that shows a run is the only one there is, and still not the one that is merged into.
    let run = cendriix_protocol::ids::RunId(uuid::Uuid::from_u128(77));
    work.desk.repositories.show(&work.source, run, "Build", &commit).await.unwrap();
    assert_eq!(work.merge(&commit, None).await.unwrap(), commit);
    assert_eq!(work.head().await, commit);
    assert_eq!(everything(work.path()), [("src/main.rs".into(), file("fn main() {}\n"))].into());
    assert_eq!(work.git(&["status", "--porcelain"]).unwrap_or_default(), "");
    work.is_sound();
}

#[tokio::test]
async fn an_empty_repository_with_files_in_the_way_is_not_merged_into() {
    let desk = desk();
    let path = desk.folder.path().join("user");
    init(&path, "main");
    write(&path.join("notes"), "mine");
    let work = Work { desk, source: Source::Path(path) };
    let commit = work.step("build", &[], &[("notes", "theirs")]).await;
    let refused = work.merge(&commit, None).await.unwrap_err();
    assert!(matches!(&refused, Failure::InTheWay { files } if files == &["notes"]), "{refused:?}");
    assert_eq!(everything(work.path()), [("notes".into(), file("mine"))].into());
}

#[tokio::test]
async fn with_a_detached_head_work_begins_from_main_and_the_checkout_stays() {
    let work = users(&[("file", "one\n")]);
    let first = work.head().await;
    let second = commit(work.path(), &[("file", "two\n")]);
    let repo = work.repo();
    repo.set_head_detached(oid(&first)).unwrap();
    repo.checkout_head(Some(git2::build::CheckoutBuilder::new().force())).unwrap();
    let state = work.desk.repositories.describe(&work.source).await.unwrap();
    assert_eq!((state.checked_out, state.head), (None, Some(second.clone())));
    assert!(state.notes[0].contains("detached"));
    let done = work.step("build", std::slice::from_ref(&second), &[("new", "x")]).await;
    let merged = work.merge(&done, Some(&second)).await.unwrap();
    assert_eq!(work.text(&merged, "file").unwrap(), "two\n");
    assert_eq!(everything(work.path()), [("file".into(), file("one\n"))].into());
    assert!(repo.head_detached().unwrap());
}

#[tokio::test]
async fn a_bare_repository_of_a_user_is_as_good() {
    let desk = desk();
    let path = desk.folder.path().join("bare.git");
    Repository::init_opts(&path, RepositoryInitOptions::new().bare(true).initial_head("main")).unwrap();
    let work = Work { desk, source: Source::Path(path) };
    let first = work.step("one", &[], &[("a", "1")]).await;
    work.merge(&first, None).await.unwrap();
    let second = work.step("two", std::slice::from_ref(&first), &[("b", "2")]).await;
    let merged = work.merge(&second, Some(&first)).await.unwrap();
    assert_eq!((work.text(&merged, "a"), work.text(&merged, "b")), (Some("1".into()), Some("2".into())));
    assert!(work.desk.repositories.describe(&work.source).await.unwrap().bare);
    work.is_sound();
}

#[tokio::test]
async fn submodules_stay_at_their_commits_and_are_not_written_out() {
    let work =
        users(&[("file", "x"), (".gitmodules", "[submodule \"sub\"]\n\tpath = lib/sub\n\turl = ./sub\n")]);
    let pinned = Oid::from_str("1234567890123456789012345678901234567890").unwrap();
    let repo = work.repo();
    let parent = repo.head().unwrap().peel_to_commit().unwrap();
    let mut lib = repo.treebuilder(None).unwrap();
    lib.insert("sub", pinned, 0o160_000).unwrap();
    let mut root = repo.treebuilder(Some(&parent.tree().unwrap())).unwrap();
    root.insert("lib", lib.write().unwrap(), 0o040_000).unwrap();
    let tree = repo.find_tree(root.write().unwrap()).unwrap();
    let author = parent.author();
    let base = repo.commit(None, &author, &author, "Pin", &tree, &[&parent]).unwrap().into();

    let planted = work.tree("build", std::slice::from_ref(&base)).await;
    assert_eq!(everything(planted.path())[Path::new("lib/sub")], Kind::EmptyFolder);
    assert_eq!(keep(&planted).await.commit, base, "unchanged");
    write(&planted.path().join("lib/sub/intruder"), "x");
    write(&planted.path().join("file"), "changed");
    let kept = keep(&planted).await.commit;
    let tree = repo.find_commit(oid(&kept)).unwrap().tree().unwrap();
    assert_eq!(tree.get_path(Path::new("lib/sub")).unwrap().id(), pinned);
    repo.reference("refs/heads/main", oid(&kept), true, "").unwrap();
    let state = work.desk.repositories.describe(&work.source).await.unwrap();
    assert!(state.has_submodules && state.notes.iter().any(|note| note.contains("submodules")), "{state:?}");
}

#[tokio::test]
async fn files_in_lfs_are_their_pointers() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    let work = users(&[("art/.gitattributes", "*.png filter=lfs diff=lfs -text\n"), ("art/a.png", pointer)]);
    let state = work.desk.repositories.describe(&work.source).await.unwrap();
    assert!(state.has_lfs && state.notes.iter().any(|note| note.contains("LFS")), "{state:?}");
    let head = state.head.unwrap();
    let tree = work.tree("build", std::slice::from_ref(&head)).await;
    assert_eq!(everything(tree.path())[Path::new("art/a.png")], file(pointer));
    assert_eq!(keep(&tree).await.commit, head);
}

#[tokio::test]
async fn the_main_branch_is_main_else_master_else_what_head_names_else_the_only_one() {
    let desk = desk();
    let path = desk.folder.path().join("user");
    init(&path, "develop");
    let first = commit(&path, &[("file", "x")]);
    let work = Work { desk, source: Source::Path(path) };
    let name = async || Ok::<_, Failure>(work.desk.repositories.describe(&work.source).await?.default_branch);
    let repo = work.repo();
    assert_eq!(name().await.unwrap(), "develop");
    repo.set_head_detached(oid(&first)).unwrap();
    assert_eq!(name().await.unwrap(), "develop");
    repo.reference("refs/heads/other", oid(&first), false, "").unwrap();
    let refused = name().await.unwrap_err().to_string();
    assert!(refused.contains("git branch main"), "{refused}");
    repo.set_head("refs/heads/other").unwrap();
    assert_eq!(name().await.unwrap(), "other");
    repo.reference("refs/heads/master", oid(&first), false, "").unwrap();
    assert_eq!(name().await.unwrap(), "master");
    repo.reference("refs/heads/main", oid(&first), false, "").unwrap();
    assert_eq!(name().await.unwrap(), "main");
}

#[tokio::test]
async fn changes_that_are_not_committed_are_seen_and_are_no_obstacle_to_work() {
    let work = users(&[("staged", "1"), ("edited", "1"), ("same", "1"), (".gitignore", "ignored\n")]);
    write(&work.path().join("edited"), "22");
    write(&work.path().join("staged"), "22");
    write(&work.path().join("untracked"), "x");
    write(&work.path().join("ignored"), "x");
    let repo = Repository::open(work.path()).unwrap();
    let mut index = repo.index().unwrap();
    index.add_path(Path::new("staged")).unwrap();
    index.write().unwrap();
    let state = work.desk.repositories.describe(&work.source).await.unwrap();
    assert_eq!(
        (state.dirty, state.checked_out.as_deref()),
        (vec!["edited".into(), "staged".into()], Some("main"))
    );
    let tree = work.tree("build", &[state.head.unwrap()]).await;
    assert_eq!(everything(tree.path())[Path::new("edited")], file("1"));
}

#[tokio::test]
async fn locks_of_a_killed_process_are_removed_where_only_we_take_them() {
    let work = managed();
    let first = work.step("build", &[], &[("a", "1")]).await;
    let users = users(&[("file", "x")]);
    users.step("build", &[], &[("a", "1")]).await;
    let at = |work: &Work, name: &str| work.repo().commondir().join(name);
    let hidden = format!("refs/cendriix/{}/build/1.lock", run());
    for path in [at(&work, &hidden), at(&work, "refs/heads/main.lock"), at(&users, &hidden)] {
        fs::write(path, "").unwrap();
    }
    fs::write(at(&users, "refs/heads/main.lock"), "").unwrap();
    let restarted = |work: Work| {
        let repositories = Repositories::new(work.desk.folder.path().join("data")).unwrap();
        Work { desk: Desk { folder: work.desk.folder, repositories }, source: work.source }
    };
    let (work, users) = (restarted(work), restarted(users));
    let again = work.step("build", &[], &[("a", "1")]).await;
    assert_eq!(first, again);
    let main = work.head().await;
    work.merge(&again, Some(&main)).await.unwrap();
    let theirs = users.step("build", &[], &[("a", "1")]).await;
    let main = users.head().await;
    let refused = users.merge(&theirs, Some(&main)).await.unwrap_err();
    assert!(matches!(&refused, Failure::Raced(branch) if branch == "main"), "{refused:?}");
    assert!(refused.to_string().contains(".lock"), "{refused}");
}

#[tokio::test]
async fn a_linked_checkout_on_main_is_brought_along_too() {
    let work = users(&[("file", "one\n")]);
    let repo = work.repo();
    let head = repo.head().unwrap().peel_to_commit().unwrap();
    repo.branch("elsewhere", &head, false).unwrap();
    repo.set_head("refs/heads/elsewhere").unwrap();
    let linked = work.desk.folder.path().join("linked");
    let main = repo.find_reference("refs/heads/main").unwrap();
    repo.worktree("linked", &linked, Some(git2::WorktreeAddOptions::new().reference(Some(&main)))).unwrap();
    let base = CommitId::from(head.id());
    let done = work.step("build", std::slice::from_ref(&base), &[("file", "two\n")]).await;
    write(&linked.join("file"), "mine\n");
    assert!(matches!(work.merge(&done, Some(&base)).await, Err(Failure::Dirty { .. })));
    write(&linked.join("file"), "one\n");
    work.merge(&done, Some(&base)).await.unwrap();
    assert_eq!(everything(&linked)[Path::new("file")], file("two\n"));
    assert_eq!(everything(work.path())[Path::new("file")], file("one\n"));
    assert_eq!(git(&linked, &["status", "--porcelain"]).unwrap_or_default(), "");
}
