//! `/api-keys`: secrets of programs.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use cendriix_protocol::{
    api_keys::{ApiKeys, CreateApiKey, CreatedApiKey},
    error::ErrorBody,
    ids::ApiKeyId,
    page::PageQuery,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    caller::Caller,
    error::ApiResult,
    extract::{Body, Id, Params, claim, cursor, limit},
};
use crate::app::App;

/// Every route of the area, in the order of the API reference.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(revoke))
}

/// Creates an API key for the workspace of the token. The key itself is in this answer and is never shown
/// again: a repetition with the same Idempotency-Key is a conflict.
#[utoipa::path(post, path = "/api-keys", operation_id = "createApiKey", tag = "api_keys",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body take effect \
        once in 24 hours.")),
    request_body = CreateApiKey,
    responses(
        (status = 201, description = "What is known of the key, and the key itself.", body = CreatedApiKey),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low, or an API key asks.", body = ErrorBody),
        (status = 409, description = "A key was created with this Idempotency-Key, or the workspace has as \
            many as it can have.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "Fields are wrong.", body = ErrorBody)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body<CreateApiKey>,
) -> ApiResult<impl IntoResponse> {
    let claim = claim(&headers, &caller, "createApiKey", &body.bytes)?;
    let created = app.api_keys.create(&caller, &body.value, claim.as_ref()).await?;
    let location = format!("/v1/api-keys/{}", created.api_key.id);
    let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, "no-store".to_owned())];
    Ok((StatusCode::CREATED, headers, Json(created)))
}

/// Lists the workspace's API keys, newest first; never the keys themselves.
#[utoipa::path(get, path = "/api-keys", operation_id = "listApiKeys", tag = "api_keys",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of API keys.", body = ApiKeys),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 422, description = "The query is wrong.", body = ErrorBody)))]
async fn list(State(app): State<App>, caller: Caller, page: Params<PageQuery>) -> ApiResult<Json<ApiKeys>> {
    let (limit, before) = (limit(page.0.limit)?, cursor(page.0.cursor.as_deref())?);
    let (api_keys, next) = app.api_keys.list(&caller, limit, before).await?;
    Ok(Json(ApiKeys { api_keys, next_cursor: next.map(|id| id.to_string()) }))
}

/// Revokes an API key: the next request with it is refused.
#[utoipa::path(delete, path = "/api-keys/{keyId}", operation_id = "revokeApiKey", tag = "api_keys",
    security(("bearer" = [])),
    params(("keyId" = String, Path, format = Uuid, description = "The API key.")),
    responses(
        (status = 204, description = "The key is revoked."),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low, or an API key asks.", body = ErrorBody),
        (status = 404, description = "There is no such key.", body = ErrorBody)))]
async fn revoke(State(app): State<App>, caller: Caller, Id(id): Id<ApiKeyId>) -> ApiResult<StatusCode> {
    app.api_keys.revoke(&caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
