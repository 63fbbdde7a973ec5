//! What the log says of a request, and what it never holds.

use serde_json::{Value, json};

use crate::kit::{Answer, gated, process::Process, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_what_it_led_to_are_logged_under_its_id_without_secrets() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let server = Process::serve_with(&home.path().join("data"), |command| {
        command.env("CENDRIIX_LOG__LEVEL", "debug").env("CENDRIIX_LOG__FORMAT", "json").stderr(file);
    })
    .await;
    let ada = server.client().login("ada-lovelace").await;
    let body = json!({ "workflowId": ada.workflow(gated()).await, "input": { "title": "a-secret-title" } });
    let run = ada.post("/v1/runs", body).await.expect(201);
    let id = text(&run["id"]);
    let advance = ada.request(reqwest::Method::POST, &format!("/v1/runs/{id}/advance"));
    Answer::of(advance.header("x-request-id", "request-7").json(&json!({}))).await.expect(200);
    assert!(server.terminate().await.success());
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_request = |line: &&Value| {
        let spans = line["spans"].as_array().into_iter().flatten();
        spans.into_iter().any(|span| span["request.id"] == "request-7")
    };
    let ours: Vec<&Value> = lines.iter().filter(of_request).collect();
    let answered = ours.iter().find(|line| line["message"] == "answered").unwrap();
    let span = &answered["span"];
    assert_eq!((&span["method"], &answered["status"]), (&json!("POST"), &json!(200)));
    assert_eq!(span["route"], "/v1/runs/{runId}/advance");
    assert_eq!(span["workspace.id"], run["tenantId"]);
    assert!(answered["duration_ms"].is_u64());
    let saved = ours.iter().find(|line| line["message"] == "saved").unwrap();
    assert_eq!((&saved["span"]["kind"], &saved["span"]["id"]), (&json!("run"), &json!(id)));
    let token = ada.token.unwrap();
    for secret in [token.as_str(), "ada-lovelace@", "a-secret-title"] {
        assert!(!text.contains(secret), "the log holds {secret}");
    }
}
