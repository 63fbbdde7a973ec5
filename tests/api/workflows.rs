//! Graphs: keeping, reading and running them.

use serde_json::json;

use crate::kit::{Answer, TestServer, chain, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_kept_read_and_listed() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let created = ada.post("/v1/workflows", chain(2)).await;
    assert_eq!(created.header("etag"), "\"v1\"");
    insta::assert_snapshot!(created.story(), @r#"201 {"createdAt":"<at>","edges":[{"from":"n0","to":"n1"}],"id":"<id>","name":"chain","nodes":[{"id":"n0","logic":{"+":[{"var":"inputs.n"},1]},"type":"transform"},{"id":"n1","logic":{"+":[{"var":"steps.n0.output"},1]},"type":"transform"}],"updatedAt":"<at>","version":1}"#);
    let id = text(&created.body["id"]);
    assert_eq!(ada.get(&format!("/v1/workflows/{id}")).await.expect(200), created.body);
    let list = ada.get("/v1/workflows").await;
    insta::assert_snapshot!(list.story(), @r#"200 {"nextCursor":null,"workflows":[{"createdAt":"<at>","id":"<id>","name":"chain","nodeCount":2,"updatedAt":"<at>","version":1}]}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsound_graph_is_told_what_is_wrong_everywhere() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let graph = json!({
        "name": "",
        "nodes": [{ "id": "a", "type": "transform", "logic": 1 }],
    });
    let refused = ada.post("/v1/workflows", graph).await.expect(422);
    assert_eq!(refused["fieldErrors"]["name"][0], "needs 1 to 200 characters, has 0");
    let graph = json!({ "name": "n", "nodes": [{ "id": "a", "type": "teleport" }] });
    let refused = ada.post("/v1/workflows", graph).await.expect(422);
    assert!(refused["fieldErrors"].to_string().contains("teleport"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn executing_computes_every_node() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = ada.chain(5).await;
    let run =
        ada.post_and_wait("/v1/workflows/execute", json!({ "workflowId": id, "input": { "n": 37 } })).await;
    assert_eq!(run.header("location"), format!("/v1/runs/{}", text(&run.body["id"])));
    let run = run.expect(202);
    assert_eq!((run["status"].as_str(), &run["outputs"]), (Some("merged"), &json!({ "n4": 42 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn five_pure_nodes_take_six_commits() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = ada.chain(5).await;
    let before = server.server.app().store.commits();
    let run = ada
        .post_and_wait("/v1/workflows/execute", json!({ "workflowId": id, "input": { "n": 1 } }))
        .await
        .expect(202);
    assert_eq!(run["version"], 6, "saves of the run");
    assert_eq!(server.server.app().store.commits() - before, 6, "commits of the store");
}

#[tokio::test(flavor = "multi_thread")]
async fn independent_nodes_join_again() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let graph = json!({
        "name": "diamond",
        "nodes": [
            { "id": "top", "type": "transform", "logic": { "var": "inputs.n" } },
            { "id": "left", "type": "transform", "logic": { "*": [{ "var": "steps.top.output" }, 2] } },
            { "id": "right", "type": "transform", "logic": { "*": [{ "var": "steps.top.output" }, 3] } },
            { "id": "sum", "type": "transform", "logic": { "+": ["{{ steps.left.output }}", "{{ steps.right.output }}"] } },
        ],
        "edges": [
            { "from": "top", "to": "left" }, { "from": "top", "to": "right" },
            { "from": "left", "to": "sum" }, { "from": "right", "to": "sum" },
        ],
    });
    let id = ada.workflow(graph).await;
    let run = ada
        .post_and_wait("/v1/workflows/execute", json!({ "workflowId": id, "input": { "n": 7 } }))
        .await
        .expect(202);
    assert_eq!(run["outputs"], json!({ "sum": 35 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_be_computed_fails_the_run_with_a_reason() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let graph =
        json!({ "name": "n", "nodes": [{ "id": "a", "type": "transform", "logic": { "+": ["x", 1] } }] });
    let id = ada.workflow(graph).await;
    let run = ada.post_and_wait("/v1/workflows/execute", json!({ "workflowId": id })).await.expect(202);
    assert_eq!(
        (run["status"].as_str(), run["reason"]["code"].as_str()),
        (Some("failed"), Some("step_failed"))
    );
    assert_eq!(run["allowedActions"], json!(["retry"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_output_goes_on_by_reference() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let graph = json!({
        "name": "large",
        "nodes": [
            { "id": "a", "type": "transform", "logic": ["{{ inputs.text }}", "{{ inputs.text }}"] },
            { "id": "b", "type": "transform", "logic": { "length": [{ "var": "steps.a.output.1" }] } },
        ],
        "edges": [{ "from": "a", "to": "b" }],
    });
    let id = ada.workflow(graph).await;
    let input = json!({ "text": "x".repeat(60_000) });
    let run = ada
        .post_and_wait("/v1/workflows/execute", json!({ "workflowId": id, "input": input }))
        .await
        .expect(202);
    assert_eq!(run["outputs"], json!({ "b": 60_000 }), "{}", run["reason"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_an_input_is_refused() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = ada.chain(1).await;
    let input = json!({ "text": "x".repeat(300_000) });
    let refused =
        ada.post("/v1/workflows/execute", json!({ "workflowId": id, "input": input })).await.expect(422);
    assert!(refused["fieldErrors"]["input"][0].as_str().unwrap().contains("262144"), "{refused}");
    let input = json!({ "text": "x".repeat(2_000_000) });
    ada.post("/v1/workflows/execute", json!({ "workflowId": id, "input": input })).await.expect(413);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_idempotency_key_runs_once() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = ada.chain(1).await;
    let ask = |key: &'static str, n: u32| {
        let request =
            ada.request(reqwest::Method::POST, "/v1/workflows/execute").header("idempotency-key", key);
        Answer::of(request.json(&json!({ "workflowId": id, "input": { "n": n } })))
    };
    let first = ask("k1", 1).await.expect(202);
    assert_eq!(ask("k1", 1).await.expect(202)["id"], first["id"]);
    assert_ne!(ask("k2", 1).await.expect(202)["id"], first["id"]);
    let other = ask("k1", 2).await.expect(422);
    assert!(other["fieldErrors"]["Idempotency-Key"].is_array(), "{other}");
    let at_once = futures::future::join_all((0..8).map(|_| ask("k3", 1))).await;
    let runs: std::collections::BTreeSet<String> =
        at_once.iter().filter(|answer| answer.status == 202).map(|answer| text(&answer.body["id"])).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    assert!(at_once.iter().all(|answer| answer.status == 202 || answer.status == 409));
}
