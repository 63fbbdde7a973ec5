//! Who asks: the token or API key is checked, the membership read, and the route's role looked up in the
//! table.

use axum::{
    extract::{FromRequestParts, MatchedPath},
    http::{StatusCode, header, request::Parts},
};
use cendriix_actors::{api_keys::raw, caller, identity::Present, kit::RequestId};
use cendriix_protocol::identity::Via;

use super::{
    error::ApiError,
    limits,
    table::{self, Access},
    tickets::{self, Grant},
};
use crate::app::App;

/// The header of an API key.
pub(super) const API_KEY: &str = "x-api-key";

/// A caller, as an extractor.
#[derive(Clone, Debug)]
pub struct Caller(pub caller::Caller);

impl std::ops::Deref for Caller {
    type Target = caller::Caller;
    fn deref(&self) -> &caller::Caller {
        &self.0
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let access = access(parts)?;
        let caller = presented(parts, app, access).await?;
        tracing::Span::current().record("workspace.id", tracing::field::display(caller.workspace));
        limits::count(parts, app, caller.workspace).await?;
        if caller.key.is_some() && !access.takes_keys() {
            return Err(ApiError::new(
                StatusCode::FORBIDDEN,
                "an API key may not do this; log in and do it yourself",
            ));
        }
        Ok(Self(caller))
    }
}

/// Whoever the request's ticket, token or API key stands for.
async fn presented(parts: &Parts, app: &App, access: Access) -> Result<caller::Caller, ApiError> {
    let not_for_members =
        || ApiError::new(StatusCode::FORBIDDEN, "this route is not for members of workspaces");
    let request = parts.extensions.get::<RequestId>().copied();
    if let Some(grant) = tickets::presented(app, parts)? {
        let Grant { user, workspace, key, via, role: most } = grant;
        let role = app.workspaces.role(workspace, user).await?.ok_or_else(|| {
            ApiError::unauthorized("the ticket is for a workspace that you do not belong to; log in again")
        })?;
        let (role, needs) = (role.min(most), access.role().ok_or_else(not_for_members)?);
        return Ok(caller::Caller { user, workspace, role, needs, key, request, via });
    }
    let credential = credential(parts)?;
    let needs = access.role().ok_or_else(not_for_members)?;
    match credential {
        Credential::Token(token) => {
            let Present { user, workspace, role, via } = app.identity.authenticate(token).await?;
            Ok(caller::Caller { user, workspace, role, needs, key: None, request, via })
        }
        Credential::Key(text) => {
            let acting = app.api_keys.check(text).await?;
            let acting = acting.map_err(|error| ApiError::unauthorized(error.to_string()))?;
            let (user, workspace, role) = (acting.user, acting.workspace, acting.role);
            Ok(caller::Caller {
                user,
                workspace,
                role,
                needs,
                key: Some(acting.key),
                request,
                via: Via::ApiKey,
            })
        }
    }
}

/// The operator of this server, as an extractor.
#[derive(Clone, Copy, Debug)]
pub struct Operator;

impl FromRequestParts<App> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = bearer(parts)?.ok_or_else(nobody)?;
        if is_same(token, &app.control_token) {
            Ok(Self)
        } else {
            Err(ApiError::unauthorized("this needs the secret of the data directory"))
        }
    }
}

/// Whether a secret was given, compared in a time that says nothing of where they differ.
pub(super) fn is_same(given: &str, secret: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(given.as_bytes(), secret.as_bytes()).is_ok()
}

/// What a caller shows.
enum Credential<'a> {
    /// A token of a log-in.
    Token(&'a str),
    /// An API key.
    Key(&'a str),
}

/// The one credential of a request: a token or key in `Authorization`, or a key in `X-API-Key`.
fn credential(parts: &Parts) -> Result<Credential<'_>, ApiError> {
    let mut keys = parts.headers.get_all(API_KEY).iter().map(|key| key.to_str().unwrap_or_default().trim());
    let (key, more) = (keys.next(), keys.next());
    match (bearer(parts)?, key) {
        (_, Some(_)) if more.is_some() => Err(ApiError::unauthorized("send one X-API-Key")),
        (Some(token), Some(key)) if token != key => Err(ApiError::unauthorized(
            "Authorization and X-API-Key say different things; send only one of them",
        )),
        (_, Some(key)) if raw::is_meant(key) => Ok(Credential::Key(key)),
        (_, Some(_)) => Err(ApiError::unauthorized(
            "X-API-Key takes an API key (ak_…); send a token as Authorization: Bearer <token>",
        )),
        (Some(token), None) if raw::is_meant(token) => Ok(Credential::Key(token)),
        (Some(token), None) => Ok(Credential::Token(token)),
        (None, None) => Err(nobody()),
    }
}

fn nobody() -> ApiError {
    ApiError::unauthorized(
        "log in with POST /v1/auth/login and send Authorization: Bearer <token>, or send an API key as \
            X-API-Key",
    )
}

/// What stands in `Authorization`, if it is there.
fn bearer(parts: &Parts) -> Result<Option<&str>, ApiError> {
    let mut headers = parts.headers.get_all(header::AUTHORIZATION).iter();
    let Some(header) = headers.next() else { return Ok(None) };
    let text = header.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && headers.next().is_none() => {
            Ok(Some(token.trim()))
        }
        _ => Err(ApiError::unauthorized("send one Authorization: Bearer <token>")),
    }
}

fn access(parts: &Parts) -> Result<Access, ApiError> {
    let path = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let access = path.and_then(|path| table::access(&parts.method, path));
    // A route that is not in the table opens to nobody.
    access.ok_or_else(|| ApiError::new(StatusCode::FORBIDDEN, "this route is not in the table of routes"))
}
