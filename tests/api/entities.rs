//! What is built to be used again: playbooks that runs were promoted to.

use serde_json::json;

use crate::kit::{TestServer, gated, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_run_becomes_a_playbook_once_and_an_unfinished_one_none() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let workflow = ada.chain(2).await;
    let body = json!({ "workflowId": workflow, "input": { "n": 1 } });
    let run = ada.post_and_wait("/v1/workflows/execute", body).await.expect(202);
    assert_eq!(run["status"], "merged");
    let path = format!("/v1/runs/{}/promote-playbook", text(&run["id"]));
    let answer = ada.post(&path, json!({})).await;
    let location = answer.header("location").to_owned();
    let playbook = answer.expect(201)["playbook"].clone();
    assert_eq!((&playbook["kind"], &playbook["name"]), (&json!("playbook"), &json!("chain")));
    assert_eq!(playbook["spec"]["steps"].as_array().unwrap().len(), 2);
    assert_eq!(playbook["spec"]["source"]["runId"], run["id"]);
    assert_eq!(ada.get(&location).await.expect(200), playbook);
    assert_eq!(ada.post(&path, json!({})).await.expect(201)["playbook"], playbook);
    let listed = ada.get("/v1/entities?kind=playbook").await.expect(200);
    assert_eq!(listed["entities"].as_array().unwrap().len(), 1);
    assert_eq!(ada.get("/v1/entities?kind=skill").await.expect(200)["entities"], json!([]));

    let workflow = ada.workflow(gated()).await;
    let body = json!({ "workflowId": workflow, "input": { "title": "t" } });
    let run = ada.post("/v1/runs", body).await.expect(201);
    let refused = ada.post(&format!("/v1/runs/{}/promote-playbook", text(&run["id"])), json!({})).await;
    assert_eq!(refused.clone().expect(409)["currentStatus"], "planned");
    assert_eq!(refused.body["allowedActions"], json!(["advance", "cancel"]));

    let stranger = server.login("eve").await;
    stranger.get(&location).await.expect(404);
}
