//! What operators and their tools ask: health, readiness, the OpenAPI document, backups.

use std::{path::PathBuf, sync::OnceLock};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::IntoResponse,
    routing::{get, post},
};
use cendriix_protocol::error::ErrorBody;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    caller::Operator,
    error::{ApiError, ApiResult},
    extract::Body,
    metrics,
};
use crate::{
    app::App,
    cli::backup,
    version::{VERSION, Version},
};

/// Every route of the area.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(version))
        .routes(routes!(openapi))
        // For the operator of the same machine and their tools; no part of the API.
        .route("/control/backup", post(take_backup))
        .route("/control/keys/rotate", post(rotate_keys))
        .route("/metrics", get(metrics::guarded))
}

/// Whether the process is alive, or ready.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok`, or why not.
    status: &'static str,
}

/// Says that the process answers.
#[utoipa::path(get, path = "/healthz", operation_id = "getHealth", tag = "operations", security(()),
    responses((status = 200, description = "It answers.", body = Health)))]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Says whether the server can do its work: the store writes and it is not stopping.
#[utoipa::path(get, path = "/readyz", operation_id = "getReadiness", tag = "operations", security(()),
    responses(
        (status = 200, description = "It is ready.", body = Health),
        (status = 503, description = "It is not.", body = ErrorBody)))]
pub(super) async fn readyz(State(app): State<App>) -> ApiResult<Json<Health>> {
    let unready = |said| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, said);
    if app.stopping.is_cancelled() {
        return Err(unready("the server is stopping"));
    }
    if *app.store.dead().borrow() {
        return Err(unready("the store has failed; the process must be started again"));
    }
    Ok(Json(Health { status: "ok" }))
}

/// Says which release of the program answers.
#[utoipa::path(get, path = "/version", operation_id = "getVersion", tag = "operations", security(()),
    responses((status = 200, description = "What the program is.", body = Version)))]
async fn version() -> Json<Version> {
    Json(VERSION)
}

/// The OpenAPI document.
#[utoipa::path(get, path = "/openapi.json", operation_id = "getOpenapi", tag = "operations", security(()),
    responses((status = 200, description = "This document.", body = Object)))]
async fn openapi() -> impl IntoResponse {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    Json(DOCUMENT.get_or_init(|| serde_json::to_value(super::openapi()).unwrap_or_else(|_| json!({}))))
}

/// Where the backup goes.
#[derive(Debug, Deserialize)]
struct TakeBackup {
    to: PathBuf,
}

/// Writes a backup while the server goes on.
async fn take_backup(
    State(app): State<App>,
    _operator: Operator,
    body: Body<TakeBackup>,
) -> ApiResult<Json<Value>> {
    let written = backup::write(&*app.store, &app.data, &body.value.to).await;
    let bytes = written.map_err(|error| ApiError::new(StatusCode::CONFLICT, error.to_string()))?;
    Ok(Json(json!({ "to": body.value.to, "bytes": bytes })))
}

/// Which keys go on.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RotateKeys {
    #[serde(default)]
    end_former: bool,
}

/// Signs with another key from now on.
async fn rotate_keys(
    State(app): State<App>,
    _operator: Operator,
    body: Body<RotateKeys>,
) -> ApiResult<Json<Value>> {
    let (tokens, now) = (app.identity.tokens().clone(), app.clock.now());
    let rotated = tokio::task::spawn_blocking(move || tokens.rotate(body.value.end_former, now)).await;
    let failed = |error: String| ApiError::new(StatusCode::CONFLICT, error);
    let keys =
        rotated.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    Ok(Json(json!({ "keys": keys })))
}
