//! Event streams: how many there may be, and the tickets with which browsers open them.

use reqwest::{Method, Response};
use serde_json::json;

use crate::kit::{TestClient, TestServer, gated, text};

async fn run(client: &TestClient) -> String {
    let body = json!({ "workflowId": client.workflow(gated()).await, "input": { "title": "t" } });
    let run = text(&client.post("/v1/runs", body).await.expect(201)["id"]);
    format!("/v1/workflow-runs/{run}/stream")
}

async fn ticket(client: &TestClient, path: &str) -> String {
    let issued = client.post("/v1/auth/stream-tickets", json!({ "path": path })).await.expect(201);
    assert_eq!(issued["path"], path);
    text(&issued["ticket"])
}

async fn open(client: &TestClient, path: &str) -> Response {
    client.request(Method::GET, path).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_has_its_share_of_streams_and_others_have_theirs() {
    let server = TestServer::start_with(|config| config.server.streams_per_workspace_max = 2).await;
    let (ada, bob) = (server.login("ada").await, server.login("bob").await);
    let (path, other) = (run(&ada).await, run(&bob).await);
    let held = (open(&ada, &path).await, open(&ada, &path).await);
    assert_eq!((held.0.status().as_u16(), held.1.status().as_u16()), (200, 200));
    let refused = ada.get(&path).await;
    assert!(text(&refused.body["message"]).contains("your workspace"), "{}", refused.body);
    refused.expect(503);
    assert_eq!(open(&bob, &other).await.status(), 200);
    drop(held);
    while open(&ada, &path).await.status() != 200 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_its_stream_once_without_a_token() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let (path, browser) = (run(&ada).await, server.stranger());
    let ticket = ticket(&ada, &path).await;
    assert!(ticket.len() >= 43);
    let with = format!("{path}?follow=false&ticket={ticket}");
    let told = browser.get(&with).await;
    assert!(told.body.as_str().unwrap().contains("id: 1"), "{}", told.body);
    told.expect(200);
    assert_eq!(browser.get(&with).await.expect(401)["error"], "unauthorized");
    browser.get(&path).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_opens_nothing_else() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let (path, other, browser) = (run(&ada).await, run(&ada).await, server.stranger());
    let one = ticket(&ada, &path).await;
    browser.get(&format!("/v1/runs?ticket={one}")).await.expect(401);
    browser.get(&format!("/v1/auth/me?ticket={one}")).await.expect(401);
    browser.get(&format!("{other}?ticket={one}")).await.expect(401);
    // Trying it elsewhere has used it up.
    browser.get(&format!("{path}?ticket={one}")).await.expect(401);
    browser.get(&format!("{path}?ticket=")).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_is_issued_for_streams_of_ones_own_only() {
    let server = TestServer::start().await;
    let (ada, bob) = (server.login("ada").await, server.login("bob").await);
    let path = run(&ada).await;
    let asks = async |client: &TestClient, path: &str| {
        client.post("/v1/auth/stream-tickets", json!({ "path": path })).await
    };
    asks(&bob, &path).await.expect(404);
    asks(&ada, "/v1/workflow-runs/nonsense/stream").await.expect(404);
    for wrong in ["/v1/runs", "/v1/workflow-runs//stream/x", "", &format!("{path}?follow=false")] {
        let refused = asks(&ada, wrong).await;
        assert!(refused.body["fieldErrors"]["path"].is_array(), "{wrong}: {}", refused.body);
        refused.expect(422);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_left_the_workspace_opens_nothing_with_a_ticket_of_before() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let path = run(&ada).await;
    let workspace = ada.workspace().await;
    let invite = json!({ "email": "eve@example.com", "role": "viewer" });
    ada.post(&format!("/v1/workspaces/{workspace}/members"), invite).await.expect(201);
    let eve = server.login("eve").await.switch(&workspace).await;
    let kept = ticket(&eve, &path).await;
    let user = text(&eve.get("/v1/auth/me").await.expect(200)["id"]);
    crate::kit::leaves(&server, &workspace, &user).await;
    server.stranger().get(&format!("{path}?follow=false&ticket={kept}")).await.expect(401);
}
