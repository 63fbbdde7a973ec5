//! An agent's turns, one call each.

use super::{super::answer, came, needs, story, task, tool};
use crate::model_router::chat::{Finish, Message};

#[test]
fn files_are_written_and_commands_run_in_the_tickets_order() {
    insta::assert_snapshot!(story(
        "# Count\n\nCreate an executable `count.sh`:\n\n```sh\nwc -w\n```\n\nIt should count words.\n\n\
         Then run `sh count.sh </dev/null` and delete `old.sh`.",
        &[],
    ), @r#"
    call-1 write_file {"content":"wc -w\n","executable":true,"path":"count.sh"}
    call-2 run_command {"command":"sh count.sh </dev/null"}
    call-3 delete_file {"path":"old.sh"}
    Wrote count.sh; ran `sh count.sh </dev/null`; deleted old.sh. Read as context, not acted on: "It should count words".
    "#);
}

#[test]
fn a_replacement_reads_first_and_writes_the_whole_file() {
    let text = "Replace `one` with `two` in `a.txt`.";
    insta::assert_snapshot!(story(text, &[Ok("zero\none\n")]), @r#"
    call-1 read_file {"path":"a.txt"}
    call-2 write_file {"content":"zero\ntwo\n","path":"a.txt"}
    Changed a.txt.
    "#);
    insta::assert_snapshot!(story(text, &[Ok("zero\n")]), @r#"
    call-1 read_file {"path":"a.txt"}
    needs a model: The ticket asks for a replacement in `a.txt`, but "one" does not occur in it.
    "#);
    insta::assert_snapshot!(story(text, &[Ok("one one")]), @r#"
    call-1 read_file {"path":"a.txt"}
    needs a model: The ticket asks for a replacement in `a.txt`, but "one" occurs 2 times in it and which one is meant is not said.
    "#);
    insta::assert_snapshot!(story("Replace all `one` with `two` in `a.txt`.", &[Ok("one one")]), @r#"
    call-1 read_file {"path":"a.txt"}
    call-2 write_file {"content":"two two","path":"a.txt"}
    Changed a.txt.
    "#);
    insta::assert_snapshot!(story(text, &[Err("there is no such file")]), @r#"
    call-1 read_file {"path":"a.txt"}
    needs a model: `a.txt` could not be read: there is no such file.
    "#);
}

#[test]
fn blocks_are_replaced_as_whole_lines() {
    let text = "In `a.txt`, replace\n\n```\nx=1\n```\n\nwith\n\n```\nx=2\n```";
    insta::assert_snapshot!(story(text, &[Ok("max=1\nx=1\n")]), @r#"
    call-1 read_file {"path":"a.txt"}
    call-2 write_file {"content":"max=1\nx=2\n","path":"a.txt"}
    Changed a.txt.
    "#);
    insta::assert_snapshot!(story(text, &[Ok("y\nx=1")]), @r#"
    call-1 read_file {"path":"a.txt"}
    call-2 write_file {"content":"y\nx=2","path":"a.txt"}
    Changed a.txt.
    "#);
}

#[test]
fn a_file_that_is_appended_to_need_not_be_there() {
    let text = "Append to `a.txt`:\n\n```\nb\n```";
    insta::assert_snapshot!(story(text, &[Ok("a")]), @r#"
    call-1 read_file {"path":"a.txt"}
    call-2 write_file {"content":"a\nb\n","path":"a.txt"}
    Changed a.txt.
    "#);
    insta::assert_snapshot!(story(text, &[Err("there is no such file")]), @r#"
    call-1 read_file {"path":"a.txt"}
    call-2 write_file {"content":"b\n","path":"a.txt"}
    Changed a.txt.
    "#);
    insta::assert_snapshot!(story(text, &[Err("it is not a regular file")]), @r#"
    call-1 read_file {"path":"a.txt"}
    needs a model: `a.txt` could not be read: it is not a regular file.
    "#);
}

#[test]
fn a_large_file_is_read_page_by_page_and_never_written_in_part() {
    let text = "In `a.txt`, replace `two` with `2`.";
    let pages = [Ok("one\n[lines 1 to 1 of 2; go on with startLine 2]"), Ok("two")];
    insta::assert_snapshot!(story(text, &pages), @r#"
    call-1 read_file {"path":"a.txt"}
    call-2 read_file {"path":"a.txt","startLine":2}
    call-3 write_file {"content":"one\n2","path":"a.txt"}
    Changed a.txt.
    "#);
    insta::assert_snapshot!(story(text, &[Ok("tw\n[line 1 of 1; 14464 more bytes of it are left out]")]), @r#"
    call-1 read_file {"path":"a.txt"}
    needs a model: `a.txt` is too large to be read as a whole.
    "#);
    insta::assert_snapshot!(story("Append to `a.txt`:\n\n```\nb\n```", &[Ok("[the file is empty]")]), @r#"
    call-1 read_file {"path":"a.txt"}
    call-2 write_file {"content":"b\n","path":"a.txt"}
    Changed a.txt.
    "#);
    insta::assert_snapshot!(story("Make `a.sh` executable.", &[Ok("echo 1\n")]), @r#"
    call-1 read_file {"path":"a.sh"}
    call-2 write_file {"content":"echo 1\n","executable":true,"path":"a.sh"}
    Made executable: a.sh.
    "#);
}

#[test]
fn a_tool_that_refuses_ends_the_step_with_a_sentence() {
    insta::assert_snapshot!(story("Create `../a`:\n\n```\n1\n```", &[Err("the path has a `..`")]), @r#"
    call-1 write_file {"content":"1\n","path":"../a"}
    needs a model: `../a` could not be written: the path has a `..`.
    "#);
    insta::assert_snapshot!(story("Run `sh test.sh`.", &[Err("one\ntwo\nnot ok: three\n")]), @r#"
    call-1 run_command {"command":"sh test.sh"}
    needs a model: `sh test.sh` failed and the ticket does not say what to do then; its last lines: "one / two / not ok: three".
    "#);
}

#[test]
fn a_fix_follows_only_what_the_ticket_says_about_failed_tests() {
    let ticket = "Create `a.sh`:\n\n```\n1\n```\n\n## If the tests fail\n\nRun `fix`.\n";
    insta::assert_snapshot!(story(ticket, &[]), @r#"
    call-1 write_file {"content":"1\n","path":"a.sh"}
    Wrote a.sh.
    "#);
    insta::assert_snapshot!(story(&format!("{ticket}\n## What failed\n\n```\nnot ok\n```\n"), &[]), @r#"
    call-1 run_command {"command":"fix"}
    Ran `fix`.
    "#);
    insta::assert_snapshot!(story("Run `a`.\n\n## What failed\n\nnot ok", &[]), @r#"needs a model: Tests failed, and the ticket has no section "If the tests fail" that states what to change."#);
}

#[test]
fn sections_that_are_good_to_know_are_not_acted_on() {
    insta::assert_snapshot!(story(
        "## Do it\n\nRun `a`.\n\n## Context\n\nFix everything. Run `b`.\n\n## Acceptance criteria\n\n- Check all.",
        &[],
    ), @r#"
    call-1 run_command {"command":"a"}
    Ran `a`.
    "#);
}

#[test]
fn context_before_the_task_does_no_harm() {
    insta::assert_snapshot!(story(
        "---\nproject: x\n---\nProject: greeter\nBranch: main\n\n# Title\n\nRun `a`.",
        &[],
    ), @r#"
    call-1 run_command {"command":"a"}
    Ran `a`. Read as context, not acted on: "Project: greeter Branch: main".
    "#);
}

#[test]
fn prose_needs_a_model_before_anything_is_touched() {
    insta::assert_snapshot!(story("Run `a`. Then refactor the parser and make it fast.", &[]), @r#"needs a model: The ticket says "Then refactor the parser and make it fast.", but it is prose."#);
    insta::assert_snapshot!(story("The parser is slow.", &[]), @r#"needs a model: Nothing in the ticket is stated literally (the content of a file, a replacement, a diff or a command): "The parser is slow."."#);
    insta::assert_snapshot!(story("", &[]), @r#"needs a model: Nothing in the ticket is stated literally (the content of a file, a replacement, a diff or a command): ""."#);
    let answer = answer(&task("Implement it.")).unwrap();
    insta::assert_snapshot!(answer.text, @r#"The ticket says "Implement it.", but it is prose. The built-in engine does only what a ticket states literally; for more, set a model: set OPENAI_API_KEY, or OPENAI_BASE_URL for a local server such as Ollama, and run again."#);
}

#[test]
fn a_tool_that_is_not_allowed_is_named() {
    let mut request = task("Run `a`.");
    request.tools = vec![tool("read_file")];
    insta::assert_snapshot!(needs(&answer(&request).unwrap()).unwrap(), @"The ticket asks for what only the tool `run_command` can do, and this agent may not use it.");
}

#[test]
fn a_conversation_that_another_model_began_is_not_taken_over() {
    let mut request = task("Run `a`.");
    let mut first = answer(&request).unwrap();
    first.calls[0].arguments = "{\"command\":\"b\"}".into();
    came(&mut request, &first, "", false);
    insta::assert_snapshot!(needs(&answer(&request).unwrap()).unwrap(), @"The conversation holds a call of `run_command` that does not follow from the ticket's words, so another model began it.");
}

#[test]
fn a_call_without_a_result_is_made_again_under_an_id_of_its_own() {
    let mut request = task("Run `a`.");
    let first = answer(&request).unwrap();
    request.messages.push(Message::Assistant { text: String::new(), calls: first.calls.clone() });
    let second = answer(&request).unwrap();
    assert_eq!(second.finish, Finish::ToolCalls);
    assert_eq!(second.calls[0].arguments, first.calls[0].arguments);
    assert_ne!(second.calls[0].id, first.calls[0].id);
}
