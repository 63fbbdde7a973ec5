//! What keeps a request from a handler, or ends it: headers that are too large, the guard of `dev` mode, and
//! the deadline of its route.

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, uri::Authority},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{
    conditional,
    error::ApiError,
    extract,
    table::{self, Takes},
};
use crate::{
    app::{App, Ports},
    config::Server,
};

/// What is said when the deadline of a route has passed.
const TOO_LONG: &str = "the answer took too long; what was asked may take effect all the same: look, or ask \
    again with the same Idempotency-Key";

/// Lets a request through to its handler, for as long as its route may take.
pub(super) async fn guard(State(app): State<App>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let refusal = too_large(&app.config.server, headers);
    if let Some(refusal) = refusal.or_else(|| foreign(&app, headers, request.uri().authority())) {
        return refusal.into_response();
    }
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let route = table::find(request.method(), path);
    let config = &app.config.server;
    let within = match route.map_or(Takes::Usual, |route| route.takes) {
        Takes::Open => None,
        Takes::Usual => Some(Server::wait(config.request_timeout_ms)),
        Takes::Long => Some(Server::wait(config.request_timeout_long_ms)),
    };
    let within = within.map(|within| within + extract::wait(headers).unwrap_or_default());
    let has = conditional::has(request.method(), headers);
    let answer = next.run(request);
    let mut response = match within {
        None => answer.await,
        Some(within) => match tokio::time::timeout(within, answer).await {
            Ok(response) => response,
            Err(_) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, TOO_LONG).into_response(),
        },
    };
    response = conditional::spared(has, response);
    if route.is_some_and(|route| route.is_secret) {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

fn too_large(config: &Server, headers: &HeaderMap) -> Option<ApiError> {
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let most = config.header_bytes_max;
    (bytes > usize::try_from(most).unwrap_or(usize::MAX)).then(|| {
        ApiError::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            format!("the headers have {bytes} bytes, more than {most}"),
        )
    })
}

/// Keeps web pages out of a server that believes its clients: the host must be ours, and so must a page's
/// origin, unless the configuration names it.
fn foreign(app: &App, headers: &HeaderMap, authority: Option<&Authority>) -> Option<ApiError> {
    if !app.config.auth.believes_its_clients() || app.config.auth.dev_allow_public {
        return None;
    }
    let refused = |said: String| Some(ApiError::new(StatusCode::FORBIDDEN, said));
    let host =
        headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(authority.map(Authority::as_str));
    let tls = app.config.server.tls.is_on();
    if !host.is_some_and(|host| is_ours(host, app.ports, tls)) {
        let port = app.ports.public;
        return refused(format!(
            "in dev mode the server answers to localhost:{port}, 127.0.0.1:{port} and [::1]:{port} only"
        ));
    }
    let origin = headers.get(header::ORIGIN)?.to_str().unwrap_or_default();
    let named = app.config.server.cors_origins.iter().any(|named| named == origin);
    let public = Ports { control: None, ..app.ports };
    let scheme = if tls { "https://" } else { "http://" };
    let ours = origin.strip_prefix(scheme).is_some_and(|host| is_ours(host, public, tls));
    if named || ours { None } else { refused("in dev mode no other web page may use the server".to_owned()) }
}

fn is_ours(host: &str, ports: Ports, tls: bool) -> bool {
    let usual = if tls { 443 } else { 80 };
    let with_port = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
    let (name, port): (&str, u16) = with_port.unwrap_or((host, usual));
    let known = port == ports.public || Some(port) == ports.control;
    known && matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_ours_by_name_and_port() {
        let ours = |host, public, tls| is_ours(host, Ports { public, control: Some(9) }, tls);
        assert!(ours("localhost:8080", 8080, false) && ours("[::1]:8080", 8080, false));
        assert!(ours("127.0.0.1:9", 8080, true), "the command line's own door");
        assert!(ours("localhost", 80, false) && ours("[::1]", 443, true));
        assert!(!ours("localhost", 8080, false) && !ours("localhost", 80, true));
        assert!(!ours("localhost:8081", 8080, false) && !ours("evil.example:8080", 8080, false));
        assert!(!ours("localhost.:8080", 8080, false) && !ours("", 80, false));
    }
}
