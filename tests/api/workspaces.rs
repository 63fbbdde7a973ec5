//! Tenants, members and roles.

use serde_json::{Value, json};

use crate::kit::{TestServer, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_created_listed_and_switched_to() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let created = ada.post("/v1/workspaces", json!({ "name": "Acme Lab", "plan": "growth" })).await;
    assert_eq!(created.header("location"), format!("/v1/workspaces/{}", text(&created.body["id"])));
    insta::assert_snapshot!(created.story(), @r#"201 {"createdAt":"<at>","id":"<id>","name":"Acme Lab","plan":"team","role":"owner","slug":"acme-lab"}"#);
    let id = text(&created.body["id"]);
    let list = ada.get("/v1/workspaces").await.expect(200);
    assert_eq!(list["workspaces"][0]["id"], id);
    assert_eq!(list["workspaces"].as_array().unwrap().len(), 2);
    let inside = ada.switch(&id).await;
    assert_eq!(inside.workspace().await, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_goes_on_page_by_page() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    for number in 0..4 {
        ada.post("/v1/workspaces", json!({ "name": format!("w{number}") })).await.expect(201);
    }
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = ada.get(&format!("/v1/workspaces?limit=2{cursor}")).await.expect(200);
        names.extend(page["workspaces"].as_array().unwrap().iter().map(|workspace| text(&workspace["name"])));
        let Value::String(next) = &page["nextCursor"] else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(names, ["w3", "w2", "w1", "w0", "ada's workspace"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_invited_joins_at_log_in() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = ada.workspace().await;
    let members = format!("/v1/workspaces/{id}/members");
    let invited = ada.post(&members, json!({ "email": "Bob@Example.com", "role": "viewer" })).await;
    insta::assert_snapshot!(invited.story(), @r#"201 {"displayName":null,"email":"bob@example.com","role":"viewer","status":"pending","userId":null}"#);
    ada.post(&members, json!({ "email": "bob@example.com", "role": "admin" })).await.expect(409);
    let bob = server.login("bob").await;
    let listed = bob.get(&members).await;
    insta::assert_snapshot!(listed.story(), @r#"200 {"members":[{"displayName":"ada","email":"ada@example.com","role":"owner","status":"active","userId":"<id>"},{"displayName":"bob","email":"bob@example.com","role":"viewer","status":"active","userId":"<id>"}],"nextCursor":null}"#);
    let inside = bob.switch(&id).await;
    inside.get("/v1/runs").await.expect(200);
    inside.post("/v1/workflows", json!({ "name": "x", "nodes": [] })).await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_owner_makes_an_owner() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = ada.workspace().await;
    let members = format!("/v1/workspaces/{id}/members");
    ada.post(&members, json!({ "email": "bob@example.com", "role": "admin" })).await.expect(201);
    let bob = server.login("bob").await;
    bob.post(&members, json!({ "email": "eve@example.com", "role": "owner" })).await.expect(403);
    bob.post(&members, json!({ "email": "eve@example.com", "role": "member" })).await.expect(201);
    let eve = server.login("eve").await;
    eve.post(&members, json!({ "email": "mallory@example.com", "role": "viewer" })).await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_of_others_does_not_exist() {
    let server = TestServer::start().await;
    let (ada, bob) = (server.login("ada").await, server.login("bob").await);
    let id = ada.workspace().await;
    for answer in [
        bob.get(&format!("/v1/workspaces/{id}")).await,
        bob.get(&format!("/v1/workspaces/{id}/members")).await,
        bob.post(&format!("/v1/workspaces/{id}/members"), json!({ "email": "x@y", "role": "viewer" })).await,
        bob.post(&format!("/v1/workspaces/{id}/switch"), json!({})).await,
        bob.get("/v1/workspaces/not-an-id").await,
    ] {
        assert_eq!(answer.status, 404, "{}", answer.body);
    }
}
