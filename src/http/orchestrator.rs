//! `/orchestrator`: plans, before anything runs.

use axum::{Json, extract::State};
use cendriix_protocol::{
    error::ErrorBody,
    orchestrator::{Decompose, Estimate, Planned},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{caller::Caller, error::ApiResult, extract::Body, runs::check_ticket};
use crate::app::App;

/// Every route of the area, in the order of the API reference.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(decompose)).routes(routes!(estimate))
}

/// Makes a plan of a ticket without creating a run: what each step would cost, how far it can be taken back
/// and how sure the planner is.
#[utoipa::path(post, path = "/orchestrator/decompose", operation_id = "decomposeTicket", tag = "orchestrator",
    request_body = Decompose,
    responses(
        (status = 200, description = "The plan.", body = Planned),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 404, description = "There is no such workflow.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "Fields are wrong.", body = ErrorBody),
        (status = 503, description = "The server is busy or stopping.", body = ErrorBody)))]
async fn decompose(
    State(app): State<App>,
    caller: Caller,
    body: Body<Decompose>,
) -> ApiResult<Json<Planned>> {
    let Decompose { workflow_id, input, model } = body.value;
    check_ticket(&input.title, &input.body)?;
    Ok(Json(app.orchestrator.decompose(&caller, workflow_id, &input, model.as_deref()).await?))
}

/// Says what an edited plan would cost.
#[utoipa::path(post, path = "/orchestrator/estimate", operation_id = "estimatePlan", tag = "orchestrator",
    request_body = Estimate,
    responses(
        (status = 200, description = "The plan with its costs.", body = Planned),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "The plan is not sound; every problem is named.", body = ErrorBody)))]
async fn estimate(State(app): State<App>, caller: Caller, body: Body<Estimate>) -> ApiResult<Json<Planned>> {
    let Estimate { plan, model } = body.value;
    Ok(Json(app.orchestrator.estimate(&caller, plan, model.as_deref())?))
}
