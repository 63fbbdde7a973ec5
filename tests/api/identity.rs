//! Log-in and who am I.

use serde_json::json;

use crate::kit::{Answer, TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_logs_in_and_finds_its_own_workspace() {
    let server = TestServer::start().await;
    let me = server.login("ada").await.get("/v1/auth/me").await;
    insta::assert_snapshot!(me.story(), @r#"200 {"avatarUrl":null,"displayName":"ada","email":"ada@example.com","emailVerified":true,"id":"<id>","via":"dev","workspaces":[{"createdAt":"<at>","id":"<id>","name":"ada's workspace","plan":"enterprise","role":"owner","slug":"ada-s-workspace","version":1}]}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_in_again_is_the_same_person() {
    let server = TestServer::start().await;
    let first = server.login("ada").await.get("/v1/auth/me").await.expect(200);
    let again = server.login("ada").await.get("/v1/auth/me").await.expect(200);
    assert_eq!(first, again);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_profile_is_told_field_by_field() {
    let server = TestServer::start().await;
    let profile = json!({ "provider": "github", "oauthId": "", "email": "nobody", "displayName": "x", "avatarUrl": "http://x" });
    let refused = server.stranger().post("/v1/auth/login", profile).await;
    let mut story = refused.body;
    story["requestId"] = json!("<id>");
    insta::assert_snapshot!(story, @r#"{"error":"validation_error","fieldErrors":{"avatarUrl":["needs to be an https:// address of at most 2,000 bytes"],"email":["is no e-mail address"],"oauthId":["needs 1 to 200 characters, has 0"]},"message":"some fields are wrong","requestId":"<id>"}"#);
    let unknown = json!({ "provider": "myspace", "oauthId": "1", "email": "a@b", "displayName": "x" });
    let refused = server.stranger().post("/v1/auth/login", unknown).await.expect(422);
    assert!(
        refused["fieldErrors"]["provider"][0].as_str().unwrap().contains("expected `github` or `google`"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_log_ins_at_once_make_one_person() {
    let server = TestServer::start().await;
    let both = futures::future::join_all(
        (0..8)
            .map(|_| async { server.login("ada").await.get("/v1/auth/me").await.expect(200)["id"].clone() }),
    );
    let ids = both.await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_web_page_cannot_log_in() {
    let server = TestServer::start().await;
    let stranger = server.stranger();
    let request = |name: &'static str, value: &'static str| {
        stranger.request(reqwest::Method::POST, "/v1/auth/login").header(name, value).json(&json!({}))
    };
    assert_eq!(Answer::of(request("origin", "https://evil.example")).await.status, 403);
    assert_eq!(Answer::of(request("host", "evil.example")).await.status, 403);
    assert_eq!(Answer::of(request("origin", "null")).await.status, 403);
    // A form of a web page cannot send JSON.
    let form = stranger
        .request(reqwest::Method::POST, "/v1/auth/login")
        .header("content-type", "text/plain")
        .body("{}");
    assert_eq!(Answer::of(form).await.status, 415);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_key_is_shown() {
    let server = TestServer::start().await;
    let keys = server.stranger().get("/.well-known/jwks.json").await.expect(200);
    assert_eq!(
        (keys["keys"][0]["crv"].as_str(), keys["keys"][0]["alg"].as_str()),
        (Some("Ed25519"), Some("EdDSA"))
    );
    assert!(keys["keys"][0].get("d").is_none(), "the private key is not shown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_outlives_a_restart() {
    let server = TestServer::start().await;
    let token = server.login("ada").await.token.unwrap();
    let server = server.restart().await;
    server.stranger().with_token(&token).get("/v1/auth/me").await.expect(200);
}
