//! What happens to every request: an id, a span, the envelope around errors, and the guard of `dev` mode.

use axum::{
    Json,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tracing::Instrument as _;

use super::error::ApiError;
use crate::app::App;

const REQUEST_ID: &str = "x-request-id";

/// Gives the request an id and its errors their envelope; what web pages of others ask gets no further.
pub(super) async fn envelope(State(app): State<App>, request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).filter(|id| is_plain(id));
    let id = given.map_or_else(|| app.clock.id().to_string(), str::to_owned);
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let span = tracing::debug_span!("request", request.id = %id, method = %request.method(), route);
    let began = app.clock.now();
    let response = match foreign(&app, request.headers(), request.uri().authority()) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).instrument(span.clone()).await,
    };
    let mut response = enveloped(response, &id);
    let status = response.status().as_u16();
    let duration_ms = app.clock.now().since(began).as_millis();
    tracing::debug!(parent: &span, status, duration_ms, "answered");
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

fn is_plain(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Puts the id into our own errors, and whatever else refused the request into our envelope.
fn enveloped(mut response: Response, id: &str) -> Response {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let ours = response.extensions_mut().remove::<ApiError>();
    let error = ours.unwrap_or_else(|| ApiError::new(status, said(status)));
    let mut answer = (status, Json(error.body(id))).into_response();
    for name in [header::ALLOW, header::RETRY_AFTER, header::WWW_AUTHENTICATE] {
        if let Some(value) = response.headers().get(&name) {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer
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

/// Keeps web pages out of a server that believes its clients: the host must be ours, and so must a page's
/// origin.
fn foreign(app: &App, headers: &HeaderMap, authority: Option<&Authority>) -> Option<ApiError> {
    if !app.config.auth.believes_its_clients() || app.config.auth.dev_allow_public {
        return None;
    }
    let refused = |said: String| Some(ApiError::new(StatusCode::FORBIDDEN, said));
    let host =
        headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(authority.map(Authority::as_str));
    if !host.is_some_and(|host| is_ours(host, app.port)) {
        let port = app.port;
        return refused(format!(
            "in dev mode the server answers to localhost:{port}, 127.0.0.1:{port} and [::1]:{port} only"
        ));
    }
    let origin = headers.get(header::ORIGIN)?.to_str().unwrap_or_default();
    let ours = origin.strip_prefix("http://").is_some_and(|host| is_ours(host, app.port));
    if ours { None } else { refused("in dev mode no other web page may use the server".to_owned()) }
}

fn is_ours(host: &str, port: u16) -> bool {
    let Some((name, given)) = host.rsplit_once(':') else { return port == 80 && is_local(host) };
    given.parse() == Ok(port) && is_local(name)
}

fn is_local(name: &str) -> bool {
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}
