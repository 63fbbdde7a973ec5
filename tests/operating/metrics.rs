//! `/metrics`: who sees it, and that all that is documented is there.

use std::collections::BTreeSet;

use cendriix_actors::secret::Secret;
use serde_json::json;

use crate::kit::{
    Answer, TestClient, TestServer, gated,
    openai::{FakeOpenAi, Turn},
    text,
};

/// Names in the table of `docs/metrics.md`.
fn documented() -> BTreeSet<String> {
    let page = include_str!("../../docs/metrics.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| Some(row.split_once('`')?.0.to_owned())).collect()
}

/// The value of a line.
fn value(page: &str, line: &str) -> f64 {
    let found = page.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{line} is not among\n{page}")).parse().unwrap()
}

async fn page(client: &TestClient) -> String {
    text(&client.get("/metrics").await.expect(200))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_metric_is_there_and_no_other() {
    let server = TestServer::start().await;
    let secret = server.server.app().control_token.clone();
    let page = page(&server.stranger().with_token(&secret)).await;
    let helps = page.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let shown: BTreeSet<String> = helps.map(|help| help.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(shown, documented());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted_under_names_of_the_program_only() {
    let openai = FakeOpenAi::start(vec![Turn::text("hello")]).await;
    let server = TestServer::start_with(|config| {
        openai.configure(config, &["m"]);
        config.admin.metrics_token = Secret::new("metrics-1");
    })
    .await;
    let ada = server.login("ada").await;
    let body = json!({ "workflowId": ada.workflow(gated()).await, "input": { "title": "t" } });
    let run = ada.post_and_wait("/v1/workflows/execute", body).await.expect(202);
    let id = text(&run["id"]);
    ada.post_and_wait(&format!("/v1/runs/{id}/approve"), json!({})).await.expect(200);
    ada.post("/v1/model-router/complete", json!({ "prompt": "hi" })).await.expect(200);
    ada.get(&format!("/nowhere/{id}?secret")).await.expect(404);
    let page = page(&server.stranger().with_token("metrics-1")).await;
    for (line, least) in [
        (
            "cendriix_http_requests_total{method=\"POST\",route=\"/v1/runs/{runId}/approve\",status=\"2xx\"}",
            1.0,
        ),
        ("cendriix_http_requests_total{method=\"any\",route=\"unmatched\",status=\"4xx\"}", 1.0),
        ("cendriix_http_requests_in_flight{method=\"GET\",route=\"/metrics\"}", 1.0),
        (
            "cendriix_http_request_duration_seconds_count{method=\"POST\",route=\"/v1/workflows/execute\"}",
            1.0,
        ),
        ("cendriix_http_connections_open", 1.0),
        ("cendriix_store_commits_total", 5.0),
        ("cendriix_store_commit_saves_count", 5.0),
        ("cendriix_store_file_bytes", 4096.0),
        ("cendriix_entities_wakes_total{kind=\"run\"}", 1.0),
        ("cendriix_runs_created_total", 1.0),
        ("cendriix_runs_ended_total{status=\"merged\"}", 1.0),
        ("cendriix_steps_ended_total{outcome=\"succeeded\"}", 2.0),
        ("cendriix_gates_opened_total{kind=\"step\"}", 1.0),
        ("cendriix_gates_closed_total{decision=\"approved\"}", 1.0),
        ("cendriix_model_calls_total{model=\"m\",outcome=\"answered\"}", 1.0),
        ("cendriix_model_tokens_total{kind=\"output\",model=\"m\"}", 1.0),
        ("cendriix_model_breaker_open{model=\"m\"}", 0.0),
        ("process_resident_memory_bytes", 1_000_000.0),
        ("process_open_fds", 3.0),
        ("process_start_time_seconds", 1_700_000_000.0),
    ] {
        let found = value(&page, line);
        assert!(found >= least, "{line} {found}");
    }
    assert!(!page.contains(&id) && !page.contains("secret") && !page.contains("nowhere"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_for_whoever_has_the_token() {
    let server = TestServer::start_with(|config| {
        config.admin.metrics_token = Secret::new("metrics-1");
        config.admin.listen = Some(([127, 0, 0, 1], 0).into());
    })
    .await;
    let admin = TestClient::new(format!("http://{}", server.server.admin_addr().unwrap()));
    for client in [server.stranger(), admin.clone()] {
        client.get("/metrics").await.expect(401);
        client.clone().with_token("metrics-2").get("/metrics").await.expect(401);
        let answer = client.with_token("metrics-1").get("/metrics").await;
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4");
        answer.expect(200);
    }
    server.login("ada").await.get("/metrics").await.expect(401);
    admin.get("/readyz").await.expect(200);
    assert_eq!(admin.get("/v1/runs").await.status, 404, "the second address serves nothing else");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_address_is_open_on_loopback() {
    let server =
        TestServer::start_with(|config| config.admin.listen = Some(([127, 0, 0, 1], 0).into())).await;
    let admin = TestClient::new(format!("http://{}", server.server.admin_addr().unwrap()));
    assert!(page(&admin).await.contains("cendriix_runs_created_total 0"));
    let empty = server.stranger().request(reqwest::Method::GET, "/metrics").bearer_auth("");
    Answer::of(empty).await.expect(401);
}
