//! What operators ask.

use crate::kit::{Answer, TestServer};

#[tokio::test(flavor = "multi_thread")]
async fn health_and_readiness_answer_without_a_token() {
    let server = TestServer::start().await;
    assert_eq!(server.stranger().get("/healthz").await.expect(200)["status"], "ok");
    assert_eq!(server.stranger().get("/readyz").await.expect(200)["status"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_has_the_same_envelope_and_the_id_of_its_request() {
    let server = TestServer::start().await;
    let stranger = server.stranger();
    let request =
        stranger.request(reqwest::Method::GET, "/v1/nothing").header("x-request-id", "my-request-1");
    let answer = Answer::of(request).await;
    assert_eq!((answer.status.as_u16(), answer.header("x-request-id")), (404, "my-request-1"));
    assert_eq!(
        (&answer.body["error"], &answer.body["requestId"]),
        (&"not_found".into(), &"my-request-1".into())
    );
    let wrong_method = Answer::of(stranger.request(reqwest::Method::PUT, "/v1/runs")).await;
    assert_eq!((wrong_method.status.as_u16(), wrong_method.header("allow")), (405, "POST,GET,HEAD"));
    assert_eq!(wrong_method.body["error"], "method_not_allowed");
    let odd_id = stranger.request(reqwest::Method::GET, "/healthz").header("x-request-id", "a b");
    assert_ne!(Answer::of(odd_id).await.header("x-request-id"), "a b");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_door_opens_only_to_the_secret_of_the_data_directory() {
    let server = TestServer::start().await;
    let body = serde_json::json!({ "to": server.home.path().join("b.tar") });
    server.stranger().post("/control/backup", body.clone()).await.expect(401);
    server.login("ada").await.post("/control/backup", body.clone()).await.expect(401);
    let secret = server.server.app().control_token.clone();
    server.stranger().with_token(&secret).post("/control/backup", body.clone()).await.expect(200);
    assert!(server.home.path().join("b.tar").exists());
    server.stranger().with_token(&secret).post("/control/backup", body).await.expect(409);
}
