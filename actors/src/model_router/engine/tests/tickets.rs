//! Every ticket of `examples/tickets` is played to its end, so that they stay true.

use std::{fs, path::PathBuf};

use serde_json::json;

use super::{
    super::{Plan, answer, plan},
    form, needs, task,
    toolbox::Toolbox,
};

fn tickets(folder: &str) -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/tickets").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let is_ticket = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "md");
    let read = |path: PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(path).unwrap())
    };
    files.into_iter().filter(is_ticket).map(read).collect()
}

fn title(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix("# ")).unwrap()
}

fn planned(text: &str) -> Plan {
    let answer = answer(&form("run_plan", &json!({ "title": title(text), "body": text }))).unwrap();
    serde_json::from_str(&answer.text).unwrap()
}

fn outline(plan: &Plan) -> String {
    let line = |step: &super::super::Step| {
        let after = if step.depends_on.is_empty() {
            "first".into()
        } else {
            format!("after {}", step.depends_on.join(", "))
        };
        format!(
            "{} {:?} ({}, {after}, {}): {}",
            step.id,
            step.name,
            step.agent,
            step.confidence_score,
            step.reasons.join("; ")
        )
    };
    plan.steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Plays all steps in a directory: what each said.
fn played(plan: &Plan, toolbox: &Toolbox) -> String {
    let mut said = Vec::new();
    for step in &plan.steps {
        let (answer, _) = toolbox.play(&step.prompt);
        assert_eq!(needs(&answer), None, "{}", step.prompt);
        said.push(answer.text);
    }
    said.join("\n")
}

fn ticket(name: &str) -> String {
    tickets("").into_iter().find(|(file, _)| file == name).unwrap().1
}

#[test]
fn every_ticket_is_done_to_its_end() {
    let all = tickets("");
    assert!(all.len() >= 4);
    for (name, text) in all {
        let plan = planned(&text);
        assert!(plan.steps.iter().all(|step| step.confidence_score >= 0.9), "{name}:\n{}", outline(&plan));
        let toolbox = Toolbox::new();
        played(&plan, &toolbox);
        if let Err(failed) = toolbox.test() {
            let (answer, _) = toolbox.play(&format!(
                "{}\n\n## What failed\n\n```text\n{failed}\n```\n",
                plan.steps.last().unwrap().prompt
            ));
            assert_eq!(needs(&answer), None, "{name}: {failed}");
            toolbox.test().unwrap_or_else(|failed| panic!("{name}: {failed}"));
        }
    }
}

#[test]
fn the_words_are_counted() {
    let plan = planned(&ticket("word-count.md"));
    insta::assert_snapshot!(outline(&plan), @r#"
    step-1 "Write the script" (dev, first, 0.95): states the content of 1 file literally
    step-2 "Test it" (qa, after step-1, 0.95): states the content of 1 file and 1 command literally
    "#);
    insta::assert_snapshot!(played(&plan, &Toolbox::new()), @r#"
    Wrote word-count.sh.
    Wrote test.sh; ran `sh test.sh`.
    "#);
}

#[test]
fn a_failing_test_is_fixed_by_what_the_ticket_says_about_it() {
    let plan = planned(&ticket("fix-failing-test.md"));
    insta::assert_snapshot!(outline(&plan), @r#"step-1 "Set up the script and its tests" (qa, first, 0.95): states the content of 2 files literally"#);
    let toolbox = Toolbox::new();
    insta::assert_snapshot!(played(&plan, &toolbox), @"Wrote leap.sh and test.sh.");
    let failed = toolbox.test().unwrap_err();
    insta::assert_snapshot!(failed, @r#"
    ok: 2023 has 365 days
    ok: 2024 has 366 days
    not ok: 1900 has 365 days, leap.sh says 366
    ok: 2000 has 366 days
    "#);
    let prompt = format!("{}\n\n## What failed\n\n```text\n{failed}\n```\n", plan.steps[0].prompt);
    insta::assert_snapshot!(toolbox.play(&prompt).0.text, @"Changed leap.sh; ran `sh test.sh`.");
    toolbox.test().unwrap();
    insta::assert_snapshot!(needs(&toolbox.play(&prompt).0).unwrap(), @r#"The ticket asks for a replacement in `leap.sh`, but "if [ $((year % 4)) -eq 0 ]; then" does not occur in it."#);
}

#[test]
fn several_files_are_changed_some_in_parallel() {
    let plan = planned(&ticket("several-files.md"));
    insta::assert_snapshot!(outline(&plan), @r#"
    step-1 "Start with what there is" (dev, first, 0.9): states the content of 2 files and 1 change to a file literally; depends on what the changed files hold
    step-2 "Add German" (dev, after step-1, 0.95): states the content of 1 file literally
    step-3 "Add French" (dev, after step-1, 0.95): states the content of 1 file literally
    step-4 "Add English" (dev, after step-1, 0.95): states the content of 1 file literally
    step-5 "Choose the language" (dev, after step-2, step-3, step-4, 0.9): states 1 change to a file and 1 diff literally; depends on what the changed files hold
    step-6 "Test all of it" (qa, after step-5, 0.95): states the content of 1 file, 1 file mode and 1 command literally
    "#);
    let toolbox = Toolbox::new();
    insta::assert_snapshot!(played(&plan, &toolbox), @r#"
    Wrote greet.sh and NEWS; changed NEWS.
    Wrote languages/de.
    Wrote languages/fr.
    Wrote languages/en.
    Patched greet.sh; changed NEWS.
    Wrote test.sh; made executable: test.sh; ran `./test.sh`.
    "#);
    insta::assert_snapshot!(toolbox.read("NEWS"), @r#"
    1.1  Greets in German and French too.
    1.0  Greets in English.
    "#);
}

#[test]
fn documentation_is_written_item_by_item() {
    let plan = planned(&ticket("documentation.md"));
    insta::assert_snapshot!(outline(&plan), @r#"
    step-1 "Add the script that all of it is about as `backup.sh`" (dev, first, 0.95): states the content of 1 file literally
    step-2 "Write `README.md`" (dev, after step-1, 0.95): states the content of 1 file literally
    step-3 "Write `docs/restore.md`" (dev, after step-2, 0.95): states the content of 1 file literally
    step-4 "Write `docs/schedule.md`" (dev, after step-2, 0.95): states the content of 1 file literally
    step-5 "Put a test of the links in `test.sh`" (qa, after step-3, step-4, 0.9): states the content of 1 file, 1 change to a file and 1 command literally; depends on what the changed files hold
    "#);
    let toolbox = Toolbox::new();
    insta::assert_snapshot!(played(&plan, &toolbox), @r#"
    Wrote backup.sh.
    Wrote README.md.
    Wrote docs/restore.md.
    Wrote docs/schedule.md.
    Wrote test.sh; changed README.md; ran `sh test.sh`. Read as context, not acted on: "The second guide has no link yet".
    "#);
    insta::assert_snapshot!(toolbox.read("README.md"), @r#"
    # Backup

    Copies a folder into one archive with the day in its name.

    ## How do I make a backup?

    ```sh
    sh backup.sh photos
    ```

    ## Where does it go?

    Beside the folder: `photos-2026-01-31.tar`. See [the guide](docs/restore.md) for the way back, and [how to make it every night](docs/schedule.md).
    "#);
}

#[test]
fn tickets_in_prose_are_planned_but_need_a_model() {
    let all = tickets("with-a-model");
    assert!(all.len() >= 2);
    for (name, text) in all {
        let plan = plan(title(&text), &text);
        assert!(plan.steps.iter().all(|step| step.confidence_score < 0.5), "{name}:\n{}", outline(&plan));
        let answer = answer(&task(&plan.steps[0].prompt)).unwrap();
        let sentence = needs(&answer).unwrap();
        assert!(
            answer.text.contains("OPENAI_BASE_URL") && sentence.contains("ticket"),
            "{name}: {}",
            answer.text
        );
    }
}
