//! What happens to every request: an id, a span, one shape for refusals, and headers that keep answers safe.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use cendriix_actors::kit::RequestId;
use cendriix_protocol::error::Problem;
use tracing::Instrument as _;

use super::{
    error::ApiError,
    table::{self, Access, Route},
};
use crate::app::App;

/// The header with the id of a request, in both directions.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The type of a refusal as RFC 9457 has it.
const PROBLEM: &str = "application/problem+json";

/// From how long on an answer is slow, also one that its client waits for on purpose (`Prefer: wait`).
const SLOW: Duration = Duration::from_secs(5);

/// Gives the request an id, its refusals their shape, and its answer the headers that every answer has.
pub(super) async fn envelope(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let headers = request.headers();
    let given = headers.get(REQUEST_ID).and_then(|id| RequestId::new(id.to_str().ok()?));
    let known = given.or_else(|| RequestId::new(&app.clock.id().to_string()));
    let id = known.as_ref().map_or("", RequestId::as_str);
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let path = matched.as_ref().map_or("", MatchedPath::as_str);
    let route = table::find(request.method(), path);
    let wants_problem = accepts_problem(headers);
    let (method, workspace) = (request.method(), tracing::field::Empty);
    let span =
        tracing::info_span!("request", request.id = %id, %method, route = path, workspace.id = workspace);
    if let Some(known) = known {
        // The audit log has it too.
        request.extensions_mut().insert(known);
    }
    let began = app.clock.now();
    let in_flight = app.door.begin(request.method(), path);
    let response = match methods(&app, &request, path) {
        Some(answer) => answer,
        None => next.run(request).instrument(span.clone()).await,
    };
    let mut response = shaped(response, id, wants_problem);
    let status = response.status().as_u16();
    let took = app.clock.now().since(began);
    in_flight.answered(response.status(), took);
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    // What went wrong and what was slow is worth a line always, all else only to whoever looks for it.
    span.in_scope(|| {
        if status >= 500 || took >= SLOW {
            tracing::info!(status, duration_ms, "answered");
        } else {
            tracing::debug!(status, duration_ms, "answered");
        }
    });
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    guarded(response, route)
}

fn accepts_problem(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|kind| {
        let mut parts = kind.split(';').map(str::trim);
        parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case(PROBLEM))
            && !parts.any(|part| part == "q=0")
    })
}

/// Answers `OPTIONS` with the methods of the path; a page's preflight is left to the rules for other origins
/// where there are any.
fn methods(app: &App, request: &Request, path: &str) -> Option<Response> {
    let asks = request.method() == Method::OPTIONS && !path.is_empty();
    let is_preflight = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    if !asks || (is_preflight && !app.config.server.cors_origins.is_empty()) {
        return None;
    }
    Some((StatusCode::NO_CONTENT, [(header::ALLOW, table::methods(path))]).into_response())
}

/// Puts refusals, ours and whatever else refused the request, into one shape with the id. The only place that
/// writes them.
pub(super) fn shaped(response: Response, id: &str, wants_problem: bool) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let error = parts.extensions.remove::<ApiError>().unwrap_or_else(|| ApiError::new(status, said(status)));
    let body = error.body(id);
    let (kind, written) = if wants_problem {
        let title = status.canonical_reason().unwrap_or("Error");
        (PROBLEM, serde_json::to_vec(&Problem::new(body, status.as_u16(), title)))
    } else {
        ("application/json", serde_json::to_vec(&body))
    };
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    for former in [header::CONTENT_LENGTH, header::CONTENT_ENCODING, header::TRANSFER_ENCODING] {
        parts.headers.remove(former);
    }
    // Types of the protocol have no maps but those with string keys, so they can always be written.
    Response::from_parts(parts, Body::from(written.unwrap_or_default()))
}

fn said(status: StatusCode) -> &'static str {
    match status {
        StatusCode::NOT_FOUND => "there is no such route; /openapi.json lists all",
        StatusCode::METHOD_NOT_ALLOWED => "this route has other methods; the Allow header lists them",
        StatusCode::PAYLOAD_TOO_LARGE => "the body is too large",
        _ if status.is_server_error() => "the server failed; say the requestId when you report it",
        _ => "the request could not be understood",
    }
}

/// Keeps an answer from being taken for something else, and what is not everybody's from being kept.
fn guarded(mut response: Response, route: Option<&Route>) -> Response {
    let status = response.status();
    let is_refusal = status.is_client_error() || status.is_server_error();
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let is_page =
        headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if !is_page {
        let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(nothing);
    }
    let is_public = route.is_some_and(|route| route.access == Access::Public);
    if is_refusal || !is_public {
        // Whoever asked may keep what has a version, and asks each time whether it is still that one.
        let versioned = headers.contains_key(header::ETAG) && !is_refusal;
        let keeping = HeaderValue::from_static(if versioned { "private, no-cache" } else { "no-store" });
        headers.entry(header::CACHE_CONTROL).or_insert(keeping);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_written_to_those_who_name_it() {
        let asks = |accept: &'static str| {
            accepts_problem(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]))
        };
        assert!(asks("application/problem+json"));
        assert!(asks("application/json, Application/Problem+JSON;q=0.9"));
        assert!(!asks("application/problem+json;q=0, application/json"));
        assert!(!asks("*/*"));
        assert!(!accepts_problem(&HeaderMap::new()));
    }
}
