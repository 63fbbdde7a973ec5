//! `/workflows`: graphs to run.

use axum::{
    Json,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use cendriix_actors::runs::NewRun;
use cendriix_protocol::{
    error::ErrorBody,
    ids::WorkflowId,
    page::PageQuery,
    runs::Run,
    workflows::{Definition, Execute, Workflow, Workflows},
};
use serde_json::json;
use utoipa_axum::{
    router::{OpenApiRouter, UtoipaMethodRouterExt as _},
    routes,
};

use super::{
    caller::Caller,
    conditional::etag,
    error::ApiResult,
    extract::{Body, Id, Params, claim, cursor, limit},
    runs::created,
};
use crate::app::App;

/// Every route of the area, in the order of the API reference.
pub(super) fn routes(bytes_max: usize) -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(list, create).layer(DefaultBodyLimit::max(bytes_max)))
        .routes(routes!(get))
        .routes(routes!(execute))
}

/// Lists the workspace's workflows, newest first.
#[utoipa::path(get, path = "/workflows", operation_id = "listWorkflows", tag = "workflows", params(PageQuery),
    responses(
        (status = 200, description = "A page of workflows.", body = Workflows),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 422, description = "The query is wrong.", body = ErrorBody)))]
async fn list(State(app): State<App>, caller: Caller, page: Params<PageQuery>) -> ApiResult<Json<Workflows>> {
    let (limit, before) = (limit(page.0.limit)?, cursor(page.0.cursor.as_deref())?);
    let (workflows, next) = app.workflows.list(&caller, limit, before).await?;
    Ok(Json(Workflows { workflows, next_cursor: next.map(|id| id.to_string()) }))
}

/// Keeps a workflow: a graph of nodes and edges without circles.
#[utoipa::path(post, path = "/workflows", operation_id = "createWorkflow", tag = "workflows",
    request_body = Definition,
    responses(
        (status = 201, description = "The workflow.", body = Workflow),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "The graph is not sound; every problem is named.", body = ErrorBody)))]
async fn create(State(app): State<App>, caller: Caller, body: Body<Definition>) -> ApiResult<Response> {
    let workflow = app.workflows.create(&caller, body.value).await?;
    let location = [
        (header::LOCATION, format!("/v1/workflows/{}", workflow.id)),
        (header::ETAG, format!("\"v{}\"", workflow.version)),
    ];
    Ok((StatusCode::CREATED, location, Json(workflow)).into_response())
}

/// Gets a workflow.
#[utoipa::path(get, path = "/workflows/{workflowId}", operation_id = "getWorkflow", tag = "workflows",
    params(("workflowId" = String, Path, format = Uuid, description = "The workflow.")),
    responses(
        (status = 200, description = "The workflow.", body = Workflow),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 404, description = "There is no such workflow.", body = ErrorBody)))]
async fn get(State(app): State<App>, caller: Caller, Id(id): Id<WorkflowId>) -> ApiResult<impl IntoResponse> {
    let workflow = app.workflows.get(&caller, id).await?;
    Ok((etag(workflow.version.into()), Json(workflow)))
}

/// Creates a run of a workflow and starts it. With `Prefer: wait=N` it answers when the run rests, or after
/// N seconds.
#[utoipa::path(post, path = "/workflows/execute", operation_id = "executeWorkflow", tag = "workflows",
    request_body = Execute,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body take effect once \
            in 24 hours."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: answer when the run rests, or after N \
            seconds (60 at most).")),
    responses(
        (status = 202, description = "The run.", body = Run),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 404, description = "There is no such workflow.", body = ErrorBody),
        (status = 409, description = "A request with this Idempotency-Key goes on.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "Fields are wrong.", body = ErrorBody)))]
async fn execute(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body<Execute>,
) -> ApiResult<Response> {
    let claim = claim(&headers, &caller, "executeWorkflow", &body.bytes)?;
    let Execute { workflow_id, input, repository } = body.value;
    let input = if input.is_null() { json!({}) } else { input };
    let new = NewRun { workflow: workflow_id, title: None, input, advancing: true, repository, model: None };
    let shown = app.runs.create(&caller, new, claim).await?;
    created(&app, &caller, &headers, StatusCode::ACCEPTED, shown).await
}
