//! Secrets of programs: shown once, bounded by their creator, gone when revoked.

use std::time::Duration;

use cendriix_actors::kinds::space;
use cendriix_persistence::store::{Row, RowKey, Save};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::kit::{Answer, TestClient, TestServer, redacted, text};

async fn created(client: &TestClient, body: Value) -> (TestClient, Value) {
    let created = client.post("/v1/api-keys", body).await.expect(201);
    (client.clone().with_token(&text(&created["rawKey"])), created["apiKey"].clone())
}

/// A member of somebody's workspace, in it.
async fn joined(server: &TestServer, owner: &TestClient, name: &str, role: &str) -> TestClient {
    let id = owner.workspace().await;
    let invite = json!({ "email": format!("{name}@example.com"), "role": role });
    owner.post(&format!("/v1/workspaces/{id}/members"), invite).await.expect(201);
    server.login(name).await.switch(&id).await
}

/// What the audit log of a workspace says.
async fn audited(server: &TestServer, workspace: &str) -> Vec<Value> {
    let links = server.server.app().store.audit(workspace.parse().unwrap(), 1, 1_000).await.unwrap();
    links.iter().map(|link| serde_json::from_slice(&link.body).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_shown_once_and_acts_in_its_workspace() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let body = json!({ "name": " ci ", "expiresAt": "2099-01-01T00:00:00Z" });
    let answer = ada.post("/v1/api-keys", body).await;
    let (raw, prefix) = (text(&answer.body["rawKey"]), text(&answer.body["apiKey"]["prefix"]));
    assert!(raw.starts_with(&format!("{prefix}_")) && prefix.starts_with("ak_"), "{raw} {prefix}");
    assert_eq!(answer.header("location"), format!("/v1/api-keys/{}", text(&answer.body["apiKey"]["id"])));
    assert_eq!(answer.header("cache-control"), "no-store");
    let mut key = redacted(&answer.clone().expect(201)["apiKey"]);
    key["prefix"] = json!("<prefix>");
    insta::assert_snapshot!(key, @r#"{"createdAt":"<at>","createdBy":"<id>","expiresAt":"<at>","id":"<id>","lastUsedAt":null,"name":"ci","prefix":"<prefix>","role":"member"}"#);
    let listed = ada.get("/v1/api-keys").await.expect(200);
    assert_eq!(listed["apiKeys"], json!([answer.body["apiKey"]]));
    assert!(!listed.to_string().contains(&raw));

    let program = server.stranger().with_token(&raw);
    assert_eq!(program.workspace().await, ada.workspace().await);
    let me = program.get("/v1/auth/me").await.expect(200);
    assert_eq!((&me["displayName"], &me["apiKey"]["id"]), (&json!("ada"), &answer.body["apiKey"]["id"]));
    let server = server.restart().await;
    server.stranger().with_token(&raw).get("/v1/runs").await.expect(200);
    let secret = raw.strip_prefix(&prefix).unwrap().as_bytes();
    let disk = std::fs::read(server.home.path().join("data/store.redb")).unwrap();
    assert!(!disk.windows(secret.len()).any(|window| window == secret), "the key is on the disk");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_taken_in_either_header_but_not_two_that_differ() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let (program, _) = created(&ada, json!({ "name": "k" })).await;
    let (other, _) = created(&ada, json!({ "name": "other" })).await;
    let key = program.token.clone().unwrap();
    let asked = |client: &TestClient| client.request(Method::GET, "/v1/runs");
    let said = async |request: RequestBuilder| {
        let answer = Answer::of(request).await;
        format!("{} {}", answer.status.as_u16(), answer.body["message"].as_str().unwrap_or_default())
    };
    let stranger = server.stranger();
    assert_eq!(said(asked(&stranger).header("x-api-key", &key)).await, "200 ");
    assert_eq!(said(asked(&program).header("x-api-key", &key)).await, "200 ");
    let differ = "401 Authorization and X-API-Key say different things; send only one of them";
    assert_eq!(said(asked(&other).header("x-api-key", &key)).await, differ);
    assert_eq!(said(asked(&ada).header("x-api-key", &key)).await, differ);
    let twice = asked(&stranger).header("x-api-key", &key).header("x-api-key", &key);
    assert_eq!(said(twice).await, "401 send one X-API-Key");
    let token = ada.token.clone().unwrap();
    let no_key = said(asked(&stranger).header("x-api-key", token)).await;
    assert!(no_key.starts_with("401 X-API-Key takes an API key"), "{no_key}");
    let mistyped = format!("{}x", &key[..key.len() - 1]);
    let mistyped = said(asked(&stranger.clone().with_token(&mistyped))).await;
    assert!(mistyped.starts_with("401 the API key is mistyped"), "{mistyped}");
    let elsewhere = TestServer::start().await;
    let unknown = said(asked(&elsewhere.stranger().with_token(&key))).await;
    assert!(unknown.starts_with("401 the API key is not known here"), "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fields_and_roles_too_high_are_refused() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    for (body, field) in [
        (json!({ "name": "k", "expiresAt": "2020-01-01T00:00:00Z" }), "expiresAt"),
        (json!({ "name": "k", "expiresAt": "tomorrow" }), "expiresAt"),
        (json!({ "name": "" }), "name"),
        (json!({ "name": "é".repeat(101) }), "name"),
        (json!({ "name": "k", "role": "king" }), "role"),
    ] {
        let refused = ada.post("/v1/api-keys", body).await.expect(422);
        assert!(refused["fieldErrors"][field][0].is_string(), "{refused}");
    }
    let bob = joined(&server, &ada, "bob", "admin").await;
    let refused = bob.post("/v1/api-keys", json!({ "name": "k", "role": "owner" })).await.expect(403);
    assert_eq!(refused["message"], "this needs role owner or higher; yours is admin");
    assert_eq!(created(&bob, json!({ "name": "k", "role": "admin" })).await.1["role"], "admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_never_more_than_its_creator_is_at_that_moment() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let bob = joined(&server, &ada, "bob", "admin").await;
    let (program, _) = created(&bob, json!({ "name": "k", "role": "admin" })).await;
    let id = text(&bob.get("/v1/auth/me").await.expect(200)["id"]);
    let member = format!("/v1/workspaces/{}/members/{id}", ada.workspace().await);
    program.get("/v1/api-keys").await.expect(200);
    ada.patch(&member, json!({ "role": "viewer" })).await.expect(200);
    program.get("/v1/api-keys").await.expect(403);
    program.get("/v1/runs").await.expect(200);
    ada.patch(&member, json!({ "role": "admin" })).await.expect(200);
    program.get("/v1/api-keys").await.expect(200);
    ada.delete(&member).await.expect(204);
    program.get("/v1/runs").await.expect(401);
    assert_eq!(ada.get("/v1/api-keys").await.expect(200)["apiKeys"], json!([]));
    // Whoever comes back finds no keys of before.
    joined(&server, &ada, "bob", "admin").await;
    program.get("/v1/runs").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_at_once() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let (program, key) = created(&ada, json!({ "name": "k" })).await;
    program.get("/v1/runs").await.expect(200);
    let path = format!("/v1/api-keys/{}", text(&key["id"]));
    let refused = program.delete(&path).await.expect(403);
    assert_eq!(refused["message"], "an API key may not do this; log in and do it yourself");
    assert_eq!(ada.delete(&path).await.expect(204), json!(""));
    program.get("/v1/runs").await.expect(401);
    ada.delete(&path).await.expect(404);
    ada.delete("/v1/api-keys/nonsense").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_idempotency_key_makes_one_key_and_shows_it_once() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let asked = async |name: &str| {
        let request = ada.request(Method::POST, "/v1/api-keys").header("idempotency-key", "x");
        Answer::of(request.json(&json!({ "name": name }))).await
    };
    let first = asked("k").await.expect(201);
    let again = asked("k").await.expect(409);
    let said = text(&again["message"]);
    assert!(said.contains(&text(&first["apiKey"]["id"])) && said.contains("shown only once"), "{said}");
    asked("other").await.expect(422);
    let listed = ada.get("/v1/api-keys").await.expect(200);
    assert_eq!(listed["apiKeys"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_newest_first_page_by_page() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    for number in 0..5 {
        created(&ada, json!({ "name": format!("k{number}") })).await;
    }
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = ada.get(&format!("/v1/api-keys?limit=2{cursor}")).await.expect(200);
        names.extend(page["apiKeys"].as_array().unwrap().iter().map(|key| text(&key["name"])));
        let Value::String(next) = &page["nextCursor"] else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(names, ["k4", "k3", "k2", "k1", "k0"]);
    ada.get("/v1/api-keys?limit=0").await.expect(422);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_when_a_key_was_used_last() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let (program, _) = created(&ada, json!({ "name": "k" })).await;
    let used = async || ada.get("/v1/api-keys").await.expect(200)["apiKeys"][0]["lastUsedAt"].clone();
    assert_eq!(used().await, Value::Null);
    program.get("/v1/runs").await.expect(200);
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let first = loop {
        looks.tick().await;
        let used = used().await;
        if used != Value::Null {
            break used;
        }
    };
    // Further uses within the minute are not written.
    let commits = server.server.app().store.commits();
    for _ in 0..20 {
        program.get("/v1/runs").await.expect(200);
    }
    server.server.app().store.barrier().await;
    assert_eq!(used().await, first);
    assert!(server.server.app().store.commits() <= commits + 1, "a use within the minute was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_has_a_bounded_number_of_keys() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let workspace: uuid::Uuid = ada.workspace().await.parse().unwrap();
    let row = |number: u128| {
        let key = [workspace.as_bytes().as_slice(), uuid::Uuid::from_u128(number).as_bytes()].concat();
        Row { key: RowKey { space: space::API_KEYS, key }, value: Some(Vec::new().into()) }
    };
    let rows = (0..1_000).map(row).collect();
    server.server.app().store.save(Save { rows, ..Save::default() }).await;
    let refused = ada.post("/v1/api-keys", json!({ "name": "k" })).await.expect(409);
    assert!(text(&refused["message"]).contains("at most 1000 API keys"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_tells_keys_and_what_is_done_with_them() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let (program, key) = created(&ada, json!({ "name": "ci" })).await;
    let workspace = program.workspace().await;
    let id = text(&key["id"]);
    ada.delete(&format!("/v1/api-keys/{id}")).await.expect(204);
    let entries = audited(&server, &workspace).await;
    let actor = |event: &str| {
        let entry = entries.iter().find(|entry| entry["eventType"] == event).unwrap();
        text(&entry["actor"])
    };
    assert!(!actor("api_key.created").contains("api_key:"));
    assert_eq!(actor("api_key.created"), actor("api_key.revoked"));
    assert_eq!(actor("run.created"), format!("{}/api_key:{id}", actor("api_key.created")));
    assert!(!serde_json::to_string(&entries).unwrap().contains(&program.token.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_that_are_created_at_once_are_all_there() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let made = (0..40).map(|number| created(&ada, json!({ "name": format!("k{number}") })));
    let made = futures::future::join_all(made).await;
    let listed = ada.get("/v1/api-keys?limit=200").await.expect(200);
    assert_eq!(listed["apiKeys"].as_array().unwrap().len(), made.len());
}
