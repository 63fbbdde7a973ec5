//! What a review sees.

use super::*;

fn patch(path: &str, added: &[&str]) -> String {
    let lines: String = added.iter().flat_map(|line| ["+", line, "\n"]).collect();
    format!(
        "diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -3,0 +4,{} @@\n{lines}",
        added.len()
    )
}

fn told(diff: &str) -> String {
    let review = review("Change it", diff);
    let line = |one: &Finding| {
        let line = one.line.map_or(String::new(), |line| format!(":{line}"));
        format!("{:?} {}{line} {}", one.severity, one.path, one.message)
    };
    let findings: Vec<String> = review.findings.iter().map(line).collect();
    format!("{:?}: {}\n{}", review.verdict, review.summary, findings.join("\n"))
}

#[test]
fn a_clean_change_is_approved_with_a_sentence_about_it() {
    insta::assert_snapshot!(told(&patch("a.sh", &["echo 1", "echo 2"])), @r#"Approve: "Change it" changes 1 file: 2 lines added, 0 removed. The checks of the added lines found nothing that stands in the way. What the code means was not judged."#);
}

#[test]
fn credentials_and_conflict_markers_block() {
    let key = format!("key: {}{}", "AKIA", "ABCDEFGHIJKLMNOP");
    let pem = format!("-----BEGIN RSA {} KEY-----", "PRIVATE");
    let token = format!("curl -H {}{}", "ghp_", "a".repeat(36));
    insta::assert_snapshot!(told(&patch("a.sh", &[
        &key,
        &pem,
        &token,
        "password = \"hunter2hunter2\"",
        "  \"api_key\": 'abcdef123456',",
        "<<<<<<< HEAD",
    ])), @r#"
    RequestChanges: "Change it" changes 1 file: 6 lines added, 0 removed. 6 findings must be mended first. What the code means was not judged.
    Blocking a.sh:4 looks like an AWS access key; keep it out of the repository
    Blocking a.sh:5 looks like a private key; keep it out of the repository
    Blocking a.sh:6 looks like a GitHub token; keep it out of the repository
    Blocking a.sh:7 looks like a credential that stands in the source; keep it out of the repository
    Blocking a.sh:8 looks like a credential that stands in the source; keep it out of the repository
    Blocking a.sh:9 a conflict marker is left in it
    "#);
}

#[test]
fn what_only_looks_like_a_credential_does_not_block() {
    insta::assert_snapshot!(told(&patch("a.py", &[
        "password = os.environ[\"PASSWORD\"]",
        "password = \"changeme\"",
        "token = \"${TOKEN}\"",
        "secret = \"\"",
        "tokens = \"one,two,three\"",
        "title = \"password = secret\"",
        "=======",
    ])), @r#"Approve: "Change it" changes 1 file: 7 lines added, 0 removed. The checks of the added lines found nothing that stands in the way. What the code means was not judged."#);
}

#[test]
fn leftovers_are_told_without_blocking() {
    insta::assert_snapshot!(told(&patch("a.rs", &[
        "dbg!(x);",
        "// dbg!(x);",
        "// TODO: more",
        "let a = 1; ",
        "let b = 2;\t",
        &"x".repeat(201),
    ])), @r#"
    Approve: "Change it" changes 1 file: 6 lines added, 0 removed. Nothing blocks it; 1 warning. What the code means was not judged.
    Warning a.rs:4 `dbg!(` looks left over from debugging
    Info a.rs:6 a note that something is still to be done: TODO
    Info a.rs:7 2 lines in white space at the end
    Info a.rs:9 1 line with more than 200 characters
    "#);
}

#[test]
fn removed_tests_binaries_and_links_are_told() {
    insta::assert_snapshot!(told(
        "diff --git a/tests/a.rs b/tests/a.rs\ndeleted file mode 100644\n--- a/tests/a.rs\n+++ /dev/null\n\
         @@ -1,2 +0,0 @@\n-#[test]\n-fn a() {}\n\
         diff --git a/b.rs b/b.rs\n--- a/b.rs\n+++ b/b.rs\n@@ -1,3 +1,1 @@\n-#[test]\n-fn b() {}\n fn c() {}\n\
         diff --git a/p.png b/p.png\nnew file mode 100644\nBinary files /dev/null and b/p.png differ\n\
         diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc\n\\ No newline at end of file\n",
    ), @r#"
    Approve: "Change it" changes 4 files (2 new, 1 deleted): 1 line added, 4 removed. Nothing blocks it; 4 warnings. What the code means was not judged.
    Warning tests/a.rs a file of tests is removed
    Warning b.rs 1 test removed
    Warning p.png a binary file, which cannot be reviewed
    Warning l a symbolic link; see where it leads
    "#);
}

#[test]
fn a_diff_without_git_heads_and_with_odd_names_is_read() {
    insta::assert_snapshot!(told(
        "--- a/x y.sh\t2026\n+++ b/x y.sh\t2026\n@@ -1 +1,2 @@\n--- old\n+++ FIXME\n+two\n\
         --- \"a/\\303\\244.sh\"\n+++ \"b/\\303\\244.sh\"\n@@ -0,0 +1 @@\n+XXX\n",
    ), @r#"
    Approve: "Change it" changes 2 files: 3 lines added, 1 removed. The checks of the added lines found nothing that stands in the way. What the code means was not judged.
    Info x y.sh:1 a note that something is still to be done: FIXME
    Info ä.sh:1 a note that something is still to be done: XXX
    "#);
}

#[test]
fn nothing_and_nonsense_are_told_apart() {
    insta::assert_snapshot!(told(""), @r#"Approve: "Change it" changes nothing that can be read."#);
    insta::assert_snapshot!(told("hello"), @r#"
    RequestChanges: "Change it" changes nothing that can be read.
    Blocking  the diff names no file, so it cannot be read
    "#);
}

#[test]
fn the_list_of_findings_ends_somewhere() {
    let lines = vec!["TODO"; FINDINGS_MAX + 50];
    let review = review("Many", &patch("a.rs", &lines));
    assert_eq!(review.findings.len(), FINDINGS_MAX);
    assert_eq!(review.findings.last().unwrap().message, "51 more findings not shown");
}
