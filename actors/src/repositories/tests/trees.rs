//! Work trees: written out, reset, kept and joined.

use super::*;

#[tokio::test]
async fn what_a_step_leaves_behind_is_what_the_next_one_finds() {
    let work = managed();
    let tree = work.tree("one", &[work.head().await]).await;
    let at = |bytes: &[u8]| tree.path().join(name(bytes));
    write(&tree.path().join("a folder/with spaces.txt"), "x\r\n");
    write(&tree.path().join("größe/日本語"), "");
    fs::write(at(b"not \xff utf-8"), b"\0\x01\xff").unwrap();
    write(&tree.path().join("bin/run"), "#!/bin/sh\n");
    fs::set_permissions(at(b"bin/run"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("bin/run", at(b"link")).unwrap();
    std::os::unix::fs::symlink(name(b"/nowhere/\xfe"), at(b"broken")).unwrap();
    fs::create_dir(at(b"empty")).unwrap();
    let kept = keep(&tree).await;
    assert_eq!(kept.notes, Vec::<String>::new());
    let next = work.tree("two", std::slice::from_ref(&kept.commit)).await;
    let mut wanted = everything(tree.path());
    assert_eq!(wanted.remove(Path::new("empty")), Some(Kind::EmptyFolder));
    assert_eq!(everything(next.path()), wanted);
    assert_eq!(wanted[Path::new("bin/run")], Kind::Program(b"#!/bin/sh\n".to_vec()));
    assert_eq!(keep(&next).await.commit, kept.commit, "an unchanged tree is its base");
    work.is_sound();
}

#[tokio::test]
async fn the_same_work_at_the_same_instant_is_the_same_commit() {
    let (one, other) = (managed(), managed());
    let files = [("a", "1"), ("b/c", "2")];
    let first = one.step("build", &[one.head().await], &files).await;
    assert_eq!(other.step("build", &[other.head().await], &files).await, first);
    assert_eq!(one.step("build", &[one.head().await], &files).await, first);
    let tree = one.tree("build", &[one.head().await]).await;
    write_all(tree.path(), &files);
    let later = tree.checkpoint("Do a step", Timestamp(AT.0 + 1_000)).await.unwrap();
    assert_ne!(later.commit, first);
}

#[tokio::test]
async fn reset_brings_back_exactly_the_base() {
    let work = users(&[("kept", "1"), ("deleted", "2"), ("sub/file", "3"), (".gitignore", "target\n")]);
    let tree = work.tree("build", &[work.head().await]).await;
    let base = everything(tree.path());
    write(&tree.path().join("kept"), "changed");
    write(&tree.path().join("added/deep"), "x");
    write(&tree.path().join("target/ignored"), "x");
    fs::remove_file(tree.path().join("deleted")).unwrap();
    fs::remove_dir_all(tree.path().join("sub")).unwrap();
    std::os::unix::fs::symlink("/etc", tree.path().join("sub")).unwrap();
    fs::create_dir(tree.path().join("closed")).unwrap();
    write(&tree.path().join("closed/inner"), "x");
    fs::set_permissions(tree.path().join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    tree.reset().await.unwrap();
    assert_eq!(everything(tree.path()), base);
    assert_eq!(keep(&tree).await.commit, *tree.base());
    let path = tree.path().to_owned();
    tree.remove().await.unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_tree_begins_as_its_base_whatever_a_crash_left_there() {
    let work = managed();
    let tree = work.tree("build", &[]).await;
    write(&tree.path().join("left"), "behind");
    let again = work.tree("build", &[]).await;
    assert_eq!((everything(again.path()).len(), again.path()), (0, tree.path()));
    assert_eq!(again.base(), tree.base());
}

#[tokio::test]
async fn ignored_files_are_left_out_unless_they_are_tracked() {
    let work = users(&[("build/tracked", "1"), ("src/a", "1")]);
    let base =
        commit(work.path(), &[(".gitignore", "build/\n*.log\n!keep.log\n"), ("src/.gitignore", "/gen\n")]);
    write(&work.repo().commondir().join("info/exclude"), "of-the-owner\n");
    let tree = work.tree("build", std::slice::from_ref(&base)).await;
    for path in [
        "build/tracked",
        "build/new",
        "x.log",
        "keep.log",
        "src/gen",
        "src/deep/gen",
        "of-the-owner",
        "src/a",
    ] {
        write(&tree.path().join(path), "2");
    }
    let kept = keep(&tree).await;
    assert_eq!(kept.notes, Vec::<String>::new());
    let next = work.tree("next", std::slice::from_ref(&kept.commit)).await;
    let names: Vec<String> = everything(next.path()).keys().map(|path| path.display().to_string()).collect();
    let wanted = [".gitignore", "build/tracked", "keep.log", "src/.gitignore", "src/a", "src/deep/gen"];
    assert_eq!(names, wanted);
    assert_eq!(work.text(&kept.commit, "build/tracked").unwrap(), "2");
    if work.git(&["--version"]).is_some() {
        fs::write(tree.path().join(".git"), format!("gitdir: {}\n", work.repo().commondir().display()))
            .unwrap();
        let others = git(tree.path(), &["ls-files", "--others", "--exclude-standard"]).unwrap();
        assert_eq!(others, "keep.log\nsrc/deep/gen\n", "git is of the same opinion");
    }
}

#[tokio::test]
async fn bases_are_joined_in_the_order_given() {
    let work = users(&[("a", "1\n"), ("b", "1\n")]);
    let main = work.head().await;
    let from_main = std::slice::from_ref(&main);
    let left = work.step("left", from_main, &[("a", "left\n")]).await;
    let right = work.step("right", from_main, &[("b", "right\n"), ("c", "right\n")]).await;
    let tree = work.tree("join", &[left.clone(), right.clone()]).await;
    let wanted =
        [("a", "left\n"), ("b", "right\n"), ("c", "right\n")].map(|(name, text)| (name.into(), file(text)));
    assert_eq!(everything(tree.path()), wanted.into());
    let joined = work.desk.repositories.join(&work.source, &[left.clone(), right.clone()]).await.unwrap();
    assert_eq!(joined, *tree.base());
    let turned = work.desk.repositories.join(&work.source, &[right.clone(), left.clone()]).await.unwrap();
    assert_ne!(turned, joined, "the first base is the first parent");
    let repo = work.repo();
    let parents: Vec<CommitId> =
        repo.find_commit(oid(&joined)).unwrap().parent_ids().map(CommitId::from).collect();
    assert_eq!(parents, [left.clone(), right]);
    let known = work.desk.repositories.join(&work.source, &[main, left.clone(), left.clone()]).await.unwrap();
    assert_eq!(known, left, "nothing is joined to what holds it already");
    work.is_sound();
}

#[tokio::test]
async fn bases_that_contradict_each_other_are_named() {
    let work = users(&[("a", "1\n"), ("gone", "1\n")]);
    let main = [work.head().await];
    let left = work.step("left", &main, &[("a", "left\n"), ("new", "left"), ("gone", "2\n")]).await;
    let tree = work.tree("right", &main).await;
    write(&tree.path().join("a"), "right\n");
    write(&tree.path().join("new"), "right");
    fs::remove_file(tree.path().join("gone")).unwrap();
    let right = keep(&tree).await.commit;
    let bases = [left, right];
    let refused = work.desk.repositories.join(&work.source, &bases).await.unwrap_err();
    assert!(matches!(&refused, Failure::Conflict { paths } if paths == &["a", "gone", "new"]), "{refused:?}");
    assert_eq!(refused.to_string(), "the changes contradict each other in a, gone, new");
}

#[tokio::test]
async fn who_mends_a_contradiction_sees_both_sides_and_leaves_no_marks_in_the_history() {
    let work = users(&[("a", "1\nsame\n"), ("gone", "1\n"), ("image", "\0 0")]);
    let main = [work.head().await];
    let changes = [("a", "left\nsame\n"), ("gone", "2\n"), ("image", "\0 left")];
    let left = work.step("left", &main, &changes).await;
    let middle = work.step("middle", &main, &[("b", "fits\n")]).await;
    let tree = work.tree("right", &main).await;
    write(&tree.path().join("a"), "right\nsame\n");
    write(&tree.path().join("image"), "\0 right");
    fs::remove_file(tree.path().join("gone")).unwrap();
    let right = keep(&tree).await.commit;
    let bases = [left.clone(), middle.clone(), right.clone()];
    let tree = work.tree("join", &bases).await;
    assert_eq!(tree.conflicts(), ["a", "gone", "image"]);
    let text = fs::read_to_string(tree.path().join("a")).unwrap();
    assert!(text.contains("left\n=======\nright\n>>>>>>> ") && text.ends_with("same\n"), "{text}");
    assert_eq!(fs::read(tree.path().join("image")).unwrap(), b"\0 left");
    let marked = keep(&tree).await.commit;
    let left_in = |commit: CommitId, paths: Vec<String>| {
        let (repositories, source) = (work.desk.repositories.clone(), work.source.clone());
        async move { repositories.marks_left(&source, &commit, &paths).await.unwrap() }
    };
    assert_eq!(left_in(marked, tree.conflicts().to_vec()).await, ["a"]);
    write(&tree.path().join("a"), "both\nsame\n");
    let mended = keep(&tree).await.commit;
    assert_eq!(left_in(mended.clone(), tree.conflicts().to_vec()).await, [""; 0]);
    let parents: Vec<CommitId> =
        work.repo().find_commit(oid(&mended)).unwrap().parent_ids().map(CommitId::from).collect();
    assert_eq!(parents, bases);
    // What was mended stands for all that it was made of.
    let joined = work.desk.repositories.join(&work.source, &[left, right, mended.clone()]).await.unwrap();
    assert_eq!(joined, mended);
    assert_eq!(work.text(&mended, "b").as_deref(), Some("fits\n"));
    work.is_sound();
}

#[tokio::test]
async fn a_contradiction_in_a_file_whose_name_is_no_text_is_handed_on_too() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let work = users(&[("a", "1\n")]);
    let main = [work.head().await];
    let mut sides = Vec::new();
    for side in ["left", "right"] {
        let tree = work.tree(side, &main).await;
        fs::write(tree.path().join(OsStr::from_bytes(b"caf\xE9")), side).unwrap();
        sides.push(keep(&tree).await.commit);
    }
    let tree = work.tree("join", &sides).await;
    assert_eq!(tree.conflicts(), ["caf\u{fffd}"]);
    let text = fs::read_to_string(tree.path().join(OsStr::from_bytes(b"caf\xE9"))).unwrap();
    assert!(text.contains("left") && text.contains("right"), "{text}");
}

#[tokio::test]
async fn a_commit_that_is_not_there_is_said_to_be_missing() {
    let work = managed();
    let ghost: CommitId = "1234567890123456789012345678901234567890".parse().unwrap();
    let refused = work.try_tree("build", std::slice::from_ref(&ghost)).await.unwrap_err();
    assert!(matches!(&refused, Failure::NoCommit(commit) if *commit == ghost), "{refused:?}");
}

#[tokio::test]
async fn checkpoints_are_found_verified_and_forgotten_by_run() {
    let work = managed();
    let place = Place::new(run(), "build", 1).unwrap();
    let repositories = &work.desk.repositories;
    let tree = work.tree("build", &[work.head().await]).await;
    assert_eq!(repositories.checkpoint(&work.source, place.clone()).await.unwrap(), None);
    write(&tree.path().join("file"), "content");
    let kept = keep(&tree).await.commit;
    assert_eq!(repositories.checkpoint(&work.source, place.clone()).await.unwrap(), Some(kept.clone()));
    let other = Place::new(RunId(compose(1, 1, 1)), "build", 1).unwrap();
    let others = repositories.tree(&work.source, other.clone(), &[kept]).await.unwrap();
    keep(&others).await;
    let verified = repositories.verify(&work.source).await.unwrap();
    assert_eq!((verified.references, verified.problems.len()), (2, 0));

    let blob = work.repo().blob(b"content").unwrap().to_string();
    let object = work.repo().commondir().join("objects").join(&blob[..2]).join(&blob[2..]);
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&object, "spoilt").unwrap();
    let problems = repositories.verify(&work.source).await.unwrap().problems;
    assert!(problems[0].starts_with("refs/cendriix/"), "{problems:?}");

    repositories.forget(&work.source, run()).await.unwrap();
    assert_eq!(repositories.checkpoint(&work.source, place).await.unwrap(), None);
    assert!(repositories.checkpoint(&work.source, other).await.unwrap().is_some());
    assert!(!tree.path().exists() && others.path().exists());
}
