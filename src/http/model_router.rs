//! `/model-router`: one way to ask any model.

use axum::{Json, extract::State};
use cendriix_protocol::{
    error::ErrorBody,
    model_router::{Complete, Completion, Models, ModelsHealth},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{caller::Caller, error::ApiResult, extract::Body};
use crate::app::App;

/// Every route of the area, in the order of the API reference.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(complete)).routes(routes!(models)).routes(routes!(health))
}

/// Asks the models that fit, one after the other, until one answers. It is stopped when the client hangs up.
#[utoipa::path(post, path = "/model-router/complete", operation_id = "completePrompt", tag = "model_router",
    request_body = Complete,
    responses(
        (status = 200, description = "The answer, and what it cost.", body = Completion),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 409, description = "It takes a language model, and none is configured.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "Fields are wrong, or no model fits them.", body = ErrorBody),
        (status = 503, description = "No model answers at the moment.",
            body = ErrorBody)))]
async fn complete(
    State(app): State<App>,
    caller: Caller,
    body: Body<Complete>,
) -> ApiResult<Json<Completion>> {
    Ok(Json(app.models.complete(&caller, body.value).await?))
}

/// Lists all models by where they come from.
#[utoipa::path(get, path = "/model-router/models", operation_id = "listModels", tag = "model_router",
    responses(
        (status = 200, description = "The catalogue.", body = Models),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody)))]
async fn models(State(app): State<App>, caller: Caller) -> ApiResult<Json<Models>> {
    Ok(Json(app.models.models(&caller)?))
}

/// Shows the circuit breaker of each model.
#[utoipa::path(get, path = "/model-router/health", operation_id = "getModelHealth", tag = "model_router",
    responses(
        (status = 200, description = "The breakers.", body = ModelsHealth),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody)))]
async fn health(State(app): State<App>, caller: Caller) -> ApiResult<Json<ModelsHealth>> {
    Ok(Json(app.models.model_health(&caller)?))
}
