//! What a sandboxed command may plant in a work tree, and what comes of it: nothing.

use std::os::unix::fs::symlink;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::*;

/// A tree in which a secret lies next door, and what its checkpoint holds after `plant`.
async fn kept(plant: impl FnOnce(&Path, &Path)) -> (Vec<String>, Vec<String>) {
    let work = managed();
    let secret = work.desk.folder.path().join("secret");
    write(&secret.join("key"), "secret");
    let tree = work.tree("build", &[work.head().await]).await;
    write(&tree.path().join("honest"), "x");
    plant(tree.path(), &secret);
    let kept = keep(&tree).await;
    work.is_sound();
    assert_eq!(fs::read_to_string(secret.join("key")).unwrap(), "secret");
    assert_eq!(everything(&secret).len(), 1);
    let next = work.tree("next", std::slice::from_ref(&kept.commit)).await;
    let mut names: Vec<String> = everything(next.path())
        .into_iter()
        .map(|(path, kind)| match kind {
            Kind::Link(target) => format!("{} -> {}", path.display(), target.display()),
            Kind::File(_) | Kind::Program(_) | Kind::EmptyFolder => path.display().to_string(),
        })
        .map(|name| name.replace(&secret.display().to_string(), "SECRET"))
        .collect();
    next.reset().await.unwrap();
    tree.reset().await.unwrap();
    assert_eq!(everything(&secret).len(), 1, "removing follows no link");
    names.retain(|name| name != "honest");
    (names, kept.notes)
}

#[tokio::test]
async fn a_planted_git_folder_is_left_out() {
    let (names, notes) = kept(|tree, _| {
        init(&tree.join("nested"), "main");
        commit(&tree.join("nested"), &[("file", "x")]);
        write(&tree.join(".git/config"), "[core]\n\tfsmonitor = touch /tmp/owned\n");
        write(&tree.join("nested2/.GIT"), "gitdir: /");
    })
    .await;
    assert_eq!(names, ["nested/file"]);
    assert_eq!(
        notes,
        [".git", "nested/.git", "nested2/.GIT"].map(|name| format!("{name} is left out: it is git's own"))
    );
}

#[tokio::test]
async fn a_planted_git_file_or_link_leads_nowhere() {
    for plant in [
        |tree: &Path, secret: &Path| {
            fs::write(tree.join(".git"), format!("gitdir: {}", secret.display())).unwrap();
        },
        |tree: &Path, secret: &Path| symlink(secret, tree.join(".git")).unwrap(),
    ] {
        let (names, notes) = kept(plant).await;
        assert_eq!((names.len(), notes.len()), (0, 1), "{names:?} {notes:?}");
    }
}

#[tokio::test]
async fn names_that_stand_for_git_elsewhere_are_left_out() {
    let (names, notes) = kept(|tree, _| {
        write(&tree.join("git~1/hooks"), "x");
        write(&tree.join(".git /hooks"), "x");
        write(&tree.join(".g\u{200c}it/hooks"), "x");
    })
    .await;
    assert_eq!((names.len(), notes.len()), (0, 3), "{names:?} {notes:?}");
}

#[tokio::test]
async fn a_link_is_kept_as_a_link_and_never_followed() {
    let (names, notes) = kept(|tree, secret| {
        symlink(secret, tree.join("folder")).unwrap();
        symlink(secret.join("key"), tree.join("file")).unwrap();
        symlink(".", tree.join("loop")).unwrap();
        symlink(secret.join("key"), tree.join(".gitmodules")).unwrap();
    })
    .await;
    assert_eq!(names, ["file -> SECRET/key", "folder -> SECRET", "loop -> ."]);
    assert_eq!(notes, [".gitmodules is left out: git obeys no link of that name"]);
}

#[tokio::test]
async fn pipes_and_sockets_are_left_out() {
    let (names, notes) = kept(|tree, _| {
        mkfifoat(CWD, tree.join("pipe"), Mode::RWXU).unwrap();
        drop(std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap());
        mkfifoat(CWD, tree.join(".gitignore"), Mode::RWXU).unwrap();
    })
    .await;
    assert_eq!((names.len(), notes.len()), (0, 4), "{names:?} {notes:?}");
    assert!(notes[0].starts_with(".gitignore is not obeyed"), "{notes:?}");
}

#[tokio::test]
async fn rules_behind_a_link_are_not_obeyed() {
    let (names, notes) = kept(|tree, secret| {
        symlink(secret.join("key"), tree.join(".gitignore")).unwrap();
        write(&tree.join("secret"), "this would be ignored");
    })
    .await;
    assert_eq!(names, ["secret"]);
    assert_eq!(notes.len(), 2, "{notes:?}");
}

#[tokio::test]
async fn a_tracked_file_that_became_a_link_is_a_link() {
    let work = users(&[("dir/file", "x"), ("plain", "y")]);
    let tree = work.tree("build", &[work.head().await]).await;
    fs::remove_dir_all(tree.path().join("dir")).unwrap();
    symlink("/etc", tree.path().join("dir")).unwrap();
    fs::remove_file(tree.path().join("plain")).unwrap();
    symlink("/etc/passwd", tree.path().join("plain")).unwrap();
    let kept = keep(&tree).await.commit;
    assert_eq!(work.text(&kept, "dir").unwrap(), "/etc");
    assert_eq!(work.text(&kept, "plain").unwrap(), "/etc/passwd");
}

#[tokio::test]
async fn what_is_too_large_too_deep_or_too_much_is_refused() {
    let work = managed();
    let tree = work.tree("build", &[work.head().await]).await;
    let refused = async || tree.checkpoint("Too much", AT).await.unwrap_err().to_string();
    fs::File::create(tree.path().join("large")).unwrap().set_len((64 << 20) + 1).unwrap();
    assert_eq!(refused().await, "large has more than 64 MiB; list it in .gitignore or make it smaller");
    write(&tree.path().join(".gitignore"), "large\n");
    keep(&tree).await;
    tree.reset().await.unwrap();
    fs::create_dir_all(tree.path().join("d/".repeat(257))).unwrap();
    assert!(refused().await.contains("256 deep"));
    tree.reset().await.unwrap();
    fs::create_dir(tree.path().join("many")).unwrap();
    fs::write(tree.path().join("many/0"), "").unwrap();
    for number in 1..=100_000 {
        fs::hard_link(tree.path().join("many").join("0"), tree.path().join("many").join(number.to_string()))
            .or_else(|_| fs::write(tree.path().join("many").join(number.to_string()), ""))
            .unwrap();
    }
    assert!(refused().await.contains("100000 files"));
}

#[tokio::test]
async fn a_large_file_that_was_there_before_stays() {
    let work = users(&[("file", "x")]);
    fs::File::create(work.path().join("large")).unwrap().set_len((64 << 20) + 1).unwrap();
    let repo = work.repo();
    let mut index = repo.index().unwrap();
    index.add_path(Path::new("large")).unwrap();
    index.write().unwrap();
    let base = commit(work.path(), &[]);
    let tree = work.tree("build", std::slice::from_ref(&base)).await;
    assert_eq!(keep(&tree).await.commit, base);
    write(&tree.path().join("file"), "y");
    assert_ne!(keep(&tree).await.commit, base);
    fs::OpenOptions::new()
        .append(true)
        .open(tree.path().join("large"))
        .unwrap()
        .set_len((64 << 20) + 2)
        .unwrap();
    assert!(matches!(tree.checkpoint("Grow", AT).await, Err(Failure::Refused(_))));
}

#[tokio::test]
async fn a_commit_with_a_name_that_leads_out_is_not_written() {
    let work = managed();
    let repo = work.repo();
    let blob = repo.blob(b"owned").unwrap();
    for bad in ["..", ".git", "."] {
        let mut raw = format!("100644 {bad}\0").into_bytes();
        raw.extend_from_slice(blob.as_bytes());
        let tree = repo.odb().unwrap().write(git2::ObjectType::Tree, &raw).unwrap();
        let author = Signature::new("x", "x@example.com", &Time::new(0, 0)).unwrap();
        let mut text =
            format!("tree {tree}\nauthor {author} 0 +0000\ncommitter {author} 0 +0000\n\nBad\n").into_bytes();
        text.retain(|byte| *byte != 0);
        let commit = repo.odb().unwrap().write(git2::ObjectType::Commit, &text).unwrap();
        let refused = work.try_tree("build", &[commit.into()]).await.unwrap_err();
        assert!(matches!(refused, Failure::Refused(_) | Failure::Git(_)), "{bad}: {refused:?}");
    }
}
