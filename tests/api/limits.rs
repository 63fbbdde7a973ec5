//! How often anybody may ask, and how each answer says how that stands.

use reqwest::Method;
use serde_json::json;

use crate::kit::{Answer, TestClient, TestServer, text};

/// A client in a workspace of that plan.
async fn on_plan(server: &TestServer, plan: &str) -> TestClient {
    let owner = server.login("owner").await;
    let created = owner.post("/v1/workspaces", json!({ "name": "w", "plan": plan })).await.expect(201);
    owner.switch(&text(&created["id"])).await
}

fn limits(answer: &Answer) -> [&str; 2] {
    ["x-ratelimit-limit", "x-ratelimit-remaining"].map(|name| answer.header(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_refused_beyond_its_plan_and_told_until_when() {
    let server = TestServer::start().await;
    let client = on_plan(&server, "starter").await;
    let first = client.get("/v1/runs").await;
    assert_eq!(limits(&first), ["60", "59"]);
    assert_eq!(first.header("ratelimit-policy"), r#""minute";q=60;w=60, "day";q=5000;w=86400"#);
    assert!(first.header("ratelimit").starts_with(r#""minute";r=59;t=1, "day";r=4999;t="#));
    let mut refused = first;
    for _ in 0..200 {
        refused = client.get("/v1/runs").await;
        if refused.status == 429 {
            break;
        }
    }
    assert_eq!(limits(&refused), ["60", "0"]);
    assert_eq!(refused.header("retry-after"), "1");
    let reset: u64 = refused.header("x-ratelimit-reset").parse().unwrap();
    let now = cendriix_actors::kit::Clock::system().now().0 / 1_000;
    assert!((now..now + 65).contains(&reset), "{reset} at {now}");
    let body = refused.expect(429);
    assert_eq!(body["error"], "rate_limit_exceeded");
    assert!(text(&body["message"]).contains("60 requests a minute"), "{body}");
    // Another workspace of the same person has its own.
    server.login("owner").await.get("/v1/runs").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_limit_no_limit_is_shown() {
    let server = TestServer::start().await;
    let answer = server.login("owner").await.get("/v1/runs").await;
    assert_eq!(limits(&answer), ["", "2147483647"]);
    let unknown = server.stranger().get("/v1/nothing").await;
    assert_eq!((unknown.status.as_u16(), limits(&unknown)), (404, ["", "2147483647"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_day_of_a_workspace_is_counted_over_a_restart() {
    let server = TestServer::start().await;
    let client = on_plan(&server, "team").await;
    let left = |answer: &Answer| {
        let (_, day) = answer.header("ratelimit").split_once("\"day\";r=").unwrap();
        day.split(';').next().unwrap().parse::<u32>().unwrap()
    };
    let before = left(&client.get("/v1/runs").await);
    let token = client.token.clone().unwrap();
    let server = server.restart().await;
    let after = left(&server.stranger().with_token(&token).get("/v1/runs").await);
    // At midnight a new day begins.
    assert!(after == before - 1 || after == 99_999, "{before} {after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_counted_by_address_and_log_ins_more_strictly() {
    let server = TestServer::start_with(|config| {
        config.auth.dev_allow_public = true;
        config.limits.public_per_minute = 5;
        config.limits.logins_per_minute = 2;
        config.limits.proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    let from = async |address: &str, method: Method, path: &str| {
        let request = server.stranger().request(method, path).header("x-forwarded-for", address);
        let body =
            json!({ "provider": "github", "oauthId": "o", "email": "o@example.com", "displayName": "o" });
        Answer::of(request.json(&body)).await.status.as_u16()
    };
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(from("203.0.113.1", Method::POST, "/v1/auth/login").await);
    }
    assert_eq!(seen, [200, 200, 429]);
    assert_eq!(from("203.0.113.2", Method::POST, "/v1/auth/login").await, 200);
    // Wrong credentials count as well.
    let mut seen = Vec::new();
    for _ in 0..7 {
        seen.push(from("203.0.113.3", Method::GET, "/v1/runs").await);
    }
    assert_eq!(seen, [401, 401, 401, 401, 401, 429, 429]);
    // Whoever asks whether the server lives is always answered.
    for _ in 0..20 {
        assert_eq!(from("203.0.113.3", Method::GET, "/readyz").await, 200);
    }
}
