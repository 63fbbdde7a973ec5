//! Conditions on versions (RFC 9110 §13): `If-None-Match` spares an answer that the client has, `If-Match`
//! keeps a change from overwriting one that its author has not seen.

use axum::{
    body::Body,
    extract::FromRequestParts,
    http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header, request::Parts},
};

use super::error::ApiError;
use crate::app::App;

/// The tag of a version.
pub fn etag(version: u64) -> [(header::HeaderName, String); 1] {
    [(header::ETAG, format!("\"v{version}\""))]
}

/// The versions that a change may be made to, as an extractor; any where nothing is said of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IfMatch(pub Option<Vec<u64>>);

impl FromRequestParts<App> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        let said = tags(&parts.headers, &header::IF_MATCH);
        if said.is_empty() || said.contains(&"*") {
            return Ok(Self(None));
        }
        // A weak tag says of no state that it is the very same, so it matches none.
        let version = |tag: &&str| tag.strip_prefix("\"v")?.strip_suffix('"')?.parse().ok();
        Ok(Self(Some(said.iter().filter_map(version).collect())))
    }
}

/// What a client says that it has.
#[derive(Clone, Debug)]
pub(super) struct Has(Vec<String>);

/// What the client of a request has of its answer, if it says so.
pub(super) fn has(method: &Method, headers: &HeaderMap) -> Option<Has> {
    let asks = *method == Method::GET || *method == Method::HEAD;
    let said = tags(headers, &header::IF_NONE_MATCH);
    (asks && !said.is_empty()).then(|| Has(said.iter().map(|tag| weak(tag).to_owned()).collect()))
}

/// Leaves out what the client has.
pub(super) fn spared(has: Option<Has>, mut response: Response<Body>) -> Response<Body> {
    let Some(Has(tags)) = has.filter(|_| response.status() == StatusCode::OK) else { return response };
    let current = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok()).map(weak);
    if !current.is_some_and(|current| tags.iter().any(|tag| tag == "*" || tag == current)) {
        return response;
    }
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.body_mut() = Body::empty();
    for of_the_body in [header::CONTENT_LENGTH, header::CONTENT_TYPE] {
        response.headers_mut().remove(of_the_body);
    }
    response
}

/// A tag as it is compared where it does not matter how it was sent.
fn weak(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// The tags in a header; ours have no commas.
fn tags<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> Vec<&'h str> {
    let said = headers.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
    said.flat_map(|value| value.split(',')).map(str::trim).filter(|tag| !tag.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(asked: &'static str, current: &'static str) -> u16 {
        let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(asked))]);
        let response = Response::builder().header(header::ETAG, current).body(Body::from("x")).unwrap();
        spared(has(&Method::GET, &headers), response).status().as_u16()
    }

    #[test]
    fn what_a_client_has_is_not_sent_again() {
        assert_eq!(answered("\"v2\"", "\"v2\""), 304);
        assert_eq!(answered("\"v1\", W/\"v2\"", "\"v2\""), 304);
        assert_eq!(answered("*", "\"v2\""), 304);
        assert_eq!(answered("\"v1\"", "\"v2\""), 200);
        assert_eq!(answered("v2", "\"v2\""), 200);
        assert!(has(&Method::POST, &HeaderMap::new()).is_none());
    }
}
