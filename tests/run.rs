//! `cendriix run`: a ticket becomes a merged change, with one command and no model.
//!
//! `CENDRIIX_CRASHES` says how often a ticket is killed (10), `CENDRIIX_SEED` with which seed; a failure
//! prints the seed.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::kit::{
    git,
    openai::{FakeOpenAi, Turn},
    process::{Process, cendriix, from_environment, printed, run},
    text,
};

fn ticket(name: &str) -> String {
    format!("{}/examples/tickets/{name}.md", env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command without any model of the environment.
fn ran(data: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = cendriix(data);
    for name in ["OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"] {
        command.env_remove(name);
    }
    command.args(arguments).output().unwrap()
}

fn code(data: &Path, arguments: &[&str]) -> i32 {
    ran(data, arguments).status.code().unwrap()
}

fn said(output: &std::process::Output) -> String {
    [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).concat()
}

/// The runs of a data directory, newest first.
fn runs(data: &Path) -> Vec<Value> {
    let page: Value = serde_json::from_str(&printed(data, &["runs", "list", "--json"])).unwrap();
    page["runs"].as_array().unwrap().clone()
}

fn the_run(data: &Path) -> Value {
    let [item] = &runs(data)[..] else { panic!("one run") };
    serde_json::from_str(&printed(data, &["runs", "get", &text(&item["id"]), "--json"])).unwrap()
}

#[test]
fn one_command_leads_from_a_ticket_to_a_merged_change() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let output = ran(&data, &["run", &ticket("word-count"), "--approve"]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    for part in
        ["Plan by cendriix-rules-1", "run_command sh test.sh", "ok: counts one file", "merged as", "cost"]
    {
        assert!(told.contains(part), "{part} in {told}");
    }
    let run = the_run(&data);
    let path = text(&run["repository"]["path"]);
    let log = git(&path, &["log", "--format=%s", "main"]);
    assert!(log.contains("Count the words of text files") && log.contains("Write the script"), "{log}");
    assert!(git(&path, &["show", "main:test.sh"]).contains("counts one file"));
    let id = text(&run["id"]);
    assert!(printed(&data, &["runs", "diff", &id]).contains("+++ b/word-count.sh"));
    assert!(printed(&data, &["runs", "steps", &id]).contains("step-2"));
    assert!(printed(&data, &["runs", "watch", &id]).contains("merged"));
    let verified = printed(&data, &["verify"]);
    assert!(verified.contains("all sound") && !verified.contains(" 0 checkpoints"), "{verified}");

    // The same ticket again is another run, which has nothing left to change.
    let again = ran(&data, &["run", &ticket("word-count"), "--approve"]);
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    assert!(said(&again).contains("nothing had to be changed"), "{}", said(&again));
    assert_eq!(runs(&data).len(), 2);
}

#[test]
fn every_example_that_states_all_it_wants_is_merged_without_a_model() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    for name in ["fix-failing-test", "several-files", "documentation"] {
        let output = ran(&data, &["run", &ticket(name), "--approve"]);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", said(&output));
    }
    let told = said(&ran(&data, &["run", &ticket("fix-failing-test"), "--approve", "--json"]));
    assert!(told.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{told}");
}

#[test]
fn without_anybody_to_answer_the_run_waits_and_the_next_command_attaches_to_it() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let waits = ran(&data, &["run", &ticket("word-count")]);
    assert_eq!(waits.status.code(), Some(6), "{}", said(&waits));
    assert!(said(&waits).contains("runs approve"), "{}", said(&waits));
    let attached = ran(&data, &["run", &ticket("word-count"), "--approve"]);
    assert_eq!(attached.status.code(), Some(0), "{}", said(&attached));
    assert!(said(&attached).contains("attached to the unfinished run"), "{}", said(&attached));
    assert_eq!(the_run(&data)["status"], "merged");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_run_is_found_behind_any_number_of_others() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    assert_eq!(code(&data, &["run", &ticket("word-count")]), 6);
    let waiting = the_run(&data);
    let server = Process::serve(&data).await;
    let name = std::env::var("USER").unwrap_or_else(|_| "operator".to_owned());
    let client = server.client().login(&format!("local:{name}")).await;
    // One more than a page has.
    for number in 0..=200 {
        let input = json!({ "title": format!("Other {number}"), "body": "Run `true`." });
        let body = json!({ "workflowId": waiting["workflowId"], "input": input });
        client.post("/v1/runs", body).await.expect(201);
    }
    let attached = ran(&data, &["run", &ticket("word-count"), "--approve"]);
    assert_eq!(attached.status.code(), Some(0), "{}", said(&attached));
    assert!(said(&attached).contains(&text(&waiting["id"])), "{}", said(&attached));
}

#[test]
fn a_command_that_was_attached_to_another_goes_on_when_that_one_is_killed() {
    let home = tempfile::tempdir().unwrap();
    let (data, slow) = (home.path().join("data"), home.path().join("slow.md"));
    let body = "# Wait a little\n\n## Wait\n\nRun:\n\n```sh\ni=0; while [ $i -lt 30 ]; do sleep 0.1; i=$((i + 1)); done\n```\n";
    std::fs::write(&slow, body).unwrap();
    let arguments = ["run", slow.to_str().unwrap(), "--approve"];
    let mut first = cendriix(&data);
    let mut first = first.args(arguments).stdout(std::process::Stdio::piped()).spawn().unwrap();
    // It has begun once its step is shown.
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(first.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains("run_command")));
    let mut second = cendriix(&data);
    let second = second.args(arguments).stderr(std::process::Stdio::piped());
    let mut second = second.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut shown = std::io::BufRead::lines(std::io::BufReader::new(second.stdout.take().unwrap()));
    assert!(shown.any(|line| line.unwrap().contains("attached to the unfinished run")));
    first.kill().unwrap();
    first.wait().unwrap();
    let told: Vec<String> = shown.map(Result::unwrap).collect();
    let output = second.wait_with_output().unwrap();
    let notes = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told:?} {notes}");
    assert!(notes.contains("this one goes on with it"), "{notes}");
    assert_eq!(runs(&data).len(), 1);
    assert_eq!(the_run(&data)["status"], "merged");
}

#[test]
fn prose_needs_a_model_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let output = ran(&data, &["run", &ticket("with-a-model/csv-report"), "--approve"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("OPENAI_API_KEY"), "{}", said(&output));
    assert_eq!(the_run(&data)["reason"]["code"], "needs_model");
}

#[test]
fn a_dry_run_shows_the_plan_and_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let told = said(&ran(&data, &["run", &ticket("several-files"), "--dry-run"]));
    assert!(told.contains("step-3") && told.contains("nothing was run"), "{told}");
    assert!(runs(&data).is_empty());
}

#[test]
fn a_repository_of_ones_own_is_worked_on() {
    let home = tempfile::tempdir().unwrap();
    let (data, repository) = (home.path().join("data"), home.path().join("mine"));
    std::fs::create_dir(&repository).unwrap();
    let mine = repository.display().to_string();
    git(&mine, &["-c", "init.defaultBranch=main", "init", "-q"]);
    let output = ran(&data, &["run", &ticket("word-count"), "--approve", "--repo", &mine]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(git(&mine, &["log", "--format=%s", "main"]).contains("Write the script"));
}

/// A repository with one commit, and a run of the word-count ticket in it that waits at the merge gate.
fn waiting_at_the_merge(home: &Path) -> (PathBuf, String) {
    let (data, repository) = (home.join("data"), home.join("mine"));
    std::fs::create_dir(&repository).unwrap();
    let mine = repository.display().to_string();
    git(&mine, &["-c", "init.defaultBranch=main", "init", "-q"]);
    commit(&mine, "README", "one\n");
    let waits = ran(&data, &["run", &ticket("word-count"), "--repo", &mine]);
    assert_eq!(waits.status.code(), Some(6), "{}", said(&waits));
    (data, mine)
}

fn commit(folder: &str, file: &str, text: &str) {
    std::fs::write(Path::new(folder).join(file), text).unwrap();
    git(folder, &["add", file]);
    git(folder, &["-c", "user.name=u", "-c", "user.email=u@localhost", "commit", "-q", "-m", file]);
}

#[test]
fn a_change_is_tested_and_approved_again_when_the_main_branch_has_moved() {
    let home = tempfile::tempdir().unwrap();
    let (data, mine) = waiting_at_the_merge(home.path());
    commit(&mine, "theirs", "two\n");
    let output = ran(&data, &["run", &ticket("word-count"), "--approve", "--repo", &mine]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("the main branch has moved"), "{told}");
    for twice in ["✓ testing", "? merge commit", "approved: --approve"] {
        assert_eq!(told.matches(twice).count(), 2, "{twice} in {told}");
    }
    assert_eq!(git(&mine, &["show", "main:theirs"]), "two\n");
    assert!(git(&mine, &["show", "main:test.sh"]).contains("counts one file"));
    assert_eq!(git(&mine, &["status", "--porcelain"]), "");
    assert!(printed(&data, &["verify"]).contains("all sound"));
}

#[test]
fn what_is_in_the_way_of_a_merge_is_for_a_person_to_clear_away() {
    let home = tempfile::tempdir().unwrap();
    let (data, mine) = waiting_at_the_merge(home.path());
    let theirs = Path::new(&mine).join("word-count.sh");
    std::fs::write(&theirs, "not in any commit").unwrap();
    let approve = || ran(&data, &["run", &ticket("word-count"), "--approve", "--repo", &mine]);
    let waits = approve();
    assert_eq!(waits.status.code(), Some(6), "{}", said(&waits));
    assert!(said(&waits).contains("word-count.sh; move them away first"), "{}", said(&waits));
    assert_eq!(std::fs::read_to_string(&theirs).unwrap(), "not in any commit");
    std::fs::remove_file(&theirs).unwrap();
    let merged = approve();
    assert_eq!(merged.status.code(), Some(0), "{}", said(&merged));
    assert!(git(&mine, &["show", "main:word-count.sh"]).contains("usage"));
}

#[test]
fn what_contradicts_the_main_branch_is_mended_in_a_fix_step() {
    let home = tempfile::tempdir().unwrap();
    let (data, mine) = waiting_at_the_merge(home.path());
    commit(&mine, "word-count.sh", "theirs\n");
    let output = ran(&data, &["run", &ticket("word-count"), "--approve", "--repo", &mine]);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("fix-1 is to mend: the changes contradict each other in word-count.sh"), "{told}");
    let merged = git(&mine, &["show", "main:word-count.sh"]);
    assert!(merged.contains("usage") && !merged.contains("<<<<<<<"), "{merged}");
    let marked = git(&mine, &["log", "--format=%h", "-S", "<<<<<<< ", "main"]);
    assert_eq!(marked, "", "no commit of the branch has marks in it");
}

#[test]
fn bad_tickets_are_refused_before_anything_is_started() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let file = |name: &str, content: &[u8]| {
        let path = home.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    for (path, part) in [
        (file("empty.md", b" \n"), "is empty"),
        (file("binary.md", b"\xff\xfe\0"), "UTF-8"),
        (file("large.md", "x".repeat((256 << 10) + 1).as_bytes()), "at most"),
        (file("settings.md", b"---\nprojekt: x\n---\ntext"), "projekt"),
        (home.path().join("missing.md").display().to_string(), "cannot read"),
        (home.path().display().to_string(), "is no file"),
    ] {
        let output = ran(&data, &["run", &path]);
        assert_eq!(output.status.code(), Some(2), "{path}");
        assert!(said(&output).contains(part), "{path}: {}", said(&output));
    }
    assert!(!data.exists());
    let plain = file("plain.md", b"Run `true`.\n");
    assert_eq!(code(&data, &["run", &plain, "--model", "nobody"]), 2);
    assert_eq!(code(&data, &["run", &plain, "--workflow", "nobody"]), 4);
    assert_eq!(code(&data, &["run", &plain, "--repo", &home.path().display().to_string()]), 2);
    assert_eq!(code(&data, &["run", &plain, "--repo", "/nowhere/at/all"]), 2);
    let refused = ran(&data, &["run", &plain, "--repo", "git@example.com:team/a.git"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("the https one"), "{}", said(&refused));
}

#[test]
fn a_data_directory_that_cannot_be_written_is_named() {
    let home = tempfile::tempdir().unwrap();
    let blocked = home.path().join("blocked");
    std::fs::write(&blocked, "a file").unwrap();
    let output = ran(&blocked, &["run", &ticket("word-count")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("data directory"), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_survives_kill_9_at_any_moment() {
    let crashes = from_environment("CENDRIIX_CRASHES", 10);
    let seed = from_environment("CENDRIIX_SEED", fastrand::u64(..));
    eprintln!("CENDRIIX_SEED={seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let tickets = ["fix-failing-test", "several-files", "word-count"];
    for crash in 0..crashes {
        let name = tickets[usize::try_from(crash).unwrap() % tickets.len()];
        let mut command = cendriix(&data);
        command.args(["run", &ticket(name), "--approve"]).stdout(std::process::Stdio::null());
        let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        // Whole tickets take about a second.
        let after = Duration::from_millis(dice.u64(1..1_200));
        let ended = tokio::time::timeout(after, async {
            let mut looks = tokio::time::interval(Duration::from_millis(5));
            while child.try_wait().unwrap().is_none() {
                looks.tick().await;
            }
        });
        drop(ended.await);
        drop(child.kill());
        child.wait().unwrap();
        if data.join("store.redb").exists() {
            let verified = run(&data, &["verify"]);
            let report = said(&verified);
            assert!(verified.status.success(), "seed {seed}, crash {crash}: {report}");
        }
    }
    for name in tickets {
        let output = ran(&data, &["run", &ticket(name), "--approve"]);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(0), "seed {seed}, {name}: {told}");
    }
    for item in runs(&data) {
        assert_eq!(item["status"], "merged", "seed {seed}: {item}");
    }
    assert!(printed(&data, &["verify"]).contains("all sound"));
}

/// Starts a command in front of a model, and reads what it prints up to a line that contains `part`.
fn until(mut command: Command, openai: &FakeOpenAi, part: &str) -> (Child, impl Iterator<Item = String>) {
    openai.show_to(&mut command);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.by_ref().any(|line| line.contains(part)), "{part}");
    (child, lines)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_beside_an_agent_is_answered_while_the_agent_works() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let nodes = json!([
        { "id": "work", "type": "agent", "prompt": "Look at it." },
        { "id": "gate", "type": "approval-gate", "role": "member" },
    ]);
    let file = home.path().join("beside.json");
    std::fs::write(&file, json!({ "name": "beside", "nodes": nodes, "edges": [] }).to_string()).unwrap();
    let openai = FakeOpenAi::start(["one", "two", "three"].map(|text| Turn::Held(text.into()))).await;
    let server = Process::serve_with(&data, |command| openai.show_to(command)).await;
    printed(&data, &["workflows", "create", &file.display().to_string()]);
    let command = |arguments: &[&str]| {
        let mut command = cendriix(&data);
        command.args(arguments);
        command
    };
    let ticket = ticket("word-count");
    let run = ["run", &ticket, "--workflow", "beside"];
    tokio::task::block_in_place(|| {
        let approving = command(&[&run[..], &["--approve"]].concat());
        let (mut child, rest) = until(approving, &openai, "approved: --approve");
        openai.let_go();
        let rest: Vec<String> = rest.collect();
        assert!(rest.iter().any(|line| line.contains("✓ work")), "{rest:?}");
        assert_eq!(child.wait().unwrap().code(), Some(0), "{rest:?}");

        // Where nobody can answer it, the agent's work is waited for.
        let (mut child, rest) = until(command(&run), &openai, "? approve gate");
        let id = text(&runs(&data)[0]["id"]);
        let (mut watch, shown) = until(command(&["runs", "watch", &id]), &openai, "? approve gate");
        openai.let_go();
        for (child, lines) in [(&mut child, rest.collect::<Vec<_>>()), (&mut watch, shown.collect())] {
            assert!(lines.iter().any(|line| line.contains("✓ work")), "{lines:?}");
            assert_eq!(child.wait().unwrap().code(), Some(6), "{lines:?}");
        }
    });
    drop(server);
}
