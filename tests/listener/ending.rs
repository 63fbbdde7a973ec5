//! How a server ends: it says so, lets go on what goes on, and then ends, at the latest after its patience.

use futures::StreamExt as _;
use serde_json::json;
use tempfile::TempDir;

use super::{Raw, beside, within};
use crate::kit::{TestClient, TestServer, gated, process::Process, text};

/// Starts a run that waits at its gate, and follows it.
async fn followed(ada: &TestClient) -> reqwest::Response {
    let body = json!({ "workflowId": ada.workflow(gated()).await, "input": { "title": "t" } });
    let run = text(&ada.post("/v1/runs", body).await.expect(201)["id"]);
    let path = format!("/v1/workflow-runs/{run}/stream");
    let stream = ada.request(reqwest::Method::GET, &path).send().await.unwrap();
    assert_eq!(stream.status(), 200);
    stream
}

/// Waits until the server says that it is not ready.
async fn says_that_it_stops(client: &TestClient) {
    while client.get("/readyz").await.status != 503 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_is_first_unready_then_tells_its_streams_and_exits_in_order() {
    let home = TempDir::new().unwrap();
    let server = Process::serve_with(&home.path().join("data"), |command| {
        command.env("CENDRIIX_SERVER__UNREADY_MS", "1500");
    })
    .await;
    let ada = server.client().login("ada").await;
    let stream = followed(&ada).await;
    server.tell_to_stop();
    within(says_that_it_stops(&server.client())).await;
    ada.get("/v1/auth/me").await.expect(200);
    let told = within(stream.bytes_stream().collect::<Vec<_>>()).await;
    let told: Vec<u8> = told.into_iter().flat_map(|piece| piece.unwrap()).collect();
    let told = String::from_utf8(told).unwrap();
    let last = told.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.contains("event: server_shutdown") && last.contains("retry: 3000"), "{told}");
    assert_eq!(within(server.ended()).await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_process_at_once() {
    let home = TempDir::new().unwrap();
    let server = Process::serve_with(&home.path().join("data"), |command| {
        command.env("CENDRIIX_SERVER__UNREADY_MS", "86400000");
    })
    .await;
    server.tell_to_stop();
    within(says_that_it_stops(&server.client())).await;
    server.tell_to_stop();
    assert_eq!(within(server.ended()).await.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_does_not_end_is_cut_off_when_the_patience_is_over() {
    let server = TestServer::start_with(|config| config.server.drain_ms = 300).await;
    let mut raw = Raw::open(&server).await;
    let host = server.server.addr();
    let head = format!("POST /v1/auth/login HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n");
    raw.send(head + "expect: 100-continue\r\ncontent-length: 100\r\n\r\n").await;
    // The handler waits for the body from here on.
    let mut piece = [0; 64];
    let read = within(tokio::io::AsyncReadExt::read(&mut raw.0, &mut piece)).await.unwrap();
    assert!(piece[..read].starts_with(b"HTTP/1.1 100 "));
    within(server.server.stop()).await;
    assert_eq!(raw.closed().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_answered_before_the_server_ends() {
    let server = TestServer::start_with(|config| config.server.drain_ms = 60_000).await;
    let mut raw = Raw::open(&server).await;
    let host = server.server.addr();
    let head = format!("POST /v1/auth/login HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n");
    raw.send(head + "expect: 100-continue\r\ncontent-length: 2\r\n\r\n").await;
    let mut piece = [0; 64];
    let read = within(tokio::io::AsyncReadExt::read(&mut raw.0, &mut piece)).await.unwrap();
    assert!(piece[..read].starts_with(b"HTTP/1.1 100 "));
    let client = server.stranger();
    let stops = beside(server.server.stop());
    let closed = async { while client.request(reqwest::Method::GET, "/healthz").send().await.is_ok() {} };
    within(closed).await;
    raw.send("{}").await;
    let said = raw.closed().await;
    assert!(said.starts_with("HTTP/1.1 422 ") && said.contains("connection: close"), "{said}");
    within(stops).await.unwrap();
}
