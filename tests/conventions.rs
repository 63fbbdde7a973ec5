//! What holds for every route: refusals as problems, methods, other origins, compression, headers, deadlines.

use reqwest::{Method, header::HeaderMap};
use serde_json::json;

use crate::kit::{
    Answer, TestClient, TestServer,
    openai::{FakeOpenAi, Turn},
};

const PAGE: &str = "https://console.example.com";

/// Asks with headers.
async fn asks(client: &TestClient, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = client.request(method, path);
    Answer::of(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

async fn with_page() -> TestServer {
    TestServer::start_with(|config| config.server.cors_origins = vec![PAGE.to_owned()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_comes_as_a_problem_to_those_who_ask_for_one() {
    let server = TestServer::start().await;
    let accept = [("accept", "application/problem+json"), ("x-request-id", "r-1")];
    let answer = asks(&server.stranger(), Method::GET, "/v1/runs", &accept).await;
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert_eq!(answer.header("www-authenticate"), "Bearer");
    let said = "log in with POST /v1/auth/login and send Authorization: Bearer <token>, or send an API key as \
                X-API-Key";
    let wanted = json!({
        "type": "about:blank", "title": "Unauthorized", "status": 401, "detail": said,
        "error": "unauthorized", "message": said, "requestId": "r-1",
    });
    assert_eq!(answer.body, wanted);
    let ada = server.login("ada").await;
    let body = json!({ "name": "" });
    let request = ada.request(Method::POST, "/v1/workspaces").json(&body);
    let wrong = Answer::of(request.header("accept", "application/problem+json")).await;
    assert!(wrong.body["fieldErrors"]["name"].is_array(), "{}", wrong.body);
    wrong.expect(422);
    let plain = asks(&ada, Method::GET, "/nothing", &[]).await;
    assert_eq!(plain.header("content-type"), "application/json");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_has_the_id_of_the_request() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let named = async |id: &str, path: &str, body: serde_json::Value| {
        let request = ada.request(Method::POST, path).header("x-request-id", id);
        Answer::of(request.json(&body)).await.expect(201)
    };
    let workflow = named("request-1", "/v1/workflows", crate::kit::chain(1)).await;
    let body = json!({ "workflowId": workflow["id"], "input": { "title": "t" } });
    let run = named("request-2", "/v1/runs", body).await;
    let app = server.server.app();
    let workspace = crate::kit::text(&run["tenantId"]).parse().unwrap();
    let entries = app.store.audit(workspace, 0, 100).await.unwrap();
    let entries: Vec<serde_json::Value> =
        entries.iter().map(|entry| serde_json::from_slice(&entry.body).unwrap()).collect();
    let requests = |event: &str| {
        let found = entries.iter().find(|entry| entry["eventType"] == event);
        found.map(|entry| entry["requestId"].clone())
    };
    assert_eq!(requests("workflow.created"), Some(json!("request-1")), "{entries:?}");
    assert_eq!(requests("run.created"), Some(json!("request-2")), "{entries:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn options_lists_the_methods_and_head_is_get_without_a_body() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let options = asks(&server.stranger(), Method::OPTIONS, "/v1/runs", &[]).await;
    assert_eq!((options.status.as_u16(), options.header("allow")), (204, "POST, GET, HEAD, OPTIONS"));
    asks(&ada, Method::OPTIONS, "/v1/nothing", &[]).await.expect(404);
    let (head, get) = (asks(&ada, Method::HEAD, "/v1/runs", &[]).await, ada.get("/v1/runs").await);
    assert_eq!((head.status, head.body.as_str()), (get.status, Some("")));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    asks(&server.stranger(), Method::HEAD, "/v1/runs", &[]).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_named_origins_may_call_and_see_what_they_need() {
    let server = with_page().await;
    let preflight = [
        ("origin", PAGE),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type,idempotency-key"),
    ];
    let said = asks(&server.stranger(), Method::OPTIONS, "/v1/runs", &preflight).await;
    assert_eq!((said.status.as_u16(), said.header("access-control-allow-origin")), (200, PAGE));
    assert!(said.header("access-control-allow-headers").contains("idempotency-key"));
    assert!(!said.headers.contains_key("access-control-allow-credentials"));
    let answer = asks(&server.stranger(), Method::GET, "/v1/runs", &[("origin", PAGE)]).await;
    // A refusal can be read, too.
    assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (401, PAGE));
    for shown in ["etag", "x-request-id", "location", "x-ratelimit-remaining", "retry-after"] {
        assert!(answer.header("access-control-expose-headers").contains(shown), "{shown}");
    }
    let options = asks(&server.stranger(), Method::OPTIONS, "/v1/runs", &[("origin", PAGE)]).await;
    assert_eq!(options.header("allow"), "POST, GET, HEAD, OPTIONS");
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_get_no_leave() {
    let allows = |headers: &HeaderMap| headers.contains_key("access-control-allow-origin");
    let preflight = |origin| [("origin", origin), ("access-control-request-method", "GET")];
    let (with, without) = (with_page().await, TestServer::start().await);
    let said = asks(&with.stranger(), Method::OPTIONS, "/v1/runs", &preflight("https://evil.example")).await;
    assert!(!allows(&said.headers));
    let said = asks(&with.stranger(), Method::GET, "/healthz", &[("origin", "https://evil.example")]).await;
    assert!(!allows(&said.headers) && said.status == 403);
    let said = asks(&without.stranger(), Method::OPTIONS, "/v1/runs", &preflight(PAGE)).await;
    assert!(!allows(&said.headers));
    asks(&without.stranger(), Method::GET, "/healthz", &[("origin", PAGE)]).await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_json_is_compressed_unless_it_holds_a_secret_or_is_a_stream() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let workflow = ada.chain(40).await;
    let path = format!("/v1/workflows/{workflow}");
    for coding in ["gzip", "br"] {
        let packed = asks(&ada, Method::GET, &path, &[("accept-encoding", coding)]).await;
        assert_eq!(packed.header("content-encoding"), coding);
        assert!(packed.header("vary").contains("accept-encoding"));
    }
    let plain = asks(&ada, Method::GET, &path, &[]).await;
    assert!(!plain.headers.contains_key("content-encoding") && plain.body["nodes"].is_array());
    let short = asks(&ada, Method::GET, "/healthz", &[("accept-encoding", "gzip")]).await;
    assert!(!short.headers.contains_key("content-encoding"));
    let profile = json!({
        "provider": "github", "oauthId": "bob", "email": "bob@example.com", "displayName": "b",
        "avatarUrl": format!("https://example.com/{}", "a".repeat(1500)),
    });
    let request = server.stranger().request(Method::POST, "/v1/auth/login").json(&profile);
    let secret = Answer::of(request.header("accept-encoding", "gzip, br")).await;
    assert!(secret.body["token"].is_string() && !secret.headers.contains_key("content-encoding"));
    assert_eq!(secret.header("cache-control"), "no-store");
    let run =
        ada.post_and_wait("/v1/workflows/execute", json!({ "workflowId": workflow, "input": {} })).await;
    let run = crate::kit::text(&run.expect(202)["id"]);
    let path = format!("/v1/workflow-runs/{run}/stream?follow=false");
    let stream = asks(&ada, Method::GET, &path, &[("accept-encoding", "gzip, br")]).await;
    assert!(!stream.headers.contains_key("content-encoding"));
    assert!(stream.body.as_str().unwrap().len() > 1024);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_say_how_they_may_be_taken_and_kept() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let body = json!({ "workflowId": ada.chain(1).await, "input": { "title": "t" } });
    let run = crate::kit::text(&ada.post("/v1/runs", body).await.expect(201)["id"]);
    let keeping = async |client: &TestClient, path: &str| {
        let answer = client.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("content-security-policy"), "default-src 'none'; frame-ancestors 'none'");
        answer.header("cache-control").to_owned()
    };
    assert_eq!(keeping(&ada, "/v1/runs").await, "no-store");
    assert_eq!(keeping(&ada, &format!("/v1/runs/{run}")).await, "private, no-cache");
    assert_eq!(keeping(&server.stranger(), "/v1/runs").await, "no-store");
    assert_eq!(keeping(&server.stranger(), "/openapi.json").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_too_long_is_answered_all_the_same() {
    let openai = FakeOpenAi::start(vec![Turn::Silent]).await;
    let server = TestServer::start_with(|config| {
        openai.configure(config, &["m"]);
        config.server.request_timeout_long_ms = 300;
    })
    .await;
    let ada = server.login("ada").await;
    let answer = ada.post("/v1/model-router/complete", json!({ "prompt": "hi" })).await;
    assert_eq!((&answer.body["error"], answer.header("retry-after")), (&json!("unavailable"), "1"));
    assert!(answer.body["requestId"].is_string());
    answer.expect(503);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_nested_too_deep_is_refused() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let body = format!(r#"{{"provider":"github","oauthId":{deep}}}"#);
    let request = ada.request(Method::POST, "/v1/auth/login").header("content-type", "application/json");
    Answer::of(request.body(body)).await.expect(422);
    let input = format!(r#"{{"workflowId":"{}","input":{{"a":{deep}}}}}"#, ada.chain(1).await);
    let request =
        ada.request(Method::POST, "/v1/workflows/execute").header("content-type", "application/json");
    Answer::of(request.body(input)).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_client_has_is_spared_and_a_change_of_another_version_refused() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let path = format!("/v1/workspaces/{}", ada.workspace().await);
    let first = ada.get(&path).await;
    let (tag, version) = (first.header("etag").to_owned(), first.body["version"].clone());
    assert_eq!(tag, format!("\"v{version}\""));
    let has = [("if-none-match", tag.as_str())];
    let spared = asks(&ada, Method::GET, &path, &has).await;
    assert_eq!((spared.status.as_u16(), spared.header("etag")), (304, tag.as_str()));
    let rename = async |name: &str, seen: &str| {
        let request = ada.request(Method::PATCH, &path).header("if-match", seen);
        Answer::of(request.json(&json!({ "name": name }))).await
    };
    let renamed = rename("one", &tag).await;
    let later = renamed.header("etag").to_owned();
    assert!(renamed.expect(200)["name"] == "one" && later != tag);
    let refused = rename("two", &tag).await.expect(412);
    assert_eq!(refused["error"], "precondition_failed");
    assert_eq!(rename("two", &format!("W/{later}")).await.status, 412);
    rename("two", &format!("\"v999\", {later}")).await.expect(200);
    rename("three", "*").await.expect(200);
    assert_eq!(asks(&ada, Method::DELETE, &path, &[("if-match", &later)]).await.status, 412);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_an_object_and_a_key_visible() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let list = ada.post("/v1/workspaces", json!(["n", "starter"])).await.expect(422);
    assert!(list["fieldErrors"]["body"].to_string().contains("an object"), "{list}");
    let request = ada.request(Method::POST, "/v1/workspaces").header("idempotency-key", "a b");
    let refused = Answer::of(request.json(&json!({ "name": "n" }))).await.expect(422);
    assert!(refused["fieldErrors"]["Idempotency-Key"].is_array(), "{refused}");
}
