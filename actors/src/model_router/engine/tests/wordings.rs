//! The ways in which people write the same instruction.

use super::super::{document::Document, instruction::Instruction, reading::Reading};

fn read(text: &str) -> Reading {
    let document = Document::parse(text);
    Reading::of(&document.blocks)
}

fn line(text: &str) -> String {
    let reading = read(text);
    let mut all: Vec<String> = reading.instructions.iter().map(|one| format!("{one:?}")).collect();
    all.extend(reading.unclear.iter().map(|one| format!("? {}", one.why)));
    all.join("\n")
}

#[test]
fn the_content_of_a_file_is_stated_in_many_ways() {
    let wanted =
        Instruction::Write { path: "src/a.sh".into(), content: "echo 1\n".into(), is_executable: false };
    for before in [
        "Create `src/a.sh`:",
        "Create a file called `src/a.sh` with the following content:",
        "Please write `src/a.sh`",
        "Add `src/a.sh`:",
        "Add a new script `src/a.sh` that prints `1`:",
        "Then add the file `src/a.sh`.",
        "Save this as `src/a.sh`:",
        "Save the following to `src/a.sh`:",
        "Put this in `src/a.sh`:",
        "Put the following into `src/a.sh`:",
        "Store it as `src/a.sh`:",
        "Overwrite `src/a.sh` with:",
        "Replace the content of `src/a.sh` with:",
        "Replace `src/a.sh` with:",
        "Change `src/a.sh` to:",
        "Update `src/a.sh` so that it reads:",
        "The content of `src/a.sh`:",
        "Content of `src/a.sh` is:",
        "The file `src/a.sh` should contain:",
        "`src/a.sh`:",
        "`src/a.sh`",
        "**src/a.sh**",
        "**src/a.sh:**",
        "### `src/a.sh`",
        "- [ ] Create `src/a.sh`:",
        "We need to create \"src/a.sh\":",
        "To print numbers, create `src/a.sh`:",
        "In `src/a.sh`, write:",
        "Add `a.sh` to `src/`:",
        "Create file `src/a.sh` with this content:",
        "First, let's create `src/a.sh`:",
        "Create `src/a.sh` and make sure `sh src/a.sh` works:",
    ] {
        let reading = read(&format!("{before}\n\n  ```sh\n  echo 1\n  ```\n"));
        assert_eq!(reading.instructions.first(), Some(&wanted), "{before}");
        assert!(reading.unclear.is_empty(), "{before}: {:?}", reading.unclear);
    }
    for tag in ["sh src/a.sh", "sh file=src/a.sh", "sh title=\"src/a.sh\"", "src/a.sh", "sh:src/a.sh"] {
        let reading = read(&format!("The script:\n\n```{tag}\necho 1\n```\n"));
        assert_eq!(reading.instructions, std::slice::from_ref(&wanted), "{tag}");
    }
}

#[test]
fn short_contents_stand_in_the_sentence() {
    insta::assert_snapshot!(line("Create `a.txt` with the content `one`."), @r#"Write { path: "a.txt", content: "one\n", is_executable: false }"#);
    insta::assert_snapshot!(line("Write `one` to `a.txt`."), @r#"Write { path: "a.txt", content: "one\n", is_executable: false }"#);
    insta::assert_snapshot!(line("Create an empty file `a.txt`."), @r#"Write { path: "a.txt", content: "", is_executable: false }"#);
    insta::assert_snapshot!(line("Add `*.log` to `.gitignore`."), @r#"Edit { path: ".gitignore", change: Append("*.log\n") }"#);
    insta::assert_snapshot!(line("Append the line `two` to `a.txt`."), @r#"Edit { path: "a.txt", change: Append("two\n") }"#);
    insta::assert_snapshot!(line("Create the directory `logs`."), @r#"Run("mkdir -p -- logs")"#);
}

#[test]
fn two_files_may_share_a_sentence() {
    insta::assert_snapshot!(line("Create `a` and `b.sh`:\n\n```\n1\n```\n\n```\n2\n```"), @r#"
    Write { path: "a", content: "1\n", is_executable: false }
    Write { path: "b.sh", content: "2\n", is_executable: false }
    "#);
    insta::assert_snapshot!(line("Create `a.sh` and `b.sh`:\n\n```\n1\n```\n\n```\n2\n```"), @r#"
    Write { path: "a.sh", content: "1\n", is_executable: false }
    Write { path: "b.sh", content: "2\n", is_executable: false }
    "#);
    insta::assert_snapshot!(line("Create `a.sh` and `b.sh`:\n\n```\n1\n```\n"), @"? which file the block after it belongs to is not stated");
}

#[test]
fn what_is_added_goes_to_the_end_or_the_top() {
    for text in [
        "Append to `a.txt`:",
        "Append the following to `a.txt`:",
        "Add to `a.txt`:",
        "Add this line to `a.txt`:",
        "At the end of `a.txt`, add:",
        "Add the function `total` to `a.txt`:",
    ] {
        assert_eq!(
            line(&format!("{text}\n\n```\nx\n```")),
            r#"Edit { path: "a.txt", change: Append("x\n") }"#,
            "{text}"
        );
    }
    insta::assert_snapshot!(line("At the top of `a.txt`, add:\n\n```\nx\n```"), @r#"Edit { path: "a.txt", change: Prepend("x\n") }"#);
    insta::assert_snapshot!(line("Insert in `a.txt`:\n\n```\nx\n```"), @"? where in the file it goes is not stated");
    insta::assert_snapshot!(line("Add this before `main` in `a.txt`:\n\n```\nx\n```"), @"? where in the file it goes is not stated");
}

#[test]
fn a_replacement_is_stated_in_many_ways() {
    for text in [
        "Replace `one` with `two` in `a.txt`.",
        "In `a.txt`, replace `one` with `two`.",
        "In `a.txt` replace `one` by `two`.",
        "Change `one` to `two` in `a.txt`.",
        "Change `one` in `a.txt` to `two`.",
        "Rename the variable `one` to `two` in the file `a.txt`.",
        "In `a.txt`: replace `one` → `two`",
        "Replace `one` in `a.txt` with:\n\n```\ntwo\n```",
    ] {
        let reading = read(text);
        let wanted = r#"Edit { path: "a.txt", change: Replace { old: "one", new: "two", every: false, is_lines: false } }"#;
        assert_eq!(line(text), wanted, "{text}: {reading:?}");
    }
    insta::assert_snapshot!(line("Replace every `one` with `two` in `a.txt` and `b.txt`."), @r#"
    Edit { path: "a.txt", change: Replace { old: "one", new: "two", every: true, is_lines: false } }
    Edit { path: "b.txt", change: Replace { old: "one", new: "two", every: true, is_lines: false } }
    "#);
    insta::assert_snapshot!(line("In `a.txt`, replace\n\n```\none\n```\n\nwith\n\n```\ntwo\n```"), @r#"Edit { path: "a.txt", change: Replace { old: "one\n", new: "two\n", every: false, is_lines: true } }"#);
    insta::assert_snapshot!(line("Remove the line `one` from `a.txt`."), @r#"Edit { path: "a.txt", change: Replace { old: "one\n", new: "", every: false, is_lines: true } }"#);
    insta::assert_snapshot!(line("Remove these lines from `a.txt`:\n\n```\none\n```"), @r#"Edit { path: "a.txt", change: Replace { old: "one\n", new: "", every: false, is_lines: true } }"#);
    insta::assert_snapshot!(line("Replace `one` with `two`."), @"? in which file is not stated");
    insta::assert_snapshot!(line("In `a.txt`, replace:\n\n```\none\n```\n\nIt is old."), @"? what becomes what is not stated");
}

#[test]
fn commands_are_stated_in_many_ways() {
    for text in [
        "Run `make test`.",
        "Then run `make test`",
        "Execute `make test`.",
        "Run the tests with `make test`.",
        "Run the tests using `make test`:",
        "Check that `make test` passes.",
        "Verify with `make test`.",
        "Make sure that `make test` succeeds.",
        "Run:\n\n```sh\nmake test\n```",
        "Now run this:\n\n```console\n$ make test\nok\n```",
        "### Run the tests\n\n```bash\nmake test\n```",
        "Finally, execute\n\n```\nmake test\n```",
    ] {
        assert_eq!(line(text), r#"Run("make test")"#, "{text}");
    }
    insta::assert_snapshot!(line("Run `a` and `b`, then run `c d` in `sub dir`."), @r#"
    Run("a")
    Run("b")
    Run("cd 'sub dir' && c d")
    "#);
    insta::assert_snapshot!(line("Run:\n\n```sh\na\nb\n```"), @r#"Run("set -e\na\nb")"#);
    insta::assert_snapshot!(line("Run `a.sh` on `b.txt`."), @"? how the parts of its command go together is not said");
    insta::assert_snapshot!(line("Run the tests."), @"? the command is not stated");
    insta::assert_snapshot!(line("Run:\n\n```python\nprint(1)\n```"), @"? what it runs is not a block of shell commands");
    insta::assert_snapshot!(line("Create `a.sh`:\n\n```\n1\n```\n\nMake it executable and run it."), @r#"
    Write { path: "a.sh", content: "1\n", is_executable: false }
    MakeExecutable("a.sh")
    Run("sh a.sh")
    "#);
}

#[test]
fn files_are_deleted_renamed_and_patched() {
    insta::assert_snapshot!(line("Delete `a.txt` and `b.txt`; remove the file `old`."), @r#"
    Delete("a.txt")
    Delete("b.txt")
    Delete("old")
    "#);
    insta::assert_snapshot!(line("Remove `total`."), @"? which file it is about is not stated");
    insta::assert_snapshot!(line("Rename `a.sh` to `b.sh`."), @r#"Run("mv -- a.sh b.sh")"#);
    insta::assert_snapshot!(line("```diff\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n```"), @r#"Patch("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n")"#);
    insta::assert_snapshot!(line("Fix it with this patch:\n\n```\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n```"), @r#"Patch("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n")"#);
    insta::assert_snapshot!(line("Apply:\n\n```diff\n-a\n+b\n```"), @"? its diff does not name the file with `---` and `+++` lines");
}

#[test]
fn what_asks_for_thought_is_not_guessed() {
    for text in [
        "Implement the parser.",
        "Refactor `a.sh`.",
        "Fix the bug in `a.sh`.",
        "Create `a.sh`.",
        "Create `a.sh` and add tests.",
        "If `a.sh` is missing, create `b.sh`:\n\n```\n1\n```",
        "Run `a` unless it is Monday.",
        "Check that the output is right.",
        "Make the script faster.",
        "Could you add a cache?",
    ] {
        let reading = read(text);
        assert_eq!(reading.unclear.len(), 1, "{text}: {reading:?}");
        assert!(reading.instructions.is_empty(), "{text}: {reading:?}");
    }
}

#[test]
fn what_only_tells_is_context() {
    for text in [
        "The script counts words.\n\n```\n3 words\n```",
        "It prints:\n\n```\n3 words\n```",
        "> Create `a.sh`:\n>\n> ```\n> 1\n> ```",
        "Do not delete `a.sh`.",
        "`a.sh` must not contain:\n\n```\n1\n```",
        "| Create `a.sh` |\n|---|\n| Run `b` |",
        "```\necho 1\n```",
    ] {
        let reading = read(text);
        assert!(!reading.asks(), "{text}: {reading:?}");
    }
}
