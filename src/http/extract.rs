//! What comes in, read strictly: JSON with the path of each wrong field, ids that are a 404 when they are
//! none, and the headers that we understand.

use std::{collections::HashMap, str::FromStr, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use cendriix_actors::{caller, idempotency::Claim};
use cendriix_protocol::page;
use serde::de::DeserializeOwned;

use super::{error::ApiError, listener::body::TooSlow};
use crate::app::App;

/// The id in the path; a malformed one is a 404, as an unknown one is.
#[derive(Clone, Copy, Debug)]
pub struct Id<T>(pub T);

impl<T: FromStr + Send> FromRequestParts<App> for Id<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let missing = || ApiError::new(StatusCode::NOT_FOUND, "there is nothing with this id");
        let names =
            Path::<HashMap<String, String>>::from_request_parts(parts, app).await.map_err(|_| missing())?;
        let id = names.values().next().and_then(|text| text.parse().ok());
        id.map(Self).ok_or_else(missing)
    }
}

/// Two ids of the path, in its order; a malformed one is a 404, as an unknown one is.
#[derive(Clone, Debug)]
pub struct Ids<A, B>(pub A, pub B);

impl<A: FromStr + Send, B: FromStr + Send> FromRequestParts<App> for Ids<A, B> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let missing = || ApiError::new(StatusCode::NOT_FOUND, "there is nothing with this id");
        let both = Path::<(String, String)>::from_request_parts(parts, app).await.map_err(|_| missing())?;
        let (Ok(first), Ok(second)) = (both.0.0.parse(), both.0.1.parse()) else { return Err(missing()) };
        Ok(Self(first, second))
    }
}

/// A JSON body.
#[derive(Clone, Debug)]
pub struct Body<T> {
    /// What it says.
    pub value: T,
    /// Its bytes, for the digest of an idempotency key.
    pub bytes: Bytes,
}

impl<T: DeserializeOwned + Send> FromRequest<App> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        expect_json(request.headers())?;
        let bytes = read(request, app).await?;
        Ok(Self { value: parse(&bytes)?, bytes })
    }
}

/// A JSON body that may be left out.
#[derive(Clone, Debug)]
pub struct MaybeBody<T> {
    /// What it says; the default when there is none.
    pub value: T,
    /// Its bytes, for the digest of an idempotency key.
    pub bytes: Bytes,
}

impl<T: DeserializeOwned + Default + Send> FromRequest<App> for MaybeBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let typed = request.headers().contains_key(header::CONTENT_TYPE);
        if typed {
            expect_json(request.headers())?;
        }
        let bytes = read(request, app).await?;
        if bytes.is_empty() {
            return Ok(Self { value: T::default(), bytes });
        }
        if !typed {
            return Err(no_json());
        }
        Ok(Self { value: parse(&bytes)?, bytes })
    }
}

fn no_json() -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body as Content-Type: application/json")
}

fn expect_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(no_json()) }
}

async fn read(request: Request, app: &App) -> Result<Bytes, ApiError> {
    Bytes::from_request(request, app).await.map_err(|rejection| match rejection.status() {
        _ if is_too_slow(&rejection) => ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not come in time; send it without pauses",
        ),
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large")
        }
        _ => ApiError::bad_request("the body could not be read"),
    })
}

fn is_too_slow(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(<dyn std::error::Error>::is::<TooSlow>)
}

/// Unparsable JSON is a 400; well-formed JSON with a wrong field a 422 that names its path.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // A list of its fields would do for an object otherwise, and say nothing of which is which.
    let is_list = bytes.trim_ascii_start().starts_with(b"[");
    if is_list && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok() {
        return Err(ApiError::field("body", "needs to be an object, not a list"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => {
                let path = if path == "." { "body".to_owned() } else { path };
                ApiError::field(&path, without_position(&inner))
            }
            serde_json::error::Category::Syntax
            | serde_json::error::Category::Eof
            | serde_json::error::Category::Io => {
                ApiError::bad_request(format!("the body is no JSON: {inner}"))
            }
        }
    })?;
    reader
        .end()
        .map_err(|error| ApiError::bad_request(format!("the body goes on after its JSON: {error}")))?;
    Ok(value)
}

fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(said, _)| said.to_owned())
}

/// The query; a wrong value is a 422 that names it.
#[derive(Clone, Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<App> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        match Query::<T>::from_request_parts(parts, app).await {
            Ok(Query(query)) => Ok(Self(query)),
            Err(rejection) => {
                let text = rejection.body_text();
                let said = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                let (path, said) = said.split_once(": ").unwrap_or(("query", said));
                Err(ApiError::field(path, said))
            }
        }
    }
}

/// How many items a page has.
///
/// # Errors
///
/// When it is out of bounds.
pub fn limit(asked: Option<u16>) -> Result<usize, ApiError> {
    let limit = asked.unwrap_or(page::LIMIT);
    if (1..=page::LIMIT_MAX).contains(&limit) {
        Ok(limit.into())
    } else {
        Err(ApiError::field("limit", format!("needs to be within 1 and {}", page::LIMIT_MAX)))
    }
}

/// Where a page begins.
///
/// # Errors
///
/// When the cursor is none of ours.
pub fn cursor<T: FromStr>(asked: Option<&str>) -> Result<Option<T>, ApiError> {
    let parsed =
        asked.map(|text| text.parse::<T>().map_err(|_| ApiError::field("cursor", "is none of ours")));
    parsed.transpose()
}

/// The longest wait that `Prefer: wait=N` can ask for.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// How long the caller would rather wait than be answered at once (RFC 7240 `Prefer: wait=N`); at most a
/// minute.
pub fn wait(headers: &HeaderMap) -> Option<Duration> {
    let prefers = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    let mut wishes =
        prefers.flat_map(|value| value.split(',')).filter_map(|wish| wish.trim().strip_prefix("wait="));
    let seconds: u64 = wishes.next()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(WAIT_MAX))
}

/// The caller's claim on a request, from its `Idempotency-Key`.
///
/// # Errors
///
/// When the key is empty, too long or not plain.
pub fn claim(
    headers: &HeaderMap,
    caller: &caller::Caller,
    route: &str,
    body: &[u8],
) -> Result<Option<Claim>, ApiError> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    match key.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(Claim::new(caller, route, key, body)))
        }
        _ => Err(ApiError::field("Idempotency-Key", "needs 1 to 255 visible characters")),
    }
}
