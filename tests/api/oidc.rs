//! Logging in by an OpenID Connect issuer, and its tokens on every route.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use cendriix_actors::secret::Secret;
use serde_json::{Value, json};

use crate::kit::{
    Answer, TestClient, TestServer,
    oidc::{Mood, OidcIssuer, SigningKey, now},
    text,
};

const BOOTSTRAP: &str = "a-bootstrap-token-of-forty-characters-00";

/// A server that trusts an issuer with one key.
struct World {
    key: SigningKey,
    issuer: OidcIssuer,
    server: TestServer,
}

impl World {
    async fn new() -> Self {
        Self::of(|_| ()).await
    }

    async fn of(change: impl FnOnce(&mut cendriix::Config)) -> Self {
        let key = SigningKey::es256("k1");
        let issuer = OidcIssuer::start(&[&key]).await;
        let server = TestServer::start_with(|config| {
            issuer.configure(config);
            config.auth.bootstrap_token = Secret::new(BOOTSTRAP);
            change(config);
        })
        .await;
        Self { key, issuer, server }
    }

    async fn exchange(&self, token: &str) -> Answer {
        self.server.stranger().post("/v1/auth/login", json!({ "idToken": token })).await
    }

    /// A client with a token of ours.
    async fn login(&self, name: &str) -> TestClient {
        let session = self.exchange(&self.issuer.token(&self.key, name)).await.expect(200);
        self.server.stranger().with_token(&text(&session["token"]))
    }

    /// A client that shows the issuer's own token.
    fn direct(&self, claims: &Value) -> TestClient {
        self.server.stranger().with_token(&self.key.sign(claims))
    }

    /// Asks until the answer has a status: something beside the requests goes on.
    async fn until(&self, token: &str, status: u16) -> Value {
        let mut looks = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            looks.tick().await;
            let answer = self.exchange(token).await;
            if answer.status == status {
                return answer.body;
            }
        }
    }
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_each_algorithm_logs_its_person_in() {
    let keys = [SigningKey::rs256("r"), SigningKey::es256("e"), SigningKey::eddsa("d")];
    let issuer = OidcIssuer::start(&keys.iter().collect::<Vec<_>>()).await;
    let server = TestServer::start_with(|config| issuer.configure(config)).await;
    let mut seen = Vec::new();
    for key in &keys {
        let body = json!({ "idToken": issuer.token(key, "ada") });
        let answer = server.stranger().post("/v1/auth/login", body).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        let token = text(&answer.expect(200)["token"]);
        seen.push(server.stranger().with_token(&token).get("/v1/auth/me").await);
    }
    assert!(seen.iter().all(|me| me.body == seen[0].body), "the same person each time: {seen:?}");
    let story = seen[0].story().replace(issuer.url(), "<issuer>");
    insta::assert_snapshot!(story, @r#"200 {"avatarUrl":null,"displayName":"ada","email":"ada@example.com","emailVerified":true,"id":"<id>","issuer":"<issuer>","via":"oidc","workspaces":[{"createdAt":"<at>","id":"<id>","name":"ada's workspace","plan":"starter","role":"owner","slug":"ada-s-workspace","version":1}]}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_as_cognito_makes_it_logs_in_and_leaves_the_profile_as_it_is() {
    let world = World::new().await;
    let access = world.key.sign(&world.issuer.access_claims("ada"));
    let first = world.exchange(&access).await.expect(200);
    assert_eq!((&first["user"]["displayName"], &first["user"]["email"]), (&json!("ada"), &json!("")));
    let claims = with(world.issuer.claims("ada"), "name", json!("Ada Lovelace"));
    let known = world.exchange(&world.key.sign(&claims)).await.expect(200);
    assert_eq!(known["user"]["id"], first["user"]["id"]);
    assert_eq!(
        (&known["user"]["displayName"], &known["user"]["email"]),
        (&json!("Ada Lovelace"), &json!("ada@example.com"))
    );
    let again = world.exchange(&access).await.expect(200);
    assert_eq!(again["user"], known["user"]);
    let other = with(world.issuer.access_claims("ada"), "client_id", json!("somebody-else"));
    world.exchange(&world.key.sign(&other)).await.expect(401);
    let id = without(world.issuer.claims("ada"), "aud");
    world.exchange(&world.key.sign(&id)).await.expect(401);
}

/// Tokens that are wrong, with a part of what is said about each.
fn bad(world: &World, stranger: &SigningKey) -> Vec<(String, &'static str)> {
    let (key, good) = (&world.key, world.issuer.claims("mallory"));
    let sign = |claims: Value| key.sign(&claims);
    let payload = BASE64.encode(good.to_string());
    let none = BASE64.encode(json!({ "alg": "none", "kid": "k1" }).to_string());
    let whole = sign(good.clone());
    let (said, signature) = whole.rsplit_once('.').unwrap();
    let header = said.split_once('.').unwrap().0;
    let changed = BASE64.encode(with(good.clone(), "sub", json!("sub-ada")).to_string());
    vec![
        (sign(with(good.clone(), "aud", json!("other"))), "audience"),
        (sign(with(good.clone(), "aud", json!(["other", crate::kit::oidc::CLIENT]))), "audience"),
        (sign(without(good.clone(), "aud")), "audience"),
        (sign(with(good.clone(), "token_use", json!("refresh"))), "neither an ID token"),
        (sign(with(good.clone(), "exp", json!(now() - 60))), "expired"),
        (sign(with(good.clone(), "nbf", json!(now() + 600))), "not good yet"),
        (sign(with(good.clone(), "iat", json!(now() + 600))), "not good yet"),
        (sign(without(good.clone(), "exp")), "not valid"),
        (sign(without(good.clone(), "sub")), "not valid"),
        (sign(with(good.clone(), "sub", json!("x".repeat(300)))), "names nobody"),
        (format!("{none}.{payload}."), "not valid"),
        (key.confused(&good), "algorithm of its key"),
        (format!("{header}.{changed}.{signature}"), "not valid"),
        (format!("{said}.{}", BASE64.encode([0; 64])), "not valid"),
        (stranger.sign_with(&good, &json!({ "kid": "k1" })), "not valid"),
        (stranger.sign_with(&good, &json!({ "kid": "k1", "alg": "EdDSA" })), "algorithm of its key"),
        (stranger.sign_with(&good, &json!({ "kid": "k1", "jwk": stranger.jwk() })), "not valid"),
        (stranger.sign_with(&good, &json!({ "kid": "k1", "jku": "https://evil.example/keys" })), "not valid"),
        (key.sign_with(&good, &json!({ "crit": ["x"], "x": 1 })), "neither an ID token"),
        (key.sign_with(&good, &json!({ "typ": "logout+jwt" })), "neither an ID token"),
        (sign(with(good.clone(), "padding", json!("x".repeat(20_000)))), "not valid"),
        ("nonsense".to_owned(), "not valid"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_wrong_in_any_way_opens_nothing() {
    let world = World::new().await;
    world.login("ada").await;
    for (token, said) in bad(&world, &SigningKey::es256("k2")) {
        let answer = world.exchange(&token).await;
        assert_eq!(answer.status, 401, "{said}: {}", answer.body);
        assert!(text(&answer.body["message"]).contains(said), "{said}: {}", answer.body);
        world.server.stranger().with_token(&token).get("/v1/runs").await.expect(401);
    }
    let other = with(world.issuer.claims("mallory"), "iss", json!("https://evil.example"));
    let answer = world.exchange(&world.key.sign(&other)).await.expect(401);
    assert!(text(&answer["message"]).contains("not of the issuer"), "{answer}");
    world.direct(&other).get("/v1/runs").await.expect(401);
    // What logs in is no credential of another kind.
    world.server.stranger().with_token(BOOTSTRAP).get("/v1/runs").await.expect(401);
    world.direct(&world.issuer.claims("ada")).get("/v1/runs").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_body_says_of_the_profile_is_ignored_and_a_profile_alone_is_refused() {
    let world = World::new().await;
    let ada = world.exchange(&world.issuer.token(&world.key, "ada")).await.expect(200);
    let profile = json!({
        "provider": "google", "oauthId": "sub-ada", "email": "ada@example.com", "displayName": "ada",
    });
    let refused = world.server.stranger().post("/v1/auth/login", profile.clone()).await.expect(422);
    assert!(text(&refused["fieldErrors"]["idToken"][0]).contains(world.issuer.url()), "{refused}");
    let body = with(profile, "idToken", json!(world.issuer.token(&world.key, "mallory")));
    let mallory = world.server.stranger().post("/v1/auth/login", body).await.expect(200);
    assert_ne!(mallory["user"]["id"], ada["user"]["id"]);
    assert_eq!(
        (&mallory["user"]["email"], &mallory["user"]["displayName"]),
        (&json!("mallory@example.com"), &json!("mallory"))
    );
    // Another page may ask, for nobody is believed.
    let request = world
        .server
        .stranger()
        .request(reqwest::Method::GET, "/v1/runs")
        .header("origin", "https://a.example");
    Answer::of(request).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_is_not_verified_accepts_no_invitation_and_is_nobodys_account() {
    let world = World::new().await;
    let owner = world.login("owner").await;
    let workspace = text(&owner.get("/v1/auth/me").await.expect(200)["workspaces"][0]["id"]);
    let members = format!("/v1/workspaces/{workspace}/members");
    owner.post(&members, json!({ "email": "ada@example.com", "role": "admin" })).await.expect(201);
    for claim in [json!(false), json!(null), json!(1)] {
        let claims = with(world.issuer.claims("ada"), "email_verified", claim);
        // Not even with the address of somebody who is known.
        for claims in
            [claims.clone(), with(with(claims, "sub", json!("thief")), "email", json!("owner@example.com"))]
        {
            let session = world.exchange(&world.key.sign(&claims)).await.expect(200);
            let me = world
                .server
                .stranger()
                .with_token(&text(&session["token"]))
                .get("/v1/auth/me")
                .await
                .expect(200);
            assert_eq!(
                (me["workspaces"].as_array().unwrap().len(), &me["emailVerified"]),
                (1, &json!(false)),
                "{me}"
            );
            assert_ne!(me["workspaces"][0]["id"], json!(workspace));
        }
    }
    let me = world.login("ada").await.get("/v1/auth/me").await.expect(200);
    assert_eq!((me["workspaces"].as_array().unwrap().len(), &me["emailVerified"]), (2, &json!(true)), "{me}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_taken_up_with_one_fetch_however_many_ask() {
    let world = World::new().await;
    world.login("ada").await;
    let fetched = world.issuer.fetches();
    let next = SigningKey::eddsa("k2");
    world.issuer.publish(&[&world.key, &next]);
    let token = world.issuer.token(&next, "ada");
    let both = futures::future::join_all((0..32).map(|_| world.exchange(&token))).await;
    assert!(both.iter().all(|answer| answer.status == 200), "{:?}", both[0].body);
    assert_eq!(world.issuer.fetches(), fetched + 1);
    world.login("ada").await;
    // Keys that nobody publishes do not make the server ask for each.
    for place in 0..5 {
        let unknown = SigningKey::eddsa(&format!("unknown-{place}"));
        let refused = world.exchange(&world.issuer.token(&unknown, "ada")).await.expect(401);
        assert!(text(&refused["message"]).contains("does not publish"), "{refused}");
    }
    assert_eq!(world.issuer.fetches(), fetched + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_issuer_is_down_known_keys_serve_and_new_ones_are_refused() {
    let world = World::new().await;
    world.login("ada").await;
    let next = SigningKey::rs256("k2");
    for mood in [Mood::Down, Mood::Endless, Mood::Elsewhere, Mood::AnotherIssuer] {
        world.issuer.set(mood);
        world.login("bob").await;
        world.direct(&world.issuer.claims("carol")).get("/v1/runs").await.expect(200);
        let token = world.issuer.token(&next, "ada");
        let refused = world.exchange(&token).await;
        assert_eq!(refused.header("retry-after"), "1");
        assert!(text(&refused.expect(503)["message"]).contains("could not be asked for its keys"));
        world.server.stranger().with_token(&token).get("/v1/runs").await.expect(503);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_key_nobody_logs_in_until_the_issuer_answers() {
    let key = SigningKey::es256("k1");
    let issuer = OidcIssuer::start(&[&key]).await;
    issuer.set(Mood::Down);
    let server = TestServer::start_with(|config| issuer.configure(config)).await;
    let world = World { key, issuer, server };
    let token = world.issuer.token(&world.key, "ada");
    let refused = world.exchange(&token).await.expect(503);
    assert!(text(&refused["message"]).contains("try again later"), "{refused}");
    world.issuer.set(Mood::Fine);
    world.until(&token, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_issuer_is_taken_on_every_route_and_makes_its_person() {
    let world = World::new().await;
    let direct = world.direct(&world.issuer.claims("ada"));
    // The first use of several at once makes one person.
    let both = futures::future::join_all((0..8).map(|_| direct.get("/v1/auth/me"))).await;
    let ids: Vec<Value> = both.into_iter().map(|answer| answer.expect(200)["id"].clone()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let workflow = direct.chain(1).await;
    let body = json!({ "workflowId": workflow, "input": { "title": "t" } });
    let run = direct.post("/v1/runs", body).await.expect(201);
    assert_eq!(world.login("ada").await.get("/v1/runs").await.expect(200)["runs"][0]["id"], run["id"]);
    // Where they switch to is where the issuer's tokens lead from then on.
    let second = text(&direct.post("/v1/workspaces", json!({ "name": "second" })).await.expect(201)["id"]);
    let switched = direct.switch(&second).await;
    assert_eq!(switched.get("/v1/auth/me").await.expect(200)["via"], "oidc");
    assert_eq!(direct.get("/v1/runs").await.expect(200)["runs"], json!([]));
    assert_eq!(world.login("ada").await.get("/v1/runs").await.expect(200)["runs"], json!([]));
    // A key that the issuer takes back ends the tokens that it signed.
    let next = SigningKey::eddsa("k2");
    world.issuer.publish(&[&next]);
    world.exchange(&world.issuer.token(&next, "ada")).await.expect(200);
    direct.get("/v1/runs").await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_names_the_workspace_and_never_lets_in() {
    let world = World::of(|config| config.auth.oidc.workspace_claim = "custom:workspace".into()).await;
    let owner = world.login("owner").await;
    let acme = text(&owner.post("/v1/workspaces", json!({ "name": "Acme" })).await.expect(201)["id"]);
    for named in [acme.as_str(), "acme"] {
        let claims = |name: &str| with(world.issuer.claims(name), "custom:workspace", json!(named));
        let direct = world.direct(&claims("owner"));
        assert_eq!(direct.workspace().await, acme);
        let session = world.exchange(&world.key.sign(&claims("owner"))).await.expect(200);
        assert_eq!(world.server.stranger().with_token(&text(&session["token"])).workspace().await, acme);
        let refused = world.exchange(&world.key.sign(&claims("ada"))).await.expect(401);
        assert!(text(&refused["message"]).contains("invitation"), "{refused}");
        world.direct(&claims("ada")).get("/v1/runs").await.expect(401);
    }
    assert_ne!(world.direct(&world.issuer.claims("owner")).workspace().await, acme);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bootstrap_token_lets_the_operator_in_and_the_audit_log_says_so() {
    let world = World::new().await;
    let login = async |token: String| {
        world.server.stranger().post("/v1/auth/login", json!({ "bootstrapToken": token })).await
    };
    for wrong in [String::new(), BOOTSTRAP[1..].to_owned(), format!("{BOOTSTRAP}x")] {
        login(wrong).await.expect(401);
    }
    let session = login(BOOTSTRAP.to_owned()).await.expect(200);
    let operator = world.server.stranger().with_token(&text(&session["token"]));
    let me = operator.get("/v1/auth/me").await.expect(200);
    assert_eq!((&me["via"], &me["displayName"]), (&json!("bootstrap"), &json!("Administrator")));
    let team = text(&operator.post("/v1/workspaces", json!({ "name": "Team" })).await.expect(201)["id"]);
    let invite = json!({ "email": "ada@example.com", "role": "owner" });
    operator.post(&format!("/v1/workspaces/{team}/members"), invite).await.expect(201);
    assert_eq!(world.login("ada").await.switch(&team).await.workspace().await, team);
    let again = login(BOOTSTRAP.to_owned()).await.expect(200);
    assert_eq!(again["user"]["id"], me["id"]);
    let both = json!({ "bootstrapToken": BOOTSTRAP, "idToken": "x" });
    world.server.stranger().post("/v1/auth/login", both).await.expect(422);
    let without = TestServer::start().await;
    without.stranger().post("/v1/auth/login", json!({ "bootstrapToken": BOOTSTRAP })).await.expect(401);
    without.stranger().post("/v1/auth/login", json!({ "bootstrapToken": "" })).await.expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_believed_in_dev_mode_is_not_once_an_issuer_is_trusted() {
    let server = TestServer::start().await;
    let dev = server.login("ada").await;
    let refused = server.stranger().post("/v1/auth/login", json!({ "idToken": "x" })).await.expect(422);
    assert!(text(&refused["fieldErrors"]["idToken"][0]).contains("auth.mode"), "{refused}");
    let key = SigningKey::es256("k1");
    let issuer = OidcIssuer::start(&[&key]).await;
    let server = server.restart_with(|config| issuer.configure(config)).await;
    let refused = server.stranger().with_token(&dev.token.unwrap()).get("/v1/runs").await.expect(401);
    assert!(text(&refused["message"]).contains("log in again"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_key_is_changed_while_requests_go_on() {
    let server = TestServer::start().await;
    let old = server.login("ada").await;
    let operator = server.stranger().with_token(&server.server.app().control_token);
    let asking = async {
        for _ in 0..50 {
            old.get("/v1/auth/me").await.expect(200);
            server.login("ada").await.get("/v1/auth/me").await.expect(200);
        }
    };
    let rotating = operator.post("/control/keys/rotate", json!({}));
    let (rotated, ()) = tokio::join!(rotating, asking);
    let keys = rotated.expect(200);
    let published = server.stranger().get("/.well-known/jwks.json").await.expect(200);
    let kids = |keys: &Value| {
        let kids = keys["keys"].as_array().unwrap().iter().map(|key| text(&key["kid"]));
        kids.collect::<Vec<_>>()
    };
    assert_eq!((kids(&published).len(), kids(&published)), (2, kids(&keys)));
    let new = server.login("ada").await;
    let kid = |token: &str| {
        let header = BASE64.decode(token.split('.').next().unwrap()).unwrap();
        text(&serde_json::from_slice::<Value>(&header).unwrap()["kid"])
    };
    assert_eq!(kid(new.token.as_ref().unwrap()), kids(&keys)[0]);
    assert_eq!(kid(old.token.as_ref().unwrap()), kids(&keys)[1]);
    let server = server.restart().await;
    let with = |token: &Option<String>| server.stranger().with_token(token.as_ref().unwrap());
    with(&old.token).get("/v1/auth/me").await.expect(200);
    with(&new.token).get("/v1/auth/me").await.expect(200);
    let operator = server.stranger().with_token(&server.server.app().control_token);
    operator.post("/control/keys/rotate", json!({ "endFormer": true })).await.expect(200);
    with(&old.token).get("/v1/auth/me").await.expect(401);
    with(&new.token).get("/v1/auth/me").await.expect(401);
    server.login("ada").await.get("/v1/auth/me").await.expect(200);
}
