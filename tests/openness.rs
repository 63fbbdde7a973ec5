//! Nobody reaches what is not theirs: every route × {no token, malformed, `alg: none`, wrong key, expired,
//! wrong issuer, wrong audience, the same of an issuer's tokens, API keys that are mistyped, revoked, expired
//! or of a member who left, wrong role, a key of too low a role, other workspace in path and body, by token
//! and by key}.

use std::time::Duration;

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use cendriix::http::table::{Access, ROUTES, Route};
use cendriix_protocol::workspaces::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::{
    Answer, TestClient, TestServer, chain, gated,
    oidc::{OidcIssuer, SigningKey},
    openai::{FakeOpenAi, Turn},
    text,
};

/// Routes that are tried elsewhere, with the reason. Empty: all are tried here.
const ELSEWHERE: &[&str] = &[];

/// Two workspaces with a thing of each kind.
struct World {
    server: TestServer,
    _openai: FakeOpenAi,
    owner: TestClient,
    workspace: String,
    workflow: String,
    run: String,
    step: String,
    entity: String,
    key: String,
    spare: String,
}

/// Who is invited to our workspace and has not come.
const INVITED: &str = "invited@example.com";

impl World {
    async fn new() -> Self {
        let openai = FakeOpenAi::start(vec![Turn::text("hello"); 20]).await;
        let server = TestServer::start_with(|config| openai.configure(config, &["m"])).await;
        let owner = server.login("owner").await;
        let workflow = owner.workflow(gated()).await;
        let body = json!({ "workflowId": workflow, "input": { "title": "t" } });
        let run = owner.post("/v1/runs", body).await.expect(201);
        let agent = json!({ "name": "a", "nodes": [{ "id": "a", "type": "agent" }], "edges": [] });
        let body = json!({ "workflowId": owner.workflow(agent).await, "input": { "title": "t" } });
        let ground = text(&owner.post("/v1/runs", body).await.expect(201)["id"]);
        let body = json!({ "runId": ground, "name": "n", "prompt": "p" });
        let step = text(&owner.post("/v1/agent/steps", body).await.expect(201)["id"]);
        let body = json!({ "workflowId": owner.chain(1).await, "input": { "n": 1 } });
        let merged = text(&owner.post_and_wait("/v1/workflows/execute", body).await.expect(202)["id"]);
        let promoted =
            owner.post(&format!("/v1/runs/{merged}/promote-playbook"), json!({})).await.expect(201);
        let entity = text(&promoted["playbook"]["id"]);
        let workspace = text(&run["tenantId"]);
        let key = owner.post("/v1/api-keys", json!({ "name": "k" })).await.expect(201);
        let members = format!("/v1/workspaces/{workspace}/members");
        for email in [INVITED, "spare@example.com"] {
            owner.post(&members, json!({ "email": email, "role": "viewer" })).await.expect(201);
        }
        let spare = server.login("spare").await.get("/v1/auth/me").await.expect(200);
        Self {
            step,
            entity,
            workspace,
            key: text(&key["apiKey"]["id"]),
            spare: text(&spare["id"]),
            workflow,
            run: text(&run["id"]),
            server,
            _openai: openai,
            owner,
        }
    }

    /// Calls a route with our things in its path and body.
    async fn call(&self, client: &TestClient, route: &Route) -> Answer {
        let path = route
            .path
            .replace("{workspaceId}", &self.workspace)
            .replace("{workflowId}", &self.workflow)
            .replace("{runId}", &self.run)
            .replace("{stepId}", &self.step)
            .replace("{entityId}", &self.entity)
            .replace("{keyId}", &self.key)
            .replace("{userId}", &self.spare)
            .replace("{email}", INVITED);
        let request = client.request(Method::from_bytes(route.method.as_bytes()).unwrap(), &path);
        Answer::of(if route.method == "GET" { request } else { request.json(&self.body(route)) }).await
    }

    fn body(&self, route: &Route) -> Value {
        match route.path {
            "/v1/runs" => json!({ "workflowId": self.workflow, "input": { "title": "t" } }),
            "/v1/workflows/execute" => json!({ "workflowId": self.workflow }),
            "/v1/model-router/complete" => json!({ "prompt": "hi" }),
            "/v1/orchestrator/decompose" => {
                json!({ "workflowId": self.workflow, "input": { "title": "t" } })
            }
            "/v1/orchestrator/estimate" => json!({ "plan": { "steps": [{ "id": "a" }] } }),
            "/v1/agent/steps" => json!({ "runId": self.run, "name": "n", "prompt": "p" }),
            "/v1/workflows" => chain(1),
            "/v1/auth/stream-tickets" => json!({ "path": format!("/v1/workflow-runs/{}/stream", self.run) }),
            "/v1/workspaces" | "/v1/workspaces/{workspaceId}" | "/v1/api-keys" => json!({ "name": "n" }),
            "/v1/workspaces/{workspaceId}/members/{userId}" => json!({ "role": "viewer" }),
            "/v1/workspaces/{workspaceId}/members" => json!({ "email": "x@example.com", "role": "viewer" }),
            "/v1/auth/login" => json!({ "idToken": "x" }),
            "/control/backup" => json!({ "to": "/nowhere/at/all" }),
            _ => json!({}),
        }
    }

    /// A member of our workspace with a role.
    async fn member(&self, role: Role) -> TestClient {
        let name = role.name();
        let invite = json!({ "email": format!("{name}@example.com"), "role": name });
        self.owner.post(&format!("/v1/workspaces/{}/members", self.workspace), invite).await.expect(201);
        self.server.login(name).await.switch(&self.workspace).await
    }

    /// A client with a new API key of somebody.
    async fn with_key(&self, creator: &TestClient, body: Value) -> (TestClient, String) {
        let created = creator.post("/v1/api-keys", body).await.expect(201);
        let client = self.server.stranger().with_token(&text(&created["rawKey"]));
        (client, text(&created["apiKey"]["id"]))
    }

    /// A token that this server signed, with other claims than it would make.
    fn signed(&self, changed: impl FnOnce(&mut Value)) -> String {
        let good = self.owner.token.clone().unwrap();
        let mut parts = good.split('.');
        let (header, claims) = (parts.next().unwrap(), parts.next().unwrap());
        let mut claims: Value = serde_json::from_slice(&BASE64.decode(claims).unwrap()).unwrap();
        changed(&mut claims);
        let signed = format!("{header}.{}", BASE64.encode(claims.to_string()));
        let key = std::fs::read(self.server.home.path().join("data/keys/signing.pkcs8")).unwrap();
        let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key).unwrap();
        format!("{signed}.{}", BASE64.encode(key.sign(signed.as_bytes())))
    }
}

/// Keys that no longer open anything: mistyped, revoked, expired, and of a member who was taken out.
async fn dead_keys(world: &World) -> Vec<Option<String>> {
    let owner = &world.owner;
    let (revoked, id) = world.with_key(owner, json!({ "name": "revoked" })).await;
    owner.delete(&format!("/v1/api-keys/{id}")).await.expect(204);
    let soon = cendriix_actors::kit::Clock::system().now().after(Duration::from_millis(500));
    let (expired, _) = world.with_key(owner, json!({ "name": "expired", "expiresAt": soon })).await;
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    while expired.get("/v1/runs").await.status != 401 {
        looks.tick().await;
    }
    let admin = world.member(Role::Admin).await;
    let (orphaned, _) = world.with_key(&admin, json!({ "name": "orphaned" })).await;
    let admin = text(&admin.get("/v1/auth/me").await.expect(200)["id"]);
    let path = format!("/v1/workspaces/{}/members/{admin}", world.workspace);
    owner.delete(&path).await.expect(204);
    let mistyped = revoked.token.clone().map(|key| format!("{}0", &key[..key.len() - 1]));
    vec![mistyped, revoked.token, expired.token, orphaned.token]
}

fn tried() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| !ELSEWHERE.contains(&route.path))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_token_only_public_routes_answer() {
    let world = World::new().await;
    let good = world.owner.token.clone().unwrap();
    let claims = good.split('.').nth(1).unwrap();
    let stranger = TestServer::start().await;
    let foreign = stranger.login("owner").await.token.unwrap();
    let mut bad = vec![
        None,
        Some("nonsense".to_owned()),
        Some(format!("eyJhbGciOiJub25lIn0.{claims}.")),
        Some(format!("{}x", &good[..good.len() - 1])),
        Some(foreign),
        Some(world.signed(|claims| claims["exp"] = json!(1_700_000_000))),
        Some(world.signed(|claims| claims["iss"] = json!("somebody"))),
        Some(world.signed(|claims| claims["aud"] = json!("something"))),
        Some(world.signed(|claims| drop(claims.as_object_mut().unwrap().remove("aud")))),
    ];
    let same = world.signed(|_| ());
    world.server.stranger().with_token(&same).get("/v1/runs").await.expect(200);
    bad.extend(dead_keys(&world).await);
    for route in tried().filter(|route| route.access != Access::Public) {
        for token in &bad {
            let mut client = world.server.stranger();
            client.token.clone_from(token);
            let answer = world.call(&client, route).await;
            assert_eq!(answer.status, 401, "{} {} with {token:?}: {}", route.method, route.path, answer.body);
            assert_eq!(answer.body["error"], "unauthorized");
        }
    }
    for route in tried().filter(|route| route.access == Access::Public) {
        let answer = world.call(&world.server.stranger(), route).await;
        assert_ne!(answer.status, 401, "{} {}", route.method, route.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_issuer_that_is_not_good_opens_no_route() {
    let (key, stranger) = (SigningKey::eddsa("k"), SigningKey::eddsa("k"));
    let issuer = OidcIssuer::start(&[&key]).await;
    let server = TestServer::start_with(|config| issuer.configure(config)).await;
    let changed = |name: &str, value: Value| {
        let mut claims = issuer.claims("mallory");
        claims[name] = value;
        key.sign(&claims)
    };
    let bad = [
        stranger.sign(&issuer.claims("mallory")),
        stranger.confused(&issuer.claims("mallory")),
        key.sign_with(&issuer.claims("mallory"), &json!({ "alg": "none" })),
        key.sign_with(&issuer.claims("mallory"), &json!({ "kid": "other" })),
        changed("iss", json!("cendriix")),
        changed("aud", json!("cendriix-api")),
        changed("exp", json!(1_700_000_000)),
    ];
    server.stranger().with_token(&issuer.token(&key, "ada")).get("/v1/runs").await.expect(200);
    for route in tried().filter(|route| route.access != Access::Public) {
        let id = uuid::Uuid::nil().to_string();
        let part = |part: &str| if part.starts_with('{') { id.clone() } else { part.to_owned() };
        let path = route.path.split('/').map(part).collect::<Vec<_>>().join("/");
        for token in &bad {
            let client = server.stranger().with_token(token);
            let method = Method::from_bytes(route.method.as_bytes()).unwrap();
            let answer = Answer::of(client.request(method, &path).json(&json!({}))).await;
            assert_eq!(answer.status, 401, "{} {} with {token}: {}", route.method, route.path, answer.body);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_is_too_low_is_forbidden_and_one_that_is_enough_is_not() {
    let world = World::new().await;
    for role in [Role::Viewer, Role::Member, Role::Admin] {
        let member = world.member(role).await;
        for route in tried() {
            let Some(needs) = route.access.role() else { continue };
            // The stream of a run that has not ended stays open; that it opens is tested with the runs.
            if route.path.ends_with("/stream") {
                continue;
            }
            let answer = world.call(&member, route).await;
            let said = format!("{} {} as {}: {}", route.method, route.path, role.name(), answer.body);
            assert_eq!(answer.status == 403, role < needs, "{said}");
            assert!(!answer.status.is_server_error(), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_does_what_its_role_may_and_nothing_in_person() {
    let world = World::new().await;
    for role in [Role::Viewer, Role::Member, Role::Admin, Role::Owner] {
        let (key, _) = world.with_key(&world.owner, json!({ "name": "k", "role": role })).await;
        for route in tried() {
            let Some(needs) = route.access.role() else { continue };
            if route.path.ends_with("/stream") {
                continue;
            }
            let answer = world.call(&key, route).await;
            let said = format!("{} {} by a {}'s key: {}", route.method, route.path, role.name(), answer.body);
            assert_eq!(answer.status == 403, role < needs || !route.access.takes_keys(), "{said}");
            assert!(!answer.status.is_server_error() && answer.status != 401, "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn things_of_another_workspace_do_not_exist() {
    let world = World::new().await;
    let other = world.server.login("stranger").await;
    let (key, _) = world.with_key(&other, json!({ "name": "k", "role": "owner" })).await;
    let ours = [&world.workspace, &world.workflow, &world.run, &world.step, &world.entity, &world.key];
    for route in tried() {
        let body = if route.method == "GET" { String::new() } else { world.body(route).to_string() };
        let names_ours = route.path.contains('{') || ours.iter().any(|id| body.contains(*id));
        if route.access.role().is_none() || !names_ours {
            continue;
        }
        let answer = world.call(&other, route).await;
        assert_eq!(answer.status, 404, "{} {}: {}", route.method, route.path, answer.body);
        let answer = world.call(&key, route).await;
        let expected = if route.access.takes_keys() { 404 } else { 403 };
        assert_eq!(answer.status, expected, "{} {} by key: {}", route.method, route.path, answer.body);
    }
    for route in tried().filter(|route| route.method == "GET" && !route.path.contains('{')) {
        for client in [&other, &key] {
            let shown = world.call(client, route).await.body.to_string();
            assert!(
                ours.iter().all(|id| !shown.contains(*id)),
                "{} shows ours to another: {shown}",
                route.path
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_reaches_no_other_workspace_of_its_creator() {
    let world = World::new().await;
    let second =
        text(&world.owner.post("/v1/workspaces", json!({ "name": "second" })).await.expect(201)["id"]);
    let second = world.owner.switch(&second).await;
    let (key, _) = world.with_key(&second, json!({ "name": "k", "role": "owner" })).await;
    for route in tried().filter(|route| route.path.contains('{') && route.access.role().is_some()) {
        let answer = world.call(&key, route).await;
        let expected = if route.access.takes_keys() { 404 } else { 403 };
        assert_eq!(answer.status, expected, "{} {}: {}", route.method, route.path, answer.body);
    }
    let seen = key.get("/v1/workspaces").await.expect(200);
    assert_eq!(seen["workspaces"].as_array().unwrap().len(), 1, "{seen}");
    assert_eq!(seen["workspaces"][0]["name"], "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_who_left_is_out_at_once() {
    let world = World::new().await;
    let viewer = world.member(Role::Viewer).await;
    viewer.get("/v1/runs").await.expect(200);
    let user = text(&viewer.get("/v1/auth/me").await.expect(200)["id"]);
    let path = format!("/v1/workspaces/{}/members/{user}", world.workspace);
    viewer.delete(&path).await.expect(204);
    viewer.get("/v1/runs").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_nothing_more_to_whoever_is_out() {
    let world = World::new().await;
    let viewer = world.member(Role::Viewer).await;
    let (program, key) = world.with_key(&world.owner, json!({ "name": "k" })).await;
    let path = format!("/v1/workflow-runs/{}/stream", world.run);
    let open = async |client: &TestClient| client.request(Method::GET, &path).send().await.unwrap();
    let (out, revoked, still) = (open(&viewer).await, open(&program).await, open(&world.owner).await);
    let user = text(&viewer.get("/v1/auth/me").await.expect(200)["id"]);
    world.owner.delete(&format!("/v1/workspaces/{}/members/{user}", world.workspace)).await.expect(204);
    world.owner.delete(&format!("/v1/api-keys/{key}")).await.expect(204);
    world.owner.post(&format!("/v1/runs/{}/cancel", world.run), json!({})).await.expect(200);
    assert!(still.text().await.unwrap().contains("RUN_COMPLETED"));
    for stream in [out, revoked] {
        let told = stream.text().await.unwrap();
        assert!(!told.contains("RUN_COMPLETED"), "{told}");
    }
}
