//! The same over HTTP/2.

use h2::client;
use tokio::net::TcpStream;

use super::{Raw, beside, holds_at_most, others_are_answered, within};
use crate::kit::TestServer;

fn health(server: &TestServer) -> axum::http::Request<()> {
    axum::http::Request::get(format!("{}/healthz", server.url())).body(()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_that_leads_to_no_request_is_cut_off() {
    let server = TestServer::start_with(|config| config.server.header_timeout_ms = 300).await;
    for begins in ["PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0"] {
        let mut raw = Raw::open(&server).await;
        raw.send(begins).await;
        raw.closed().await;
    }
    holds_at_most(&server, 0).await;
    others_are_answered(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_told_to_go_and_closed() {
    let server = TestServer::start_with(|config| config.server.idle_timeout_ms = 300).await;
    let socket = TcpStream::connect(server.server.addr()).await.unwrap();
    let (mut requests, connection) = client::handshake(socket).await.unwrap();
    let driven = beside(connection);
    let (response, _) = requests.send_request(health(&server), true).unwrap();
    assert_eq!(within(response).await.unwrap().status(), 200);
    // It ends in order: with GOAWAY, which is no error.
    within(driven).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let server = TestServer::start().await;
    let socket = TcpStream::connect(server.server.addr()).await.unwrap();
    let (requests, connection) = client::handshake(socket).await.unwrap();
    let driven = beside(connection);
    let attack = async {
        let mut opened = 0_u32;
        while let Ok(mut ready) = requests.clone().ready().await {
            let Ok((_, mut stream)) = ready.send_request(health(&server), false) else { break };
            stream.send_reset(h2::Reason::CANCEL);
            opened += 1;
            assert!(opened < 1_000_000, "nobody minds");
        }
    };
    within(attack).await;
    let error = within(driven).await.unwrap().unwrap_err();
    assert!(error.is_go_away() || error.is_io(), "{error}");
    others_are_answered(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_too_large_are_refused() {
    let server = TestServer::start().await;
    let socket = TcpStream::connect(server.server.addr()).await.unwrap();
    let (requests, connection) = client::handshake(socket).await.unwrap();
    let driven = beside(connection);
    for (bytes, status) in [(40 << 10, 431), (10, 200)] {
        let mut request = health(&server);
        request.headers_mut().insert("x-large", "a".repeat(bytes).parse().unwrap());
        let mut ready = requests.clone().ready().await.unwrap();
        let (response, _) = ready.send_request(request, true).unwrap();
        assert_eq!(within(response).await.unwrap().status(), status);
    }
    drop(requests);
    within(driven).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_has_a_bounded_number_of_requests_at_a_time() {
    let server = TestServer::start().await;
    let socket = TcpStream::connect(server.server.addr()).await.unwrap();
    let (requests, mut connection) = client::handshake(socket).await.unwrap();
    // What the server allows has come once it has acknowledged a ping.
    let mut pings = connection.ping_pong().unwrap();
    let driven = beside(connection);
    within(pings.ping(h2::Ping::opaque())).await.unwrap();
    assert_eq!(requests.current_max_send_streams(), 128);
    drop(requests);
    within(driven).await.unwrap().unwrap();
}
