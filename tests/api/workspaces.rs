//! Tenants, members and roles.

use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::{Answer, TestClient, TestServer, chain, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_created_listed_and_switched_to() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let created = ada.post("/v1/workspaces", json!({ "name": "Acme Lab", "plan": "growth" })).await;
    assert_eq!(created.header("location"), format!("/v1/workspaces/{}", text(&created.body["id"])));
    insta::assert_snapshot!(created.story(), @r#"201 {"createdAt":"<at>","id":"<id>","name":"Acme Lab","plan":"team","role":"owner","slug":"acme-lab","version":1}"#);
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

/// Somebody's id.
async fn id_of(client: &TestClient) -> String {
    text(&client.get("/v1/auth/me").await.expect(200)["id"])
}

/// A member of a workspace, in it.
async fn joined(server: &TestServer, owner: &TestClient, id: &str, name: &str, role: &str) -> TestClient {
    let invite = json!({ "email": format!("{name}@example.com"), "role": role });
    owner.post(&format!("/v1/workspaces/{id}/members"), invite).await.expect(201);
    server.login(name).await.switch(id).await
}

/// A workspace of somebody's beside their personal one.
async fn second(client: &TestClient) -> (TestClient, String) {
    let id = text(&client.post("/v1/workspaces", json!({ "name": "second" })).await.expect(201)["id"]);
    (client.switch(&id).await, id)
}

/// The kinds of entries in a workspace's audit log.
async fn audited(server: &TestServer, workspace: &str) -> Vec<String> {
    let links = server.server.app().store.audit(workspace.parse().unwrap(), 1, 1_000).await.unwrap();
    let event = |body: &[u8]| text(&serde_json::from_slice::<Value>(body).unwrap()["eventType"]);
    links.iter().map(|link| event(&link.body)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_changed_and_counts_at_once() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = ada.workspace().await;
    let bob = joined(&server, &ada, &id, "bob", "viewer").await;
    bob.post("/v1/workflows", chain(1)).await.expect(403);
    let member = format!("/v1/workspaces/{id}/members/{}", id_of(&bob).await);
    let changed = ada.patch(&member, json!({ "role": "member" })).await;
    insta::assert_snapshot!(changed.story(), @r#"200 {"displayName":"bob","email":"bob@example.com","role":"member","status":"active","userId":"<id>"}"#);
    bob.post("/v1/workflows", chain(1)).await.expect(201);
    ada.patch(&member, json!({ "role": "member" })).await.expect(200);
    bob.patch(&member, json!({ "role": "admin" })).await.expect(403);
    ada.patch(&member, json!({ "role": "king" })).await.expect(422);
    let nobody = format!("/v1/workspaces/{id}/members/{}", uuid::Uuid::from_u128(7));
    assert_eq!(
        ada.patch(&nobody, json!({ "role": "member" })).await.expect(404)["message"],
        "this member does not exist"
    );
    let events = audited(&server, &id).await;
    assert_eq!(events.iter().filter(|event| *event == "member.role_changed").count(), 1, "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_stays_and_admins_touch_no_owner() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = ada.workspace().await;
    let bob = joined(&server, &ada, &id, "bob", "admin").await;
    let ada_there = format!("/v1/workspaces/{id}/members/{}", id_of(&ada).await);
    let bob_there = format!("/v1/workspaces/{id}/members/{}", id_of(&bob).await);
    for refused in [
        ada.delete(&ada_there).await.expect(409),
        ada.patch(&ada_there, json!({ "role": "admin" })).await.expect(409),
    ] {
        assert_eq!(refused["message"], "the last owner stays: make somebody else an owner first");
    }
    bob.delete(&ada_there).await.expect(403);
    bob.patch(&ada_there, json!({ "role": "viewer" })).await.expect(403);
    bob.patch(&bob_there, json!({ "role": "owner" })).await.expect(403);
    let members = format!("/v1/workspaces/{id}/members");
    ada.post(&members, json!({ "email": "eve@example.com", "role": "owner" })).await.expect(201);
    bob.delete(&format!("/v1/workspaces/{id}/invitations/eve@example.com")).await.expect(403);
    ada.patch(&bob_there, json!({ "role": "owner" })).await.expect(200);
    ada.patch(&ada_there, json!({ "role": "member" })).await.expect(200);
    ada.patch(&ada_there, json!({ "role": "owner" })).await.expect(403);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_owners_who_unmake_each_other_at_once_leave_one() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = ada.workspace().await;
    let bob = joined(&server, &ada, &id, "bob", "owner").await;
    let there = async |client: &TestClient| format!("/v1/workspaces/{id}/members/{}", id_of(client).await);
    let (ada_there, bob_there) = (there(&ada).await, there(&bob).await);
    let viewer = json!({ "role": "viewer" });
    let (one, other) = tokio::join!(ada.patch(&bob_there, viewer.clone()), bob.patch(&ada_there, viewer));
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 403], "{} {}", one.body, other.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_leave_and_are_taken_out() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = ada.workspace().await;
    let bob = joined(&server, &ada, &id, "bob", "viewer").await;
    let eve = joined(&server, &ada, &id, "eve", "member").await;
    let (bob_there, eve_there) = (
        format!("/v1/workspaces/{id}/members/{}", id_of(&bob).await),
        format!("/v1/workspaces/{id}/members/{}", id_of(&eve).await),
    );
    bob.delete(&eve_there).await.expect(403);
    bob.delete(&bob_there).await.expect(204);
    bob.get("/v1/runs").await.expect(401);
    ada.delete(&eve_there).await.expect(204);
    eve.get("/v1/runs").await.expect(401);
    ada.delete(&eve_there).await.expect(404);
    server.login("eve").await.delete(&eve_there).await.expect(404);
    let events = audited(&server, &id).await;
    assert!(events.ends_with(&["member.left".into(), "member.removed".into()]), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_that_was_taken_back_lets_nobody_in() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = ada.workspace().await;
    let members = format!("/v1/workspaces/{id}/members");
    ada.post(&members, json!({ "email": "bob@example.com", "role": "member" })).await.expect(201);
    let invitation = format!("/v1/workspaces/{id}/invitations/Bob%40Example.com");
    ada.delete(&invitation).await.expect(204);
    ada.delete(&invitation).await.expect(404);
    ada.delete(&format!("/v1/workspaces/{id}/invitations/nobody")).await.expect(404);
    let bob = server.login("bob").await;
    bob.get(&format!("/v1/workspaces/{id}")).await.expect(404);
    assert_eq!(ada.get(&members).await.expect(200)["members"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_gets_another_name_and_plan() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = ada.workspace().await;
    let bob = joined(&server, &ada, &id, "bob", "admin").await;
    let path = format!("/v1/workspaces/{id}");
    let changed = bob.patch(&path, json!({ "name": "Acme Lab" })).await;
    insta::assert_snapshot!(changed.story(), @r#"200 {"createdAt":"<at>","id":"<id>","name":"Acme Lab","plan":"enterprise","role":"admin","slug":"acme-lab","version":4}"#);
    bob.patch(&path, json!({ "plan": "starter" })).await.expect(403);
    assert_eq!(ada.patch(&path, json!({ "plan": "growth" })).await.expect(200)["plan"], "team");
    let before = audited(&server, &id).await.len();
    ada.patch(&path, json!({})).await.expect(200);
    assert_eq!(audited(&server, &id).await.len(), before, "what changes nothing is not told");
    ada.patch(&path, json!({ "name": " " })).await.expect(422);
    assert_eq!(ada.get(&path).await.expect(200)["name"], "Acme Lab");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_deleted_once_its_runs_are_at_an_end() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let (inside, id) = second(&ada).await;
    let bob = joined(&server, &inside, &id, "bob", "admin").await;
    inside
        .post(
            &format!("/v1/workspaces/{id}/members"),
            json!({ "email": "eve@example.com", "role": "member" }),
        )
        .await
        .expect(201);
    let key = text(&inside.post("/v1/api-keys", json!({ "name": "k" })).await.expect(201)["rawKey"]);
    let run = json!({ "workflowId": inside.chain(1).await, "input": { "title": "t" } });
    let run = text(&inside.post("/v1/runs", run).await.expect(201)["id"]);
    let path = format!("/v1/workspaces/{id}");
    bob.delete(&path).await.expect(403);
    let refused = inside.delete(&path).await.expect(409);
    assert_eq!(
        refused["message"],
        "1 run is not at an end; cancel it or let it end, then delete the workspace"
    );
    inside.post(&format!("/v1/runs/{run}/cancel"), json!({})).await.expect(200);
    inside.delete(&path).await.expect(204);
    for client in [&inside, &bob, &server.stranger().with_token(&key)] {
        client.get("/v1/runs").await.expect(401);
    }
    for answer in [ada.get(&path).await, ada.delete(&path).await, ada.get(&format!("/v1/runs/{run}")).await] {
        assert_eq!(answer.status, 404, "{}", answer.body);
    }
    assert_eq!(ada.get("/v1/workspaces").await.expect(200)["workspaces"].as_array().unwrap().len(), 1);
    let eve = server.login("eve").await;
    eve.post(&format!("{path}/switch"), json!({})).await.expect(404);
    assert_eq!(audited(&server, &id).await.last().unwrap(), "workspace.deleted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_personal_workspace_stays_while_it_is_the_only_one() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let home = format!(
        "/v1/workspaces/{}",
        text(&ada.get("/v1/workspaces").await.expect(200)["workspaces"][0]["id"])
    );
    let refused = ada.delete(&home).await.expect(409);
    assert!(text(&refused["message"]).contains("personal workspace of ada@example.com"), "{refused}");
    let (_, id) = second(&ada).await;
    ada.delete(&home).await.expect(204);
    ada.get("/v1/runs").await.expect(401);
    // A log-in leads to what is left.
    let again = server.login("ada").await;
    assert_eq!(again.workspace().await, id);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_belongs_nowhere_gets_a_workspace_at_log_in() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let id = ada.workspace().await;
    let bob = joined(&server, &ada, &id, "bob", "owner").await;
    let ada_there = format!("/v1/workspaces/{id}/members/{}", id_of(&ada).await);
    bob.delete(&ada_there).await.expect(204);
    ada.get("/v1/auth/me").await.expect(401);
    let again = server.login("ada").await;
    let seen = again.get("/v1/workspaces").await.expect(200);
    assert_eq!(seen["workspaces"].as_array().unwrap().len(), 1);
    assert_ne!(seen["workspaces"][0]["id"], json!(id));
    let later = server.login("ada").await;
    assert_eq!(later.get("/v1/workspaces").await.expect(200), seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_idempotency_key_creates_and_invites_once() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let asked = async |path: &str, body: Value| {
        Answer::of(ada.request(Method::POST, path).header("idempotency-key", "x").json(&body)).await
    };
    let first = asked("/v1/workspaces", json!({ "name": "n" })).await.expect(201);
    assert_eq!(asked("/v1/workspaces", json!({ "name": "n" })).await.expect(201), first);
    asked("/v1/workspaces", json!({ "name": "m" })).await.expect(422);
    let members = format!("/v1/workspaces/{}/members", text(&first["id"]));
    let invite = json!({ "email": "bob@example.com", "role": "member" });
    assert_eq!(asked(&members, invite.clone()).await.expect(201)["status"], "pending");
    server.login("bob").await;
    assert_eq!(asked(&members, invite).await.expect(201)["status"], "active");
}
