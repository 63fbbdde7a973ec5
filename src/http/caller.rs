//! Who asks: the token is checked, the membership read, and the route's role looked up in the table.

use axum::{
    extract::{FromRequestParts, MatchedPath},
    http::{StatusCode, header, request::Parts},
};
use cendriix_actors::caller;

use super::{
    error::ApiError,
    table::{self, Access},
};
use crate::app::App;

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
        let token = bearer(parts)?;
        let claims = app.identity.tokens().check(token, app.clock.now());
        let claims = claims.map_err(|error| ApiError::unauthorized(error.to_string()))?;
        let role = app.workspaces.role(claims.workspace, claims.sub).await?.ok_or_else(|| {
            ApiError::unauthorized("the token is for a workspace that you do not belong to; log in again")
        })?;
        let Access::Role(needs) = needed(parts)? else {
            return Err(ApiError::new(StatusCode::FORBIDDEN, "this route is not for members of workspaces"));
        };
        tracing::Span::current().record("workspace.id", tracing::field::display(claims.workspace));
        Ok(Self(caller::Caller { user: claims.sub, workspace: claims.workspace, role, needs }))
    }
}

/// The operator of this server, as an extractor.
#[derive(Clone, Copy, Debug)]
pub struct Operator;

impl FromRequestParts<App> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = bearer(parts)?;
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

fn bearer(parts: &Parts) -> Result<&str, ApiError> {
    let header = parts.headers.get(header::AUTHORIZATION);
    let Some(header) = header else {
        return Err(ApiError::unauthorized(
            "log in with POST /v1/auth/login and send Authorization: Bearer <token>",
        ));
    };
    let text = header.to_str().unwrap_or_default();
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(ApiError::unauthorized("send Authorization: Bearer <token>")),
    }
}

fn needed(parts: &Parts) -> Result<Access, ApiError> {
    let path = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str);
    let access = path.and_then(|path| table::access(&parts.method, path));
    // A route that is not in the table opens to nobody.
    access.ok_or_else(|| ApiError::new(StatusCode::FORBIDDEN, "this route is not in the table of routes"))
}
