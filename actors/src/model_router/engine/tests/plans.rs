//! Plans from tickets of each form.

use super::super::{STEPS_MAX, plan};

fn outline(body: &str) -> String {
    let line = |step: &super::super::Step| {
        format!(
            "{} {:?} <- [{}] {} {} {}: {}",
            step.id,
            step.name,
            step.depends_on.join(" "),
            step.agent,
            serde_json::to_string(&step.task_type).unwrap(),
            step.confidence_score,
            step.reasons.join("; ")
        )
    };
    plan("A ticket", body).steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn prompts(body: &str) -> String {
    let prompts: Vec<String> = plan("A ticket", body).steps.into_iter().map(|step| step.prompt).collect();
    prompts.join("\n=====\n")
}

const HEADINGS: &str = "# A ticket\n\nSome words before.\n\n## Context\n\nWhy it matters.\n\n\
    ## 1. Create the file\n\nCreate `a.sh`:\n\n```sh\necho 1\n```\n\n### More\n\nRun `sh a.sh`.\n\n\
    ## Improve the parser (in parallel)\n\nIt should be fast.\n\n## Test it (in parallel)\n\nRun `sh test.sh`.\n\n\
    ## Deploy it\n\nDelete `a.sh`.\n\n## If the tests fail\n\nRun `fix`.\n\n## Notes\n\nThat is all.\n";

#[test]
fn headings_become_steps_one_after_the_other_or_side_by_side() {
    insta::assert_snapshot!(outline(HEADINGS), @r#"
    step-1 "Create the file" <- [] dev "code_generation" 0.95: states the content of 1 file and 1 command literally
    step-2 "Improve the parser" <- [step-1] dev "code_generation" 0.1: is prose: a language model is needed
    step-3 "Test it" <- [step-1] qa "code_generation" 0.95: states 1 command literally
    step-4 "Deploy it" <- [step-2 step-3] sre "code_generation" 0.95: states 1 deletion literally
    "#);
}

#[test]
fn a_prompt_is_the_sections_own_markdown_with_what_is_good_to_know() {
    insta::assert_snapshot!(prompts(HEADINGS).split("\n=====\n").next().unwrap(), @r#"
    ## 1. Create the file

    Create `a.sh`:

    ```sh
    echo 1
    ```

    ### More

    Run `sh a.sh`.

    ## About the ticket

    A ticket

    Some words before.

    ## Context

    Why it matters.

    ## Notes

    That is all.

    ## If the tests fail

    Run `fix`.
    "#);
}

#[test]
fn numbered_items_become_steps_where_no_heading_does() {
    let body = "Please do:\n\n1. Create `a.sh`:\n\n   ```sh\n   if true; then\n       echo 1\n   fi\n   ```\n\
        2. Run `sh a.sh`.\n3. Think about it (in parallel)\n4. Fix `b` (in parallel)\n   \n   in all its parts\n\
        5. Delete `a.sh`\n\n## Acceptance criteria\n\n1. It works.\n";
    insta::assert_snapshot!(outline(body), @r#"
    step-1 "Create `a.sh`" <- [] dev "code_generation" 0.95: states the content of 1 file literally
    step-2 "Run `sh a.sh`" <- [step-1] dev "code_generation" 0.95: states 1 command literally
    step-3 "Think about it" <- [step-2] dev "code_generation" 0.1: is prose: a language model is needed
    step-4 "Fix `b`" <- [step-2] dev "code_generation" 0.1: is prose: a language model is needed
    step-5 "Delete `a.sh`" <- [step-3 step-4] dev "code_generation" 0.95: states 1 deletion literally
    "#);
    insta::assert_snapshot!(prompts(body).split("\n=====\n").next().unwrap(), @r#"
    Create `a.sh`:

    ```sh
    if true; then
        echo 1
    fi
    ```

    ## About the ticket

    A ticket

    ## Acceptance criteria

    1. It works.
    "#);
}

#[test]
fn items_under_one_heading_become_steps() {
    insta::assert_snapshot!(outline("## Tasks\n\n1. Run `a`.\n2. Run `b`.\n"), @r#"
    step-1 "Run `a`" <- [] dev "code_generation" 0.95: states 1 command literally
    step-2 "Run `b`" <- [step-1] dev "code_generation" 0.95: states 1 command literally
    "#);
}

#[test]
fn items_stay_together_when_something_is_asked_outside_them() {
    insta::assert_snapshot!(outline("1. Run `a`.\n2. Run `b`.\n\nThen run `c`.\n"), @r#"step-1 "A ticket" <- [] dev "code_generation" 0.95: states 3 commands literally"#);
}

#[test]
fn a_ticket_without_structure_is_one_step() {
    insta::assert_snapshot!(outline("It would be nice if the parser were faster."), @r#"step-1 "A ticket" <- [] dev "code_generation" 0.1: is prose: a language model is needed"#);
    insta::assert_snapshot!(outline(""), @r#"step-1 "A ticket" <- [] dev "code_generation" 0.1: is prose: a language model is needed"#);
    insta::assert_snapshot!(prompts("---\nproject: x\n---\nRun `a`.\n\n## If the tests fail\n\nRun `b`.\n\n## Notes\n\nNo."), @r#"
    # A ticket

    Run `a`.

    ## Notes

    No.

    ## If the tests fail

    Run `b`.
    "#);
}

#[test]
fn a_tickets_own_word_on_what_failed_is_background() {
    insta::assert_snapshot!(prompts("## Mend it\n\nRun `a`.\n\n## What failed\n\nThe lamp."), @r#"
    ## Mend it

    Run `a`.

    ## About the ticket

    A ticket

    ## Background

    The lamp.
    "#);
    insta::assert_snapshot!(prompts("The lamp is dark.\n\n## What failed\n\nThe lamp."), @r#"
    # A ticket

    The lamp is dark.

    ## Background

    The lamp.
    "#);
}

#[test]
fn a_section_that_only_tells_is_context_whatever_it_is_called() {
    insta::assert_snapshot!(outline("## Do it\n\nRun `a`.\n\n## Audience\n\nThe users are nurses.\n\n## Speed\n\nIt must be fast.\n"), @r#"
    step-1 "Do it" <- [] dev "code_generation" 0.95: states 1 command literally
    step-2 "Speed" <- [step-1] dev "code_generation" 0.1: is prose: a language model is needed
    "#);
}

fn steps(number: usize) -> String {
    let step = |number: usize| format!("## Step {number}\n\nRun `c{number}`.\n\n");
    (1..=number).map(step).collect::<Vec<_>>().concat()
}

#[test]
fn what_is_over_the_most_steps_goes_into_the_last() {
    let body = steps(STEPS_MAX + 6);
    let plan = plan("Many", &body);
    assert_eq!(plan.steps.len(), STEPS_MAX);
    let last = &plan.steps[STEPS_MAX - 1];
    assert!(last.prompt.contains("Run `c64`.") && last.prompt.contains("Run `c70`."));
    assert!(last.name.ends_with("(and 6 more)"), "{}", last.name);
}

#[test]
fn a_plan_that_would_repeat_too_much_is_one_step() {
    let tasks = steps(60);
    let plan = plan("Large", &format!("{tasks}## Notes\n\n{}\n", "word ".repeat(20_000)));
    assert_eq!(plan.steps.len(), 1);
}
