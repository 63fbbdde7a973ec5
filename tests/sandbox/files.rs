//! The server's own way to files that a hostile command has had its hands on.

use std::{fs, os::unix::fs::symlink, path::PathBuf, time::Duration};

use cendriix_actors::sandboxes::{FileError, Files, Kind};

use super::{Bench, is_root, owner};

async fn tree() -> (Bench, Files) {
    let bench = Bench::bubblewrap().await;
    bench.local.adopt(&bench.tree).await.unwrap();
    let files = bench.local.files(&bench.tree).unwrap();
    (bench, files)
}

#[tokio::test]
async fn files_go_in_and_come_out() {
    let (bench, files) = tree().await;
    files.write("src/deep/lib.rs", "fn main() {}").await.unwrap();
    assert_eq!(files.read("src/deep/lib.rs", 100).await.unwrap(), b"fn main() {}");
    assert_eq!(
        bench.says("echo more >> src/deep/lib.rs && touch src/own && cat src/deep/lib.rs").await,
        "fn main() {}more\n"
    );
    files.write("src/deep/lib.rs", "again").await.unwrap();
    assert!(matches!(files.read("src/deep/lib.rs", 4).await, Err(FileError::TooMuch(4))));
    let listed = files.list("src", 10).await.unwrap();
    let listed: Vec<_> =
        listed.iter().map(|entry| (entry.name.to_str().unwrap(), entry.kind, entry.size)).collect();
    assert_eq!(listed[1], ("own", Kind::File, 0));
    assert_eq!((listed[0].0, listed[0].1), ("deep", Kind::Directory));
    assert!(matches!(files.list("src", 1).await, Err(FileError::TooMuch(1))));
    assert!(files.exists("src/own").await.unwrap());
    files.remove("src").await.unwrap();
    assert!(!files.exists("src/own").await.unwrap() && !files.exists("src").await.unwrap());
    assert!(matches!(files.remove("src").await, Err(FileError::Missing)));
}

#[tokio::test]
async fn what_the_server_writes_belongs_to_the_sandbox() {
    let (bench, files) = tree().await;
    fs::write(bench.tree.join("tool"), "old").unwrap();
    fs::set_permissions(bench.tree.join("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    files.write("tool", "#!/bin/sh\necho ran\n").await.unwrap();
    files.write("new/dir/file", "").await.unwrap();
    for path in ["", "tool", "new", "new/dir", "new/dir/file"] {
        let owner = owner(&bench.tree.join(path));
        assert_eq!((200_000..265_536).contains(&owner), is_root(), "{path} {owner}");
    }
    assert_eq!(bench.says("./tool").await, "ran\n");
}

#[tokio::test]
async fn paths_that_lead_out_are_refused() {
    let (bench, files) = tree().await;
    fs::write(bench.home.path().join("secret"), "secret").unwrap();
    symlink(bench.home.path(), bench.tree.join("up")).unwrap();
    symlink("../secret", bench.tree.join("link")).unwrap();
    symlink("/proc/self/root", bench.tree.join("root")).unwrap();
    for path in [
        "",
        ".",
        "..",
        "../secret",
        "a/../../secret",
        "/etc/passwd",
        "secret\0",
        "up/secret",
        "link",
        "root/etc/passwd",
        "link/x",
        "%2e%2e/secret",
        "//etc/passwd",
        "./../secret",
    ] {
        let path = PathBuf::from(path);
        assert!(files.read(&path, 1_000).await.is_err(), "{path:?}");
        let is_link = path.to_str() == Some("link");
        let is_escaped = path.starts_with("%2e%2e");
        // A link is no file to write to, and `%2e%2e` a name like any other.
        assert_eq!(files.write(&path, "x").await.is_ok(), is_escaped, "{path:?}");
        if !is_link && !is_escaped {
            assert!(files.remove(&path).await.is_err(), "{path:?}");
        }
    }
    assert!(matches!(files.read("up/secret", 10).await, Err(FileError::Link)));
    assert!(files.list("up", 10).await.is_err());
    files.remove("link").await.unwrap();
    files.remove("up").await.unwrap();
    assert_eq!(fs::read_to_string(bench.home.path().join("secret")).unwrap(), "secret");
    assert!(bench.home.path().join("tree/%2e%2e/secret").exists());
}

#[tokio::test]
async fn pipes_and_sockets_hang_nobody() {
    let (bench, files) = tree().await;
    let planted = "mkfifo pipe; perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un(\"socket\"))'; ls";
    assert_eq!(bench.says(planted).await, "pipe\nsocket\n");
    let all = async {
        for name in ["pipe", "socket"] {
            assert!(matches!(files.read(name, 10).await, Err(FileError::Irregular)), "{name}");
            assert!(matches!(files.write(name, "x").await, Err(FileError::Irregular)), "{name}");
        }
        assert_eq!(
            files.list("", 10).await.unwrap().iter().map(|entry| entry.kind).collect::<Vec<_>>(),
            [Kind::Other; 2]
        );
        files.remove("pipe").await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.unwrap();
}

#[tokio::test]
async fn depth_and_numbers_and_missing_rights_do_not_keep_a_tree_from_being_removed() {
    let (bench, files) = tree().await;
    let program = "mkdir 'deep'; chdir 'deep'; for (1..3000) { mkdir 'd' x 200; chdir 'd' x 200 or die }
        open(my $file, '>', 'bottom'); chdir '/workspace'; mkdir 'many'; for (1..3000) { open(my $file, '>', \"many/$_\") }
        mkdir 'closed'; mkdir 'closed/inner'; open($file, '>', 'closed/inner/file');
        chmod 0, 'closed/inner'; chmod 0, 'closed'; print 'done'";
    let said =
        bench.run(cendriix_actors::sandboxes::ExecSpec::new(&bench.tree, ["perl", "-e", program])).await;
    assert_eq!(said.stdout, b"done", "{}", super::why(&said));
    assert!(matches!(files.list("many", 2_999).await, Err(FileError::TooMuch(2_999))));
    assert_eq!(files.list("", 10).await.unwrap().len(), 3);
    for name in ["deep", "many", "closed"] {
        files.remove(name).await.unwrap();
    }
    assert_eq!(files.list("", 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_file_with_another_name_elsewhere_is_not_given_away() {
    let bench = Bench::bubblewrap().await;
    let shared = bench.home.path().join("object");
    fs::write(&shared, "shared").unwrap();
    fs::hard_link(&shared, bench.tree.join("object")).unwrap();
    let before = owner(&shared);
    assert_eq!(bench.says("cat object").await, "shared");
    assert_eq!(owner(&shared), before);
    if is_root() {
        assert_ne!(owner(&bench.tree), before);
        assert!(bench.says("echo x >> object").await.contains("ermission denied"));
    }
}

#[tokio::test]
async fn rights_and_removals_are_as_careful_as_the_rest() {
    let (bench, files) = tree().await;
    files.write_as("say", "#!/bin/sh\necho said\n", true).await.unwrap();
    assert!(files.entry("say").await.unwrap().is_executable);
    assert_eq!(bench.says("./say").await, "said\n");
    files.write_as("say", "", false).await.unwrap();
    let entry = files.entry("say").await.unwrap();
    assert_eq!((entry.is_executable, entry.kind, entry.size), (false, Kind::File, 0));
    files.write("dir/file", "").await.unwrap();
    symlink(bench.home.path(), bench.tree.join("up")).unwrap();
    assert_eq!(files.entry("up").await.unwrap().kind, Kind::Link);
    assert!(files.entry("up/tree").await.is_err() && files.remove_one("up/tree").await.is_err());
    assert!(matches!(files.entry("none").await, Err(FileError::Missing)));
    assert!(matches!(files.remove_one("dir").await, Err(FileError::Occupied)));
    assert!(files.remove_one("../tree").await.is_err());
    for path in ["dir/file", "dir", "up", "say"] {
        files.remove_one(path).await.unwrap();
    }
    assert_eq!(files.list("", 10).await.unwrap(), []);
    assert!(bench.tree.exists());
}
