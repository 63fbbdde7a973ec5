//! What stands between the envelope and the guard: rules for pages of other origins, and compression.

use std::time::Duration;

use axum::http::{Extensions, HeaderMap, HeaderName, Method, StatusCode, Version, header};
use tower_http::{
    CompressionLevel,
    compression::{CompressionLayer, Predicate, predicate::SizeAbove},
    cors::{AllowOrigin, CorsLayer},
};

use super::request::REQUEST_ID;
use crate::config::Server;

/// How long a browser may remember what a preflight said.
const REMEMBERED: Duration = Duration::from_mins(10);
/// The smallest answer that is worth compressing, in bytes.
const WORTH: u16 = 1024;
/// How hard it is tried: most of the gain for little of the time.
const LEVEL: i32 = 4;

/// Lets pages of the origins that the configuration names call the API; absent when it names none. Pages send
/// their token themselves, so no credentials of the browser are ever allowed.
pub(super) fn cors(config: &Server) -> Option<CorsLayer> {
    let name = HeaderName::from_static;
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let sent = [
        header::ACCEPT,
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        name("idempotency-key"),
        name("last-event-id"),
        name("prefer"),
        name("x-api-key"),
        REQUEST_ID,
    ];
    let shown = [
        header::ETAG,
        header::LOCATION,
        header::RETRY_AFTER,
        name("idempotency-replayed"),
        name("ratelimit"),
        name("ratelimit-policy"),
        name("x-ratelimit-limit"),
        name("x-ratelimit-remaining"),
        name("x-ratelimit-reset"),
        REQUEST_ID,
    ];
    let rules = CorsLayer::new()
        .allow_origin(AllowOrigin::list(config.origins()))
        .allow_methods(methods)
        .allow_headers(sent)
        .expose_headers(shown)
        .max_age(REMEMBERED);
    (!config.cors_origins.is_empty()).then_some(rules)
}

/// Compresses JSON that is worth it, and nothing that must not be kept: those answers hold secrets, whose
/// compressed length would tell of them, or are event streams, which must not wait for more.
pub(super) fn compression() -> CompressionLayer<impl Predicate> {
    let worth = SizeAbove::new(WORTH).and(is_plain_json);
    CompressionLayer::new().quality(CompressionLevel::Precise(LEVEL)).compress_when(worth)
}

fn is_plain_json(status: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let is = |name, wanted: &[u8]| {
        headers.get(name).is_some_and(|value: &header::HeaderValue| value.as_bytes().starts_with(wanted))
    };
    status.is_success()
        && is(header::CONTENT_TYPE, b"application/json")
        && !is(header::CACHE_CONTROL, b"no-store")
}
