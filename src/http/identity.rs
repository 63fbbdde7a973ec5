//! `/auth`: log-in and who am I.

use axum::{Json, extract::State, http::header, response::IntoResponse};
use cendriix_protocol::{
    error::ErrorBody,
    identity::{Login, LoginBody, Me, Session},
};
use serde_json::Value;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{caller::Caller, error::ApiResult, extract::Body};
use crate::app::App;

/// Every route of the area, in the order of the API reference.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(login)).routes(routes!(me))
}

/// The keys at the origin.
pub(super) fn well_known() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(jwks))
}

/// Exchanges an OAuth profile for a signed JWT. In `dev` mode the profile is believed as it is sent; in
/// `oidc` mode it is that of the issuer's token, sent as `idToken`, and no other field counts. With
/// `bootstrapToken` the operator logs in, in either mode.
#[utoipa::path(post, path = "/auth/login", operation_id = "login", tag = "identity", security(()),
    request_body = LoginBody,
    responses(
        (status = 200, description = "A token and whom it was issued to.", body = Session),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "The token is not good.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 422, description = "Fields are wrong.", body = ErrorBody),
        (status = 503, description = "The issuer cannot be asked for its keys.", body = ErrorBody)))]
async fn login(State(app): State<App>, body: Body<Login>) -> ApiResult<impl IntoResponse> {
    let session = app.identity.login(&body.value).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(session)))
}

/// The caller's profile and workspaces; of an API key, whose it is, the key and its workspace.
#[utoipa::path(get, path = "/auth/me", operation_id = "getMe", tag = "identity",
    responses(
        (status = 200, description = "The caller.", body = Me),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody)))]
async fn me(State(app): State<App>, caller: Caller) -> ApiResult<Json<Me>> {
    let api_key = app.api_keys.of(&caller).await?;
    Ok(Json(Me { api_key, ..app.identity.me(&caller).await? }))
}

/// The public keys of our tokens, as a JSON Web Key Set: that of the key that signs, and of former ones whose
/// tokens are still good.
#[utoipa::path(get, path = "/.well-known/jwks.json", operation_id = "getJwks", tag = "identity", security(()),
    responses((status = 200, description = "The keys.", body = Object)))]
async fn jwks(State(app): State<App>) -> Json<Value> {
    Json(app.identity.tokens().jwks(app.clock.now()))
}
