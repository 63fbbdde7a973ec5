//! Agents at work on a repository: from a ticket to a merged change, through a scripted model.

use std::path::Path;

use cendriix_protocol::money::MicroUsd;
use serde_json::{Value, json};

use super::runs::events;
use crate::kit::{
    Answer, TestClient, TestServer, git,
    openai::{FakeOpenAi, Turn},
    text,
};

/// A server in front of a scripted model.
async fn server(turns: impl IntoIterator<Item = Turn>) -> (TestServer, FakeOpenAi) {
    let openai = FakeOpenAi::start(turns).await;
    let server = TestServer::start_with(|config| openai.configure(config, &["m"])).await;
    (server, openai)
}

/// Agents, tests, a review and a merge behind a gate.
fn shipping() -> Value {
    json!({
        "name": "ship-from-ticket",
        "nodes": [
            { "id": "implement", "type": "agent", "decompose": true },
            { "id": "tests", "type": "run-tests" },
            { "id": "review", "type": "review" },
            { "id": "merge", "type": "merge" },
        ],
        "edges": [
            { "from": "implement", "to": "tests" },
            { "from": "tests", "to": "review" },
            { "from": "review", "to": "merge" },
        ],
    })
}

/// One agent, and nothing after it.
fn agent(prompt: &str) -> Value {
    json!({ "name": "one agent", "nodes": [{ "id": "work", "type": "agent", "prompt": prompt }], "edges": [] })
}

fn plan(steps: &[(&str, &[&str])]) -> Turn {
    let steps = steps.iter().map(|(id, depends_on)| {
        json!({
            "id": id, "name": format!("Do {id}"), "agent": "dev", "taskType": "code_generation",
            "dependsOn": depends_on, "prompt": format!("Do what {id} asks for."),
            "confidenceScore": 0.8, "reasons": ["it is small"],
        })
    });
    Turn::text(&json!({ "steps": steps.collect::<Vec<_>>() }).to_string())
}

fn approved() -> Turn {
    Turn::text(r#"{"verdict":"approve","summary":"It does what was asked.","findings":[]}"#)
}

fn write(path: &str, content: &str) -> Turn {
    Turn::call("write_file", json!({ "path": path, "content": content }))
}

async fn planned(client: &TestClient, definition: Value, repository: Value) -> Value {
    let workflow = client.workflow(definition).await;
    let input = json!({ "title": "Count words", "body": "Write a word counter." });
    let body = json!({ "workflowId": workflow, "input": input, "repository": repository });
    client.post("/v1/runs", body).await.expect(201)
}

async fn advance(client: &TestClient, run: &Value) -> Value {
    client.post_and_wait(&format!("/v1/runs/{}/advance", text(&run["id"])), json!({})).await.expect(200)
}

/// Approves the only gate and waits until the run rests.
async fn approve(client: &TestClient, run: &Value) -> Value {
    let path = format!("/v1/runs/{}/approve", text(&run["id"]));
    client.post(&path, json!({})).await.expect(200);
    rested(client, run).await
}

/// The run once nothing goes on by itself.
async fn rested(client: &TestClient, run: &Value) -> Value {
    let path = format!("/v1/runs/{}", text(&run["id"]));
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
    loop {
        looks.tick().await;
        let run = client.get(&path).await.expect(200);
        let is_idle = run["steps"].as_array().unwrap().iter().all(|step| step["status"] != "running");
        let is_done = ["merged", "failed", "cancelled"].contains(&run["status"].as_str().unwrap());
        if is_done || (is_idle && !run["gates"].as_array().unwrap().is_empty()) {
            return run;
        }
    }
}

fn path_of(run: &Value) -> std::path::PathBuf {
    text(&run["repository"]["path"]).into()
}

async fn steps(client: &TestClient, run: &Value) -> Vec<Value> {
    let list = client.get(&format!("/v1/agent/runs/{}/steps", text(&run["id"]))).await.expect(200);
    let mut steps = Vec::new();
    for item in list["steps"].as_array().unwrap() {
        steps.push(client.get(&format!("/v1/agent/steps/{}", text(&item["id"]))).await.expect(200));
    }
    steps
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_becomes_a_merged_change() {
    let (server, openai) = server([
        plan(&[("step-1", &[])]),
        write("count.sh", "wc -w\n"),
        Turn::Calls(vec![
            (
                "write_file".into(),
                json!({ "path": "test.sh", "content": "test $(echo a b | sh count.sh) = 2\n" }),
            ),
            ("run_command".into(), json!({ "command": "sh test.sh && echo fine" })),
        ]),
        Turn::text("I wrote count.sh and a test."),
        approved(),
    ])
    .await;
    let ada = server.login("ada").await;
    let run = planned(&ada, shipping(), json!({ "project": "words" })).await;
    assert_eq!((&run["status"], &run["plan"]["planner"]), (&json!("planned"), &json!("m")));
    assert_eq!(run["plan"]["steps"][0]["reasons"], json!(["it is small"]));
    let run = advance(&ada, &run).await;
    assert_eq!(run["status"], "merge-approval", "{run}");
    let pinned = text(&run["gates"][0]["pinned"]);
    let diff = ada.get(&format!("/v1/runs/{}/diff", text(&run["id"]))).await.expect(200);
    assert_eq!(diff["commit"], pinned.as_str());
    assert!(text(&diff["patch"]).contains("+wc -w"), "{diff}");
    let run = approve(&ada, &run).await;
    assert_eq!((&run["status"], &run["allowedActions"]), (&json!("merged"), &json!([])), "{run}");

    let log = git(path_of(&run), &["log", "--format=%H %s", "main"]);
    assert!(log.contains(&pinned) && log.contains("Count words") && log.contains("Do step-1"), "{log}");
    assert_eq!(git(path_of(&run), &["show", "main:count.sh"]), "wc -w\n");

    let [step] = &steps(&ada, &run).await[..] else { panic!("one step") };
    assert_eq!((&step["status"], &step["stopReason"]), (&json!("succeeded"), &json!("end_turn")));
    assert_eq!((&step["turnCount"], &step["nodeId"]), (&json!(3), &json!("step-1")));
    let result = &step["turns"][1]["toolCalls"][1]["result"];
    assert_eq!((&result["isError"], &result["text"]), (&json!(false), &json!("exit code 0\nfine")));
    assert!(step["totalTokens"].as_u64().unwrap() > 0);
    // What came of each call is told to the model.
    let third = openai.requests()[3].body["messages"].to_string();
    assert!(third.contains("fine") && third.contains("count.sh"), "{third}");
    let lifecycle = ada.get(&format!("/v1/runs/{}/lifecycle", text(&run["id"]))).await.expect(200);
    let merged =
        lifecycle["stages"].as_array().unwrap().iter().find(|stage| stage["id"] == "merged").unwrap();
    assert_eq!((&merged["reached"], &merged["current"]), (&json!(true), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn red_tests_lead_back_to_an_agent_that_is_told_what_failed() {
    let (server, openai) = server([
        plan(&[("step-1", &[])]),
        write("test.sh", "echo 'expected 2 words, got 3' >&2; exit 4\n"),
        Turn::text("Done."),
        write("test.sh", "exit 0\n"),
        Turn::text("Mended."),
        approved(),
    ])
    .await;
    let ada = server.login("ada").await;
    let run = planned(&ada, shipping(), json!({ "project": "words" })).await;
    let run = advance(&ada, &run).await;
    assert_eq!(run["status"], "merge-approval", "{run}");
    assert_eq!(run["steps"][1]["id"], "fix-1");
    let told = openai.requests()[3].body["messages"].to_string();
    assert!(told.contains("What failed") && told.contains("expected 2 words, got 3"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn blocking_findings_of_a_review_lead_back_twice_and_then_fail_the_run() {
    let finding = r#"{"verdict":"request_changes","summary":"There is a secret in it.","findings":[
        {"severity":"blocking","path":"a.txt","line":1,"message":"a password"}]}"#;
    let round =
        |number: u32| [write("a.txt", &format!("{number}\n")), Turn::text("Done."), Turn::text(finding)];
    let turns = [plan(&[("step-1", &[])])].into_iter().chain((0..3).flat_map(round));
    let (server, openai) = server(turns).await;
    let ada = server.login("ada").await;
    let run = planned(&ada, shipping(), json!({ "project": "p" })).await;
    let run = advance(&ada, &run).await;
    assert_eq!(
        (&run["status"], &run["reason"]["code"]),
        (&json!("failed"), &json!("review_failed")),
        "{run}"
    );
    assert!(openai.requests()[4].body["messages"].to_string().contains("a password"));

    // A retry of everything plans no fixes, but what they did is still told.
    ada.post_and_wait(&format!("/v1/runs/{}/retry", text(&run["id"])), json!({})).await.expect(202);
    let all = steps(&ada, &run).await;
    let [_, _, fix] = &all[..3] else { panic!("{all:?}") };
    let is_it = |event: &Value| event["type"] == "NODE_RUN_STARTED" && event["agentStepId"] == fix["id"];
    let events = told(&ada, &run, 0).await;
    let place = events.iter().position(is_it).unwrap();
    assert_eq!((&events[place]["nodeId"], &events[place]["attempt"]), (&json!("fix-2"), &json!(1)));
    assert!(events.iter().all(|event| event["nodeId"] != ""), "{events:?}");
    // Also for a reader that comes back in the middle of it.
    assert_eq!(told(&ada, &run, place).await, events[place..]);
}

/// The events of a run so far, after one of them.
async fn told(client: &TestClient, run: &Value, after: usize) -> Vec<Value> {
    let path = format!("/v1/workflow-runs/{}/stream?follow=false&lastEventId={after}", text(&run["id"]));
    let stream = client.get(&path).await.expect(200);
    let events = stream.as_str().unwrap().lines().filter_map(|line| line.strip_prefix("data: "));
    events.map(|event| serde_json::from_str(event).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_that_do_not_depend_on_each_other_are_joined() {
    let (server, _openai) = server([
        plan(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"])]),
        Turn::text("a"),
        Turn::text("b or c"),
        Turn::text("b or c"),
        write("d.txt", "d\n"),
        Turn::text("d"),
        approved(),
    ])
    .await;
    let ada = server.login("ada").await;
    let run = planned(&ada, shipping(), json!({ "project": "p" })).await;
    let run = advance(&ada, &run).await;
    assert_eq!(run["status"], "merge-approval", "{run}");
    let run = approve(&ada, &run).await;
    assert_eq!(git(path_of(&run), &["show", "main:d.txt"]), "d\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_changes_nothing_is_merged_without_a_gate() {
    let (server, _openai) = server([plan(&[("a", &[])]), Turn::text("There is nothing to do.")]).await;
    let ada = server.login("ada").await;
    let run = planned(&ada, shipping(), json!({ "project": "p" })).await;
    let run = advance(&ada, &run).await;
    assert_eq!((&run["status"], &run["repository"]["commit"]), (&json!("merged"), &Value::Null), "{run}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_on_the_disk_is_worked_on_and_its_checkout_brought_along() {
    let home = tempfile::tempdir().unwrap();
    git(home.path(), &["init", "-q"]);
    std::fs::write(home.path().join("a.txt"), "one\n").unwrap();
    git(home.path(), &["add", "."]);
    git(home.path(), &["commit", "-qm", "first"]);
    let patch = "--- a/a.txt\n+++ b/a.txt\n@@ -1 +1 @@\n-one\n+two\n";
    let (server, _openai) =
        server([Turn::call("apply_patch", json!({ "patch": patch })), Turn::text("Done.")]).await;
    let ada = server.login("ada").await;
    let mut definition = agent("Change a.txt for {{ inputs.title }}");
    definition["nodes"].as_array_mut().unwrap().push(json!({ "id": "merge", "type": "merge" }));
    definition["edges"] = json!([{ "from": "work", "to": "merge" }]);
    let run = planned(&ada, definition, json!({ "path": home.path() })).await;
    let run = advance(&ada, &run).await;
    assert_eq!(run["status"], "merge-approval", "{run}");
    assert_eq!(std::fs::read_to_string(home.path().join("a.txt")).unwrap(), "one\n");

    // Work of the user's own is never overwritten.
    std::fs::write(home.path().join("a.txt"), "mine\n").unwrap();
    let run = approve(&ada, &run).await;
    assert_eq!(run["status"], "merge-approval", "{run}");
    let subject = text(&run["gates"][0]["subject"]);
    assert!(subject.contains("could not be done") && subject.contains("a.txt"), "{subject}");
    assert_eq!(std::fs::read_to_string(home.path().join("a.txt")).unwrap(), "mine\n");

    // Whoever has made way approves once more, and no agent works again.
    git(home.path(), &["checkout", "-q", "a.txt"]);
    let run = approve(&ada, &run).await;
    assert_eq!(run["status"], "merged", "{run}");
    assert_eq!(std::fs::read_to_string(home.path().join("a.txt")).unwrap(), "two\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_cannot_be_used_is_refused_with_a_reason() {
    let (server, _openai) = server([]).await;
    let ada = server.login("ada").await;
    let workflow = ada.workflow(agent("x")).await;
    let nowhere = tempfile::tempdir().unwrap();
    for (repository, said) in [
        (json!({ "path": "relative" }), "absolute"),
        (json!({ "path": nowhere.path() }), "no git repository"),
        (json!({ "project": "No Good" }), "a-z"),
        (json!({ "project": "a", "path": "/b" }), "exactly one"),
        (json!({ "path": "https://example.com/x.git" }), "repository.url"),
        (json!({}), "exactly one"),
    ] {
        let body = json!({ "workflowId": workflow, "input": { "title": "t" }, "repository": repository });
        let refused = ada.post("/v1/runs", body).await.expect(422);
        assert!(refused["fieldErrors"].to_string().contains(said), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_folders_that_the_operator_names_can_be_reached_once_there_are_some() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for folder in [&home, &elsewhere] {
        git(folder.path(), &["init", "-q"]);
    }
    let openai = FakeOpenAi::start([]).await;
    let server = TestServer::start_with(|config| {
        openai.configure(config, &["m"]);
        config.repositories.allow = vec![home.path().to_owned()];
    })
    .await;
    let ada = server.login("ada").await;
    let workflow = ada.workflow(agent("x")).await;
    let body = |path: &Path| json!({ "workflowId": workflow, "input": { "title": "t" }, "repository": { "path": path } });
    ada.post("/v1/runs", body(home.path())).await.expect(201);
    let refused = ada.post("/v1/runs", body(elsewhere.path())).await.expect(422);
    assert!(refused.to_string().contains("repositories.allow"), "{refused}");
}

async fn alone(client: &TestClient, run: &Value, change: Value) -> Answer {
    let mut body = json!({ "runId": run["id"], "name": "look", "prompt": "Look at it." });
    body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    client.post("/v1/agent/steps", body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_by_itself_answers_when_it_has_ended() {
    let (server, _openai) = server([
        Turn::Calls(vec![
            ("no_such_tool".into(), json!({})),
            ("read_file".into(), json!({ "path": "../../etc/passwd" })),
            ("list_files".into(), json!({})),
        ]),
        Turn::text("There is nothing."),
    ])
    .await;
    let ada = server.login("ada").await;
    let run = planned(&ada, agent("x"), json!({ "project": "p" })).await;
    let answer = alone(&ada, &run, json!({})).await;
    let location = answer.header("location").to_owned();
    let step = answer.expect(201);
    assert_eq!(location, format!("/v1/agent/steps/{}", text(&step["id"])));
    assert_eq!((&step["stopReason"], &step["output"]), (&json!("end_turn"), &json!("There is nothing.")));
    let errors: Vec<&Value> = step["turns"][0]["toolCalls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| &call["result"]["isError"])
        .collect();
    assert_eq!(errors, [&json!(true), &json!(true), &json!(false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_by_itself_is_paid_for_by_its_run_and_stopped_with_it() {
    let openai = FakeOpenAi::start([Turn::text("It is small."), Turn::Held("It is late.".into())]).await;
    let server = TestServer::start_with(|config| {
        openai.configure(config, &["m"]);
        config.models.openai.models[0].usd_per_mtok_in = Some(MicroUsd(1_000_000_000));
    })
    .await;
    let ada = server.login("ada").await;
    let run = planned(&ada, agent("x"), json!({ "project": "p" })).await;
    let (id, path) = (text(&run["id"]), format!("/v1/runs/{}", text(&run["id"])));
    let step = alone(&ada, &run, json!({})).await.expect(201);
    events(&ada, &id, 0, |name| name == "AGENT_STEP_ENDED").await;
    let run = ada.get(&path).await.expect(200);
    assert!(run["costUsd"].as_f64().unwrap() > 0.0, "{run}");
    assert_eq!(run["costUsd"], step["costUsd"]);

    let held = async {
        let step = alone(&ada, &run, json!({ "name": "late" })).await.expect(201);
        assert_eq!(step["stopReason"], "cancelled", "{step}");
    };
    let cancelled = async {
        openai.arrived(2).await;
        ada.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    };
    tokio::join!(held, cancelled);
    let steps = ada.get(&format!("/v1/agent/runs/{id}/steps")).await.expect(200);
    assert_eq!(steps["steps"][1]["status"], "cancelled", "{steps}");
    let refused = alone(&ada, &run, json!({})).await.expect(409);
    assert_eq!(refused["currentStatus"], "cancelled", "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_turns_of_a_step_are_cut_where_it_is_shown_and_whole_in_its_stream() {
    let content = "a long line\n".repeat(30_000);
    let turn = |name: &str| write(name, &content);
    let openai = FakeOpenAi::start([turn("a"), turn("b"), turn("c"), Turn::text(&content)]).await;
    let server = TestServer::start_with(|config| {
        openai.configure(config, &["m"]);
        config.models.openai.models[0].context = Some(2_000_000);
    })
    .await;
    let ada = server.login("ada").await;
    let run = planned(&ada, agent("x"), json!({ "project": "p" })).await;
    let step = alone(&ada, &run, json!({ "policy": { "tokenBudget": 10_000_000 } })).await.expect(201);
    assert_eq!(
        (&step["status"], &step["truncated"]),
        (&json!("succeeded"), &json!(true)),
        "{}",
        step["error"]
    );
    assert!(step.to_string().len() < (1 << 20) + (64 << 10) + 4_000, "{}", step.to_string().len());
    let arguments = &step["turns"][0]["toolCalls"][0]["arguments"];
    assert_eq!((&arguments["path"], &step["turns"][0]["truncated"]), (&json!("a"), &json!(true)));
    assert!(text(&arguments["content"]).ends_with('…') && text(&step["output"]).ends_with('…'));
    let stream = ada.get(&format!("/v1/agent/steps/{}/stream", text(&step["id"]))).await.expect(200);
    let whole = serde_json::to_string(&content).unwrap();
    assert_eq!(stream.as_str().unwrap().matches(&whole).count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_asked_twice_with_one_key_is_done_once() {
    let (server, _openai) = server([Turn::text("There is nothing."), Turn::text("I was asked again.")]).await;
    let ada = server.login("ada").await;
    let run = planned(&ada, agent("x"), json!({ "project": "p" })).await;
    let ask = async |prompt: &str| {
        let body = json!({ "runId": run["id"], "name": "look", "prompt": prompt });
        let request = ada.request(reqwest::Method::POST, "/v1/agent/steps");
        Answer::of(request.header("idempotency-key", "look-1").json(&body)).await
    };
    let first = ask("Look at it.").await.expect(201);
    // Nor does the end of the run change what was answered.
    ada.post(&format!("/v1/runs/{}/cancel", text(&run["id"])), json!({})).await.expect(200);
    assert_eq!(ask("Look at it.").await.expect(201), first);
    let refused = ask("Look at something else.").await.expect(422);
    assert!(refused.to_string().contains("another body"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_goes_round_in_circles_or_on_for_too_long_is_ended() {
    let list = || Turn::call("list_files", json!({}));
    let (server, openai) = server([list(), list(), list()]).await;
    let ada = server.login("ada").await;
    let run = planned(&ada, agent("x"), json!({ "project": "p" })).await;
    let step = alone(&ada, &run, json!({})).await.expect(201);
    assert_eq!((&step["status"], &step["stopReason"]), (&json!("failed"), &json!("loop")), "{step}");
    openai.script([list()]);
    let step = alone(&ada, &run, json!({ "policy": { "maxIterations": 1 } })).await.expect(201);
    assert_eq!(step["stopReason"], "max_iterations", "{step}");
    openai.script([list()]);
    let step = alone(&ada, &run, json!({ "policy": { "tokenBudget": 1 } })).await.expect(201);
    assert_eq!(step["stopReason"], "token_budget", "{step}");
    let step = alone(&ada, &run, json!({})).await.expect(201);
    assert_eq!(step["stopReason"], "model_error", "the script is over: {step}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_with_wrong_fields_is_refused_with_all_of_them() {
    let (server, _openai) = server([]).await;
    let ada = server.login("ada").await;
    let run = planned(&ada, agent("x"), json!({ "project": "p" })).await;
    let wrong = json!({
        "name": "", "prompt": " ", "allowedConnectorIds": ["github"],
        "policy": { "maxIterations": 0, "toolTimeoutMs": 9_999_999 },
    });
    let refused = alone(&ada, &run, wrong).await.expect(422);
    let fields: Vec<&String> = refused["fieldErrors"].as_object().unwrap().keys().collect();
    assert_eq!(
        fields,
        ["allowedConnectorIds[0]", "name", "policy.maxIterations", "policy.toolTimeoutMs", "prompt"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_an_agent_that_waits_for_its_model() {
    let (server, openai) = server([Turn::Held("too late".into())]).await;
    let ada = server.login("ada").await;
    let run = planned(&ada, agent("x"), json!({ "project": "p" })).await;
    let path = format!("/v1/runs/{}", text(&run["id"]));
    ada.post(&format!("{path}/advance"), json!({})).await.expect(200);
    openai.arrived(1).await;
    let cancel = async |body: Value| {
        let request = ada.request(reqwest::Method::POST, &format!("{path}/cancel"));
        Answer::of(request.header("idempotency-key", "c").json(&body)).await
    };
    cancel(json!({})).await.expect(200);
    // Asked again with the key, it changes nothing, whether or not there is anything left to do.
    cancel(json!({})).await.expect(200);
    let run = rested(&ada, &run).await;
    assert_eq!(run["status"], "cancelled", "{run}");
    let [step] = &steps(&ada, &run).await[..] else { panic!("one step") };
    assert_eq!(step["stopReason"], "cancelled");
}

/// How many processes of this machine have an argument like that.
fn processes(argument: &str) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let said = all.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    said.filter(|said| said.split(|byte| *byte == 0).any(|said| said == argument.as_bytes())).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_ends_a_command_with_all_that_it_started() {
    let command = "sleep 98761 & setsid sleep 98761 & printf 'be%s' gun; sleep 98761";
    let (server, _openai) = server([Turn::call("run_command", json!({ "command": command }))]).await;
    let ada = server.login("ada").await;
    let run = planned(&ada, agent("x"), json!({ "project": "p" })).await;
    let path = format!("/v1/runs/{}", text(&run["id"]));
    ada.post(&format!("{path}/advance"), json!({})).await.expect(200);
    let list = ada.get(&format!("/v1/agent/runs/{}/steps", text(&run["id"]))).await.expect(200);
    let step = text(&list["steps"][0]["id"]);
    let stream = ada.request(reqwest::Method::GET, &format!("/v1/agent/steps/{step}/stream"));
    let mut stream = stream.send().await.unwrap();
    let mut told = String::new();
    while !told.contains("begun") {
        told.push_str(&String::from_utf8_lossy(&stream.chunk().await.unwrap().unwrap()));
    }
    let mut looks = tokio::time::interval(std::time::Duration::from_millis(5));
    while processes("98761") < 3 {
        looks.tick().await;
    }
    ada.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    let run = rested(&ada, &run).await;
    assert_eq!((&run["status"], processes("98761")), (&json!("cancelled"), 0), "{run}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_goes_on_after_a_restart_from_what_its_calls_had_done() {
    let (server, openai) =
        server([write("a.txt", "kept\n"), Turn::Held("lost with the server".into())]).await;
    let ada = server.login("ada").await;
    let run = planned(&ada, agent("x"), json!({ "project": "p" })).await;
    ada.post(&format!("/v1/runs/{}/advance", text(&run["id"])), json!({})).await.expect(200);
    openai.arrived(2).await;
    openai.script([Turn::call("read_file", json!({ "path": "a.txt" })), Turn::text("It is there.")]);
    let server = server.restart_with(|config| openai.configure(config, &["m"])).await;
    let ada = server.login("ada").await;
    let run = rested(&ada, &run).await;
    assert_eq!(run["status"], "merged", "{run}");
    let [step] = &steps(&ada, &run).await[..] else { panic!("one step") };
    assert_eq!(step["turns"][1]["toolCalls"][0]["result"]["text"], "kept\n", "{step}");
    // The call that was lost with the server counts as spent.
    let turns = step["turns"].as_array().unwrap().iter();
    let of = |turn: &Value| turn["inputTokens"].as_u64().unwrap() + turn["outputTokens"].as_u64().unwrap();
    let lost = step["totalTokens"].as_u64().unwrap() - turns.map(of).sum::<u64>();
    assert_eq!(lost, of(&step["turns"][1]), "{step}");
}
