//! `/workspaces`: tenants, members and roles.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
};
use cendriix_protocol::{
    error::ErrorBody,
    ids::WorkspaceId,
    page::PageQuery,
    workspaces::{CreateWorkspace, Invite, Member, Members, Switched, Workspace, Workspaces},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    caller::Caller,
    error::ApiResult,
    extract::{Body, Id, Params, cursor, limit},
};
use crate::app::App;

/// Every route of the area, in the order of the API reference.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get))
        .routes(routes!(invite, members))
        .routes(routes!(switch))
}

/// Creates a workspace; the caller becomes its owner.
#[utoipa::path(post, path = "/workspaces", operation_id = "createWorkspace", tag = "workspaces",
    request_body = CreateWorkspace,
    responses(
        (status = 201, description = "The workspace.", body = Workspace),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "Fields are wrong.", body = ErrorBody)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    body: Body<CreateWorkspace>,
) -> ApiResult<impl IntoResponse> {
    let workspace = app.workspaces.create(caller.user, &body.value.name, body.value.plan).await?;
    let location = [(header::LOCATION, format!("/v1/workspaces/{}", workspace.id))];
    Ok((StatusCode::CREATED, location, Json(workspace)))
}

/// Lists the workspaces that the caller belongs to.
#[utoipa::path(get, path = "/workspaces", operation_id = "listWorkspaces", tag = "workspaces",
    params(PageQuery),
    responses(
        (status = 200, description = "A page of workspaces.", body = Workspaces),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 422, description = "The query is wrong.", body = ErrorBody)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    page: Params<PageQuery>,
) -> ApiResult<Json<Workspaces>> {
    let (limit, before) = (limit(page.0.limit)?, cursor(page.0.cursor.as_deref())?);
    let (workspaces, next) = app.workspaces.list(caller.user, limit, before).await?;
    Ok(Json(Workspaces { workspaces, next_cursor: next.map(|id| id.to_string()) }))
}

/// Gets a workspace that the caller belongs to.
#[utoipa::path(get, path = "/workspaces/{workspaceId}", operation_id = "getWorkspace", tag = "workspaces",
    params(("workspaceId" = String, Path, format = Uuid, description = "The workspace.")),
    responses(
        (status = 200, description = "The workspace.", body = Workspace),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 404, description = "There is no such workspace for the caller.", body = ErrorBody)))]
async fn get(State(app): State<App>, caller: Caller, Id(id): Id<WorkspaceId>) -> ApiResult<Json<Workspace>> {
    Ok(Json(app.workspaces.of(caller.user, id).await?))
}

/// Invites somebody to a workspace; they join when they log in with that address.
#[utoipa::path(post, path = "/workspaces/{workspaceId}/members", operation_id = "inviteMember",
    tag = "workspaces",
    params(("workspaceId" = String, Path, format = Uuid, description = "The \
        workspace.")), request_body = Invite,
    responses(
        (status = 201, description = "The invitation.", body = Member),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 404, description = "There is no such workspace for the caller.", body = ErrorBody),
        (status = 409, description = "They are a member or invited already.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "Fields are wrong.", body = ErrorBody)))]
async fn invite(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    body: Body<Invite>,
) -> ApiResult<impl IntoResponse> {
    Ok((StatusCode::CREATED, Json(app.workspaces.invite(&caller, id, body.value).await?)))
}

/// Lists the members of a workspace, then those who are invited.
#[utoipa::path(get, path = "/workspaces/{workspaceId}/members", operation_id = "listMembers",
    tag = "workspaces",
    params(("workspaceId" = String, Path, format = Uuid, description = "The workspace.")),
    responses(
        (status = 200, description = "The members.", body = Members),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 404, description = "There is no such workspace for the caller.", body = ErrorBody)))]
async fn members(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> ApiResult<Json<Members>> {
    Ok(Json(Members { members: app.workspaces.members(&caller, id).await?, next_cursor: None }))
}

/// Issues a token for another workspace of the caller.
#[utoipa::path(post, path = "/workspaces/{workspaceId}/switch", operation_id = "switchWorkspace",
    tag = "workspaces",
    params(("workspaceId" = String, Path, format = Uuid, description = "The workspace.")),
    responses(
        (status = 200, description = "A token for that workspace.", body = Switched),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 404, description = "There is no such workspace for the caller.", body = ErrorBody)))]
async fn switch(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> ApiResult<Json<Switched>> {
    Ok(Json(app.identity.switch(&caller, id).await?))
}
