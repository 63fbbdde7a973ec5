//! The command line on a data directory that no server holds.

use std::path::Path;

use serde_json::{Value, json};

use crate::kit::{
    TestClient, chain,
    openai::{FakeOpenAi, Turn},
    process::{Process, cendriix},
    text,
};

/// What a command ended with, printed and said.
struct Ended {
    code: Option<i32>,
    printed: String,
    said: String,
}

/// The person that the commands log in as.
const ADA: &str = "local:ada";

/// Runs a command in front of a model.
fn ended(data: &Path, openai: &FakeOpenAi, arguments: &[&str]) -> Ended {
    let mut command = cendriix(data);
    openai.show_to(&mut command);
    let output = command.env("USER", "ada").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), printed: text(&output.stdout), said: text(&output.stderr) }
}

fn get(data: &Path, openai: &FakeOpenAi, run: &str) -> Value {
    serde_json::from_str(&ended(data, openai, &["runs", "get", run, "--json"]).printed).unwrap()
}

/// A run of these nodes that goes on, and its id.
async fn going(client: &TestClient, nodes: Value) -> String {
    let workflow = client.workflow(json!({ "name": "w", "nodes": nodes, "edges": [] })).await;
    let body = json!({ "workflowId": workflow, "input": { "title": "t" }, "repository": { "project": "p" } });
    let run = text(&client.post("/v1/runs", body).await.expect(201)["id"]);
    client.post(&format!("/v1/runs/{run}/advance"), json!({})).await.expect(200);
    run
}

fn agent() -> Value {
    json!({ "id": "work", "type": "agent", "prompt": "Look at it." })
}

/// A server with runs of these nodes, killed once their agents have asked the model.
async fn killed(data: &Path, openai: &FakeOpenAi, runs: &[Value]) -> Vec<String> {
    let server = Process::serve_with(data, |command| openai.show_to(command)).await;
    let ada = server.client().login(ADA).await;
    let mut ids = Vec::new();
    for nodes in runs {
        ids.push(going(&ada, nodes.clone()).await);
    }
    openai.arrived(runs.len()).await;
    server.kill();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_look_leave_an_unfinished_run_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let openai = FakeOpenAi::start([Turn::Held("lost with the server".into())]).await;
    let run = &killed(&data, &openai, &[json!([agent()])]).await[0];
    // Whoever asks the model again is answered.
    openai.script([Turn::text("Done.")]);
    let watched = ended(&data, &openai, &["runs", "watch", run]);
    assert_eq!(watched.code, Some(1), "{}", watched.said);
    assert!(
        watched.printed.contains("▶ work") && watched.said.contains("cendriix serve"),
        "{}",
        watched.said
    );
    let explained = ended(&data, &openai, &["runs", "why", run]);
    let told = format!("{}{}", explained.printed, explained.said);
    assert!(told.contains("step") && told.contains("no server runs"), "{told}");
    for look in
        [&["runs", "list"][..], &["runs", "steps", run], &["runs", "diff", run], &["workflows", "list"]]
    {
        let looked = ended(&data, &openai, look);
        assert_eq!((looked.code, looked.said.as_str()), (Some(0), ""), "{look:?}");
    }
    assert_eq!(get(&data, &openai, run)["status"], "executing");
    assert_eq!(openai.requests().len(), 1, "nobody asked the model again");

    let cancelled = ended(&data, &openai, &["runs", "cancel", run, "--json"]);
    assert_eq!(cancelled.code, Some(0), "{}", cancelled.said);
    assert!(cancelled.printed.contains("\"status\": \"cancelled\""), "{}", cancelled.printed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_acts_goes_on_with_its_own_run_and_no_other() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let held = || Turn::Held("lost with the server".into());
    let openai = FakeOpenAi::start([held(), held()]).await;
    let gate = json!({ "id": "gate", "type": "approval-gate", "role": "member" });
    let runs = killed(&data, &openai, &[json!([agent(), gate]), json!([agent()])]).await;
    openai.script([Turn::text("Done.")]);
    let approved = ended(&data, &openai, &["runs", "approve", &runs[0]]);
    assert_eq!(approved.code, Some(0), "{}", approved.said);
    assert!(approved.printed.contains("merged") && approved.said.contains("no server runs"));
    assert_eq!(get(&data, &openai, &runs[1])["status"], "executing");
    assert_eq!(openai.requests().len(), 3, "only one agent asked again");
    assert!(ended(&data, &openai, &["verify"]).printed.contains("all sound"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_run_that_no_server_could_go_on_with_is_finished_first() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let openai = FakeOpenAi::start([Turn::Held("lost with the server".into())]).await;
    killed(&data, &openai, &[json!([agent()])]).await;
    let workflow = home.path().join("chain.json");
    std::fs::write(&workflow, chain(2).to_string()).unwrap();
    let created = ended(&data, &openai, &["workflows", "create", &workflow.display().to_string(), "--json"]);
    let created: Value = serde_json::from_str(&created.printed).unwrap();
    let execute = ["workflows", "execute", &text(&created["id"]), "--input", r#"{"n":1}"#, "--detach"];
    let executed = ended(&data, &openai, &execute);
    assert!(executed.printed.contains("n1 = 3"), "{}{}", executed.printed, executed.said);
}
