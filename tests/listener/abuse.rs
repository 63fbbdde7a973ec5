//! Too slow, too large, too many.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{io::AsyncReadExt as _, task::JoinSet};

use super::{Raw, holds_at_most, others_are_answered, within};
use crate::kit::TestServer;

fn post(server: &TestServer, length: &str) -> String {
    let host = server.server.addr();
    format!(
        "POST /v1/auth/login HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_drip_are_cut_off_and_others_are_answered() {
    let server = TestServer::start_with(|config| config.server.header_timeout_ms = 300).await;
    let mut dripping = JoinSet::new();
    for _ in 0..100 {
        let mut raw = Raw::open(&server).await;
        raw.send("GET /healthz HTTP/1.1\r\nx-slow: ").await;
        dripping.spawn(raw.drips(b"a"));
    }
    others_are_answered(&server).await;
    let said = dripping.join_all().await;
    assert!(said.iter().all(String::is_empty), "{said:?}");
    others_are_answered(&server).await;
    holds_at_most(&server, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_asks_nothing_is_closed_and_so_is_a_second_request_that_drips() {
    let server = TestServer::start_with(|config| config.server.header_timeout_ms = 300).await;
    assert_eq!(Raw::open(&server).await.closed().await, "");
    let mut second = Raw::open(&server).await;
    assert!(second.asks_for_health(&server).await);
    second.send("GET /hea").await;
    assert_eq!(second.drips(b"l").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_in_the_end() {
    let server = TestServer::start_with(|config| config.server.idle_timeout_ms = 300).await;
    let mut raw = Raw::open(&server).await;
    assert!(raw.asks_for_health(&server).await && raw.asks_for_health(&server).await);
    assert_eq!(raw.closed().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_headers_are_refused() {
    let server = TestServer::start().await;
    let mut raw = Raw::open(&server).await;
    let headers: Vec<_> = (0..100_000).map(|number| format!("x-{number}: 1\r\n")).collect();
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n{}", server.server.addr(), headers.concat());
    // It need not take it all.
    raw.send(request + "\r\n").await;
    let said = raw.closed().await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 431 "), "{said}");
    others_are_answered(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_are_too_large_get_a_refusal_in_the_envelope() {
    let server = TestServer::start().await;
    let request = server.stranger().request(reqwest::Method::GET, "/healthz");
    let answer = crate::kit::Answer::of(request.header("x-large", "a".repeat(40 << 10))).await;
    assert_eq!(answer.body["error"], "headers_too_large");
    answer.expect(431);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_body_is_refused_and_not_read() {
    let server = TestServer::start().await;
    for length in ["content-length: 1000000000000", "transfer-encoding: chunked"] {
        let mut raw = Raw::open(&server).await;
        raw.send(post(&server, length)).await;
        let (mut reads, mut writes) = raw.0.split();
        let piece = [b"ffff\r\n".to_vec(), vec![b' '; 0xffff], b"\r\n".to_vec()].concat();
        let mut sent = 0;
        let sends = async {
            while tokio::io::AsyncWriteExt::write_all(&mut writes, &piece).await.is_ok() {
                sent += piece.len();
            }
        };
        let mut said = Vec::new();
        let hears = async {
            within(reads.read_to_end(&mut said)).await.ok();
        };
        tokio::join!(sends, hears);
        let said = String::from_utf8_lossy(&said);
        assert!(said.starts_with("HTTP/1.1 413 ") && said.contains("payload_too_large"), "{length}: {said}");
        assert!(sent < 64 << 20, "{sent} bytes were taken");
    }
    others_are_answered(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_drips_gets_a_refusal_and_is_cut_off() {
    let server = TestServer::start_with(|config| config.server.body_timeout_ms = 300).await;
    let mut dripping = JoinSet::new();
    for _ in 0..20 {
        let mut raw = Raw::open(&server).await;
        raw.send(post(&server, "content-length: 100000")).await;
        dripping.spawn(raw.drips(b" "));
    }
    others_are_answered(&server).await;
    for said in dripping.join_all().await {
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("request_timeout"), "{said}");
    }
    others_are_answered(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_no_answers_is_let_go() {
    let server = TestServer::start_with(|config| config.server.write_timeout_ms = 300).await;
    let mut raw = Raw::open(&server).await;
    let request = format!("GET /openapi.json HTTP/1.1\r\nhost: {}\r\n\r\n", server.server.addr());
    // More than the buffers of both sides hold; it may be let go before all is sent.
    within(raw.send(request.repeat(500))).await;
    holds_at_most(&server, 0).await;
    others_are_answered(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_takes_its_share_and_no_more() {
    let server = TestServer::start_with(|config| {
        config.server.connections_per_address_max = 4;
        config.server.connections_max = 8;
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut raw = Raw::open(&server).await;
        assert!(raw.asks_for_health(&server).await);
        held.push(raw);
    }
    for _ in 0..20 {
        assert!(!Raw::open(&server).await.asks_for_health(&server).await, "a fifth connection was served");
    }
    assert_eq!(server.server.app().connections.refused(), 20);
    assert!(Raw::open_from(&server, [127, 0, 0, 2]).await.asks_for_health(&server).await);
    held.pop();
    holds_at_most(&server, 3).await;
    assert!(Raw::open(&server).await.asks_for_health(&server).await, "its share is its own again");
}

#[tokio::test(flavor = "multi_thread")]
async fn when_all_places_are_taken_the_next_waits_for_one() {
    let server = TestServer::start_with(|config| config.server.connections_max = 2).await;
    let mut held = [Raw::open(&server).await, Raw::open(&server).await];
    for raw in &mut held {
        assert!(raw.asks_for_health(&server).await);
    }
    let mut waits = Raw::open(&server).await;
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n\r\n", server.server.addr());
    assert!(waits.send(request).await);
    let [first, _second] = held;
    drop(first);
    assert!(waits.asks_for_health(&server).await);
}

/// Lets this process open as many files as two thousand connections take at both ends, or says how many
/// connections it can have.
fn connections() -> usize {
    const WANTED: u64 = 2 * 2_000 + 2_000;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let most = maximum.unwrap_or(u64::MAX).min(WANTED);
    if current.is_some_and(|current| current < most) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }).unwrap();
    }
    let possible = usize::try_from(most.saturating_sub(1_500) / 2).unwrap().min(2_000);
    if possible < 2_000 {
        eprintln!("this process may open {most} files only: {possible} idle connections instead of 2,000");
    }
    possible
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_idle_connections_leave_others_answered() {
    let count = connections();
    let server = TestServer::start().await;
    let mut idle = Vec::new();
    for _ in 0..count {
        let mut raw = Raw::open(&server).await;
        assert!(raw.asks_for_health(&server).await);
        idle.push(raw);
    }
    assert!(server.server.app().connections.taken() >= count);
    let ada = within(server.login("ada")).await;
    within(ada.get("/v1/auth/me")).await.expect(200);
    drop(ada);
    // A server that stops waits for none of them.
    within(server.server.stop()).await;
    for mut raw in idle {
        assert_eq!(raw.closed().await, "");
    }
}
