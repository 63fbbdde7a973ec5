//! Tools on a tree; commands, which need the real program, are tried from outside.

use std::{fs, os::unix::fs::symlink, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::sandboxes::Local;

/// A toolbox on a tree; its sandboxes have no program, so that no command runs.
struct Bench {
    toolbox: Toolbox,
    home: TempDir,
}

impl Bench {
    async fn new(files: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let tree = home.path().join("tree");
        fs::create_dir(&tree).unwrap();
        for (path, content) in files {
            let path = tree.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let local = Local::probe("/nowhere/cendriix".into()).await;
        Self { toolbox: Toolbox::new(Site::apart(local, Mode::Local), tree).unwrap(), home }
    }

    fn tree(&self) -> std::path::PathBuf {
        self.home.path().join("tree")
    }

    async fn call(&self, name: &str, arguments: &Value) -> Outcome {
        let arguments = arguments.to_string();
        self.toolbox.call(name, &arguments, CallLimits::default(), None, CancellationToken::new()).await
    }

    /// What a call answers that does as it is asked.
    async fn says(&self, name: &str, arguments: Value) -> String {
        let outcome = self.call(name, &arguments).await;
        assert!(!outcome.is_error, "{name} {arguments}: {}", outcome.text);
        outcome.text
    }

    /// What a call answers that fails.
    async fn refuses(&self, name: &str, arguments: Value) -> String {
        let outcome = self.call(name, &arguments).await;
        assert!(outcome.is_error, "{name} {arguments}: {}", outcome.text);
        outcome.text
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.tree().join(path)).unwrap()
    }

    fn is_executable(&self, path: &str) -> bool {
        let found = fs::metadata(self.tree().join(path)).unwrap();
        std::os::unix::fs::PermissionsExt::mode(&found.permissions()) & 0o111 != 0
    }
}

/// Everything beneath a directory: paths and contents.
fn snapshot(dir: &Path) -> Vec<(std::path::PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(snapshot(&path));
            found.push((path, None));
        } else {
            found.push((path.clone(), fs::read(&path).ok()));
        }
    }
    found.sort();
    found
}

#[test]
fn every_tool_is_described() {
    for spec in Toolbox::specs() {
        assert_eq!(spec.parameters["additionalProperties"], false);
        assert!(spec.description.len() > 40 && !spec.description.contains("  "), "{}", spec.description);
        for property in spec.parameters["properties"].as_object().unwrap().values() {
            assert!(property["type"].is_string() && property["description"].is_string(), "{property}");
        }
        assert!(effect(&spec.name, Mode::Local).is_some());
    }
    assert_eq!(effect("search", Mode::None), Some(Effect::ReadOnly));
    assert_eq!(effect("apply_patch", Mode::None), Some(Effect::Contained));
    assert_eq!(effect("run_command", Mode::Local), Some(Effect::Contained));
    assert_eq!(effect("run_command", Mode::None), Some(Effect::Irrevocable));
    assert_eq!(effect("rm", Mode::Local), None);
}

#[tokio::test]
async fn what_a_model_does_wrong_is_an_answer() {
    let bench = Bench::new(&[("a", "a")]).await;
    insta::assert_snapshot!(
        bench.refuses("bash", json!({})).await,
        @r#"there is no tool "bash"; there are read_file, write_file, list_files, search, apply_patch, delete_file, run_command"#
    );
    let long = "x".repeat(1 << 20);
    assert!(bench.refuses(&long, json!({})).await.len() < 500);
    let refused = bench.refuses("read_file", json!({ "path": long })).await;
    assert!(refused.len() <= TEXT_BYTES_MAX + 100, "{}", refused.len());
    assert!(
        bench.refuses("read_file", json!({ "file": "a" })).await.contains("read_file takes an object of")
    );
    assert!(
        bench.refuses("run_command", json!({ "command": "true" })).await.starts_with("could not be started")
    );
    let stop = CancellationToken::new();
    stop.cancel();
    let write = json!({ "path": "b", "content": "" }).to_string();
    let stopped = bench.toolbox.call("write_file", &write, CallLimits::default(), None, stop).await;
    assert!(stopped.is_error && !bench.tree().join("b").exists());
}

#[tokio::test]
async fn files_are_written_read_and_deleted() {
    let bench = Bench::new(&[]).await;
    let written = bench.says("write_file", json!({ "path": "src/a.txt", "content": "é\n" })).await;
    assert_eq!(written, "created src/a.txt with 3 bytes");
    assert_eq!(bench.says("read_file", json!({ "path": "./src//a.txt" })).await, "é\n");
    let absolute = bench.tree().join("src/a.txt");
    assert_eq!(bench.says("read_file", json!({ "path": absolute })).await, "é\n");
    let run = json!({ "path": "src/a.txt", "content": "#!/bin/sh\n", "executable": true });
    assert_eq!(bench.says("write_file", run).await, "replaced src/a.txt with 10 bytes");
    assert!(bench.is_executable("src/a.txt"));
    bench.says("write_file", json!({ "path": "src/a.txt", "content": "x" })).await;
    assert!(bench.is_executable("src/a.txt"), "it keeps its rights");
    bench.says("write_file", json!({ "path": "src/a.txt", "content": "x", "executable": false })).await;
    assert!(!bench.is_executable("src/a.txt"));
    let full = bench.refuses("delete_file", json!({ "path": "src" })).await;
    assert_eq!(full, "src: the directory is not empty; delete what is in it first");
    assert_eq!(bench.says("delete_file", json!({ "path": "src/a.txt" })).await, "deleted src/a.txt");
    bench.says("delete_file", json!({ "path": "src" })).await;
    assert_eq!(
        bench.refuses("read_file", json!({ "path": "src/a.txt" })).await,
        "src/a.txt: there is no such file; list_files shows what is there"
    );
    bench.refuses("delete_file", json!({ "path": "src" })).await;
    bench.refuses("delete_file", json!({ "path": "." })).await;
    let large = "x".repeat((1 << 20) + 1);
    assert!(bench.refuses("write_file", json!({ "path": "b", "content": large })).await.contains("1048576"));
    fs::write(bench.tree().join("latin"), b"\xE9t\xE9").unwrap();
    assert!(bench.refuses("read_file", json!({ "path": "latin" })).await.contains("not UTF-8"));
    fs::write(bench.tree().join("large"), vec![b'x'; 9 << 20]).unwrap();
    assert!(bench.refuses("read_file", json!({ "path": "large" })).await.contains("there is more than"));
    bench.refuses("read_file", json!({ "path": "" })).await;
}

#[tokio::test]
async fn no_path_leads_out_of_the_tree() {
    let bench = Bench::new(&[("in/a.txt", "inside\n")]).await;
    fs::write(bench.home.path().join("secret"), "secret\n").unwrap();
    symlink("../secret", bench.tree().join("link")).unwrap();
    symlink(bench.home.path(), bench.tree().join("up")).unwrap();
    let before = snapshot(bench.home.path());
    for path in
        ["../secret", "/etc/passwd", "in/../../secret", "link", "up/secret", "a\0b", "/workspace/../secret"]
    {
        bench.refuses("read_file", json!({ "path": path })).await;
        bench.refuses("search", json!({ "pattern": "s", "path": path })).await;
        bench.refuses("list_files", json!({ "path": path })).await;
        bench.refuses("write_file", json!({ "path": path, "content": "x" })).await;
        let header = format!("--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n");
        if !path.contains('\0') && !path.starts_with('/') {
            bench.refuses("apply_patch", json!({ "patch": header })).await;
        }
        if path != "link" {
            bench.refuses("delete_file", json!({ "path": path })).await;
        }
    }
    bench.refuses("list_files", json!({ "path": "up" })).await;
    assert_eq!(bench.says("search", json!({ "pattern": "s" })).await, "in/a.txt:1: inside");
    assert_eq!(snapshot(bench.home.path()), before);
    bench.says("delete_file", json!({ "path": "link" })).await;
    assert!(bench.home.path().join("secret").exists());
}

#[tokio::test]
async fn directories_are_listed_level_by_level() {
    let bench = Bench::new(&[("b/c/d/e", ""), ("a.txt", ""), (".git/config", ""), ("b.rs", "")]).await;
    symlink("b", bench.tree().join("l")).unwrap();
    fs::write(bench.tree().join("new\nline"), "").unwrap();
    let all = bench.says("list_files", json!({})).await;
    assert_eq!(all, "a.txt\nb.rs\nb/\nb/c/\nb/c/d/\nl@\nnew\\nline");
    assert_eq!(bench.says("list_files", json!({ "path": "b", "depth": 9 })).await, "b/c/\nb/c/d/\nb/c/d/e");
    bench.refuses("list_files", json!({ "depth": 0 })).await;
    bench.refuses("list_files", json!({ "path": "a.txt" })).await;
    bench.refuses("list_files", json!({ "path": "none" })).await;
    fs::create_dir(bench.tree().join("b/many")).unwrap();
    for number in 0..1_200 {
        fs::write(bench.tree().join(format!("b/many/{number:04}")), "").unwrap();
    }
    let many = bench.says("list_files", json!({})).await;
    assert_eq!(many.lines().count(), 1_001);
    assert!(many.contains("a.txt") && many.ends_with("the first 1000 of the upper levels]"));
}

#[tokio::test]
async fn lines_are_searched() {
    let bench = Bench::new(&[
        ("src/a.rs", "fn One() {}\nlet x = a.b;\n"),
        ("src/b.rs", "fn one() {}\n"),
        ("target/c.rs", "fn one() {}\n"),
        ("binary", "fn one()\0"),
        ("z", &"one\n".repeat(500)),
    ])
    .await;
    let search = |pattern: &str, more: Value| {
        let mut arguments = json!({ "pattern": pattern });
        arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        arguments
    };
    let found = bench.says("search", search("fn one", json!({}))).await;
    assert_eq!(found, "src/b.rs:1: fn one() {}");
    let found =
        bench.says("search", search("FN ONE", json!({ "caseSensitive": false, "path": "src" }))).await;
    assert_eq!(found, "src/a.rs:1: fn One() {}\nsrc/b.rs:1: fn one() {}");
    assert_eq!(bench.says("search", search("a.b", json!({}))).await, "src/a.rs:2: let x = a.b;");
    assert_eq!(bench.says("search", search("^fn .ne", json!({ "regex": true }))).await.lines().count(), 2);
    let found = bench.says("search", search("one", json!({ "path": "target" }))).await;
    assert_eq!(found, "target/c.rs:1: fn one() {}");
    let found = bench.says("search", search("one", json!({ "path": "src/b.rs" }))).await;
    assert_eq!(found, "src/b.rs:1: fn one() {}");
    assert_eq!(bench.says("search", search("none such", json!({}))).await, "no line of 3 files matches");
    let many = bench.says("search", search("one", json!({ "path": "z" }))).await;
    assert_eq!(many.lines().count(), HITS);
    assert!(many.ends_with("[stopped after 200 lines; look for something rarer]"), "{many}");
    bench.refuses("search", search("", json!({}))).await;
    bench.refuses("search", search("(", json!({ "regex": true }))).await;
    bench.refuses("search", search("x", json!({ "path": "none" }))).await;
}

/// Hits and their note.
const HITS: usize = search::HITS_MAX + 1;

#[tokio::test]
async fn a_patch_changes_creates_deletes_and_renames() {
    let bench = Bench::new(&[("a", "1\n2\n3\n"), ("old", "x\n"), ("gone", "y\n"), ("run", "z\n")]).await;
    let patch = "\
--- a/a
+++ b/a
@@ -1,3 +1,3 @@
 1
-2
+two
 3
--- /dev/null
+++ b/sub/new
@@ -0,0 +1 @@
+new
--- a/gone
+++ /dev/null
@@ -1 +0,0 @@
-y
diff --git a/old b/moved
rename from old
rename to moved
diff --git a/run b/run
old mode 100644
new mode 100755
--- a/a
+++ b/a
@@ -3 +3 @@
-3
+three
";
    insta::assert_snapshot!(bench.says("apply_patch", json!({ "patch": patch })).await, @"
    applied
    changed a (+1 -1)
    created sub/new (+1 -0)
    deleted gone (+0 -1)
    renamed old to moved (+0 -0)
    changed run (+0 -0)
    changed a (+1 -1)
    ");
    assert_eq!(bench.read("a"), "1\ntwo\nthree\n");
    assert_eq!((bench.read("sub/new"), bench.read("moved")), ("new\n".to_owned(), "x\n".to_owned()));
    assert!(!bench.tree().join("gone").exists() && !bench.tree().join("old").exists());
    assert!(bench.is_executable("run") && !bench.is_executable("moved"));
}

#[tokio::test]
async fn a_patch_that_does_not_fit_changes_nothing() {
    let bench = Bench::new(&[("a", "1\n"), ("b", "2\n"), ("dir/c", "3\n")]).await;
    fs::write(bench.tree().join("latin"), b"\xE9\n").unwrap();
    let before = snapshot(&bench.tree());
    let good = "--- a/a\n+++ b/a\n@@ -1 +1 @@\n-1\n+one\n";
    for (rest, said) in [
        (
            "--- a/b\n+++ b/b\n@@ -1 +1 @@\n-3\n+x\n",
            "nothing was changed: hunk 1 of 1 of b (`@@ -1 +1 @@`) does not apply: line 1 is `2`, but the patch expects `3`",
        ),
        ("--- a/none\n+++ b/none\n@@ -1 +1 @@\n-3\n+x\n", "nothing was changed: none: there is no such file"),
        ("--- /dev/null\n+++ b/b\n@@ -0,0 +1 @@\n+x\n", "nothing was changed: b exists already"),
        ("--- a/a\n+++ b/b\n", "nothing was changed: b exists already"),
        ("--- a/b\n+++ /dev/null\n", "nothing was changed: the patch deletes b, but not all of its lines"),
        (
            "--- a/latin\n+++ b/latin\n@@ -1 +1 @@\n-3\n+x\n",
            "nothing was changed: latin: it is not UTF-8 text",
        ),
        ("--- a/dir\n+++ b/dir\n@@ -1 +1 @@\n-3\n+x\n", "nothing was changed: dir: it is not a regular file"),
        // The last two are found only when they are written.
        (
            "--- /dev/null\n+++ b/a/x\n@@ -0,0 +1 @@\n+x\n",
            "nothing was changed: a/x: it is not a regular file",
        ),
        (
            "--- a/dir/c\n+++ /dev/null\n@@ -1 +0,0 @@\n-3\n--- a/b\n+++ b/b/x\n",
            "nothing was changed: b/x: it is not",
        ),
        ("nonsense\n", "the patch cannot be read: line 6 of the patch: "),
    ] {
        let refused = bench.refuses("apply_patch", json!({ "patch": format!("{good}{rest}") })).await;
        assert!(refused.starts_with(said), "{rest}: {refused}");
        assert_eq!(snapshot(&bench.tree()), before, "{rest}");
    }
}

#[tokio::test]
async fn what_was_changed_before_a_failure_is_put_back() {
    let bench = Bench::new(&[("a", "1\n"), ("b", "2\n")]).await;
    let files = &bench.toolbox.root.files;
    let version = |text: &str| Some(crate::sandboxes::Version { content: text.into(), is_executable: false });
    let change = |path: &str, before, after| crate::sandboxes::Change { path: path.into(), before, after };
    let before = snapshot(&bench.tree());
    let changes = vec![
        change("a", version("1\n"), None),
        change("b", version("2\n"), version("two\n")),
        change("c", None, version("three\n")),
        change("../d", None, version("four\n")),
    ];
    let refused = files.change(changes).await.unwrap_err();
    assert!(!refused.is_torn && refused.path == Path::new("../d"), "{refused:?}");
    assert_eq!(snapshot(&bench.tree()), before);
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_given_up() {
    let limits = CallLimits::default();
    let forever = std::future::pending::<Result<String, String>>;
    let answer = in_time(limits, &CancellationToken::new(), forever()).await;
    assert!(answer.is_error && answer.text.starts_with("took longer than 120000 ms"));
    let stop = CancellationToken::new();
    stop.cancel();
    assert_eq!(in_time(limits, &stop, forever()).await.text, "the call was stopped");
}
