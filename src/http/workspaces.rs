//! `/workspaces`: tenants, members and roles.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use cendriix_protocol::{
    error::ErrorBody,
    ids::{UserId, WorkspaceId},
    page::PageQuery,
    workspaces::{
        ChangeMember, ChangeWorkspace, CreateWorkspace, Invite, Member, Members, Switched, Workspace,
        Workspaces,
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    caller::Caller,
    conditional::{IfMatch, etag},
    error::ApiResult,
    extract::{Body, Id, Ids, Params, claim, cursor, limit},
};
use crate::app::App;

/// Every route of the area, in the order of the API reference.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get, change, delete))
        .routes(routes!(invite, members))
        .routes(routes!(change_member, remove_member))
        .routes(routes!(withdraw))
        .routes(routes!(switch))
}

/// Creates a workspace; the caller becomes its owner.
#[utoipa::path(post, path = "/workspaces", operation_id = "createWorkspace", tag = "workspaces",
    security(("bearer" = [])),
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body take effect \
        once in 24 hours.")),
    request_body = CreateWorkspace,
    responses(
        (status = 201, description = "The workspace.", body = Workspace),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "An API key asks.", body = ErrorBody),
        (status = 409, description = "A request with this Idempotency-Key goes on.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "Fields are wrong.", body = ErrorBody)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body<CreateWorkspace>,
) -> ApiResult<impl IntoResponse> {
    let claim = claim(&headers, &caller, "createWorkspace", &body.bytes)?;
    let CreateWorkspace { name, plan } = &body.value;
    let workspace = app.workspaces.create(&caller, name, *plan, claim.as_ref()).await?;
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
    let (workspaces, next) = app.workspaces.list(&caller, limit, before).await?;
    Ok(Json(Workspaces { workspaces, next_cursor: next.map(|id| id.to_string()) }))
}

/// Gets a workspace that the caller belongs to.
#[utoipa::path(get, path = "/workspaces/{workspaceId}", operation_id = "getWorkspace", tag = "workspaces",
    params(("workspaceId" = String, Path, format = Uuid, description = "The workspace.")),
    responses(
        (status = 200, description = "The workspace.", body = Workspace),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 404, description = "There is no such workspace for the caller.", body = ErrorBody)))]
async fn get(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> ApiResult<impl IntoResponse> {
    let workspace = app.workspaces.of(&caller, id).await?;
    Ok((etag(workspace.version), Json(workspace)))
}

/// Changes a workspace's name or plan; what is absent stays as it is. Only an owner changes the plan.
#[utoipa::path(patch, path = "/workspaces/{workspaceId}", operation_id = "changeWorkspace",
    tag = "workspaces", security(("bearer" = [])),
    params(
        ("workspaceId" = String, Path, format = Uuid, description = "The workspace."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version to change.")),
    request_body = ChangeWorkspace,
    responses(
        (status = 200, description = "The workspace as it is by then.", body = Workspace),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low, or an API key asks.", body = ErrorBody),
        (status = 404, description = "There is no such workspace for the caller.", body = ErrorBody),
        (status = 412, description = "It is another version.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "Fields are wrong.", body = ErrorBody)))]
async fn change(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    IfMatch(seen): IfMatch,
    body: Body<ChangeWorkspace>,
) -> ApiResult<impl IntoResponse> {
    let workspace = app.workspaces.change(&caller, id, &body.value, seen.as_deref()).await?;
    Ok((etag(workspace.version), Json(workspace)))
}

/// Deletes a workspace: its members, invitations and API keys are gone at once, and nobody reaches what it
/// held.
#[utoipa::path(delete, path = "/workspaces/{workspaceId}", operation_id = "deleteWorkspace",
    tag = "workspaces", security(("bearer" = [])),
    params(
        ("workspaceId" = String, Path, format = Uuid, description = "The workspace."),
        ("If-Match" = Option<String>, Header, description = "The `ETag` of the version to delete.")),
    responses(
        (status = 204, description = "The workspace is deleted."),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller is no owner, or an API key asks.", body = ErrorBody),
        (status = 404, description = "There is no such workspace for the caller.", body = ErrorBody),
        (status = 409, description = "Runs are not at an end, or it is somebody's personal and only one.",
            body = ErrorBody),
        (status = 412, description = "It is another version.", body = ErrorBody)))]
async fn delete(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    IfMatch(seen): IfMatch,
) -> ApiResult<StatusCode> {
    app.workspaces.delete(&caller, id, &app.runs, seen.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Invites somebody to a workspace; they join when they log in with that address.
#[utoipa::path(post, path = "/workspaces/{workspaceId}/members", operation_id = "inviteMember",
    tag = "workspaces", security(("bearer" = [])),
    params(
        ("workspaceId" = String, Path, format = Uuid, description = "The workspace."),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body take effect once \
            in 24 hours.")),
    request_body = Invite,
    responses(
        (status = 201, description = "The invitation.", body = Member),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low, or an API key asks.", body = ErrorBody),
        (status = 404, description = "There is no such workspace for the caller.", body = ErrorBody),
        (status = 409, description = "They are a member or invited already.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "Fields are wrong.", body = ErrorBody)))]
async fn invite(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
    headers: HeaderMap,
    body: Body<Invite>,
) -> ApiResult<impl IntoResponse> {
    let claim = claim(&headers, &caller, &format!("inviteMember {id}"), &body.bytes)?;
    let member = app.workspaces.invite(&caller, id, &body.value, claim.as_ref()).await?;
    Ok((StatusCode::CREATED, Json(member)))
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

/// Gives a member another role. Only an owner makes or unmakes owners, and the last owner stays.
#[utoipa::path(patch, path = "/workspaces/{workspaceId}/members/{userId}", operation_id = "changeMember",
    tag = "workspaces", security(("bearer" = [])),
    params(
        ("workspaceId" = String, Path, format = Uuid, description = "The workspace."),
        ("userId" = String, Path, format = Uuid, description = "The member.")),
    request_body = ChangeMember,
    responses(
        (status = 200, description = "The member with that role.", body = Member),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low, or an API key asks.", body = ErrorBody),
        (status = 404, description = "There is no such workspace for the caller, or no such member.",
            body = ErrorBody),
        (status = 409, description = "They are the last owner.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "Fields are wrong.", body = ErrorBody)))]
async fn change_member(
    State(app): State<App>,
    caller: Caller,
    Ids(id, user): Ids<WorkspaceId, UserId>,
    body: Body<ChangeMember>,
) -> ApiResult<Json<Member>> {
    Ok(Json(app.workspaces.change_member(&caller, id, user, body.value.role).await?))
}

/// Takes a member out of a workspace, with the API keys that they created. Anybody may take themself out; the
/// last owner stays.
#[utoipa::path(delete, path = "/workspaces/{workspaceId}/members/{userId}", operation_id = "removeMember",
    tag = "workspaces", security(("bearer" = [])),
    params(
        ("workspaceId" = String, Path, format = Uuid, description = "The workspace."),
        ("userId" = String, Path, format = Uuid, description = "The member.")),
    responses(
        (status = 204, description = "They are no member any more."),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low, or an API key asks.", body = ErrorBody),
        (status = 404, description = "There is no such workspace for the caller, or no such member.",
            body = ErrorBody),
        (status = 409, description = "They are the last owner.", body = ErrorBody)))]
async fn remove_member(
    State(app): State<App>,
    caller: Caller,
    Ids(id, user): Ids<WorkspaceId, UserId>,
) -> ApiResult<StatusCode> {
    app.workspaces.remove_member(&caller, id, user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes an invitation back.
#[utoipa::path(delete, path = "/workspaces/{workspaceId}/invitations/{email}",
    operation_id = "withdrawInvitation", tag = "workspaces", security(("bearer" = [])),
    params(
        ("workspaceId" = String, Path, format = Uuid, description = "The workspace."),
        ("email" = String, Path, description = "The address that was invited.")),
    responses(
        (status = 204, description = "Nobody is invited with that address any more."),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low, or an API key asks.", body = ErrorBody),
        (status = 404, description = "There is no such workspace for the caller, or no such invitation.",
            body = ErrorBody)))]
async fn withdraw(
    State(app): State<App>,
    caller: Caller,
    Ids(id, email): Ids<WorkspaceId, String>,
) -> ApiResult<StatusCode> {
    app.workspaces.withdraw(&caller, id, &email).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Issues a token for another workspace of the caller.
#[utoipa::path(post, path = "/workspaces/{workspaceId}/switch", operation_id = "switchWorkspace",
    tag = "workspaces", security(("bearer" = [])),
    params(("workspaceId" = String, Path, format = Uuid, description = "The workspace.")),
    responses(
        (status = 200, description = "A token for that workspace.", body = Switched),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "An API key asks.", body = ErrorBody),
        (status = 404, description = "There is no such workspace for the caller.", body = ErrorBody)))]
async fn switch(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<WorkspaceId>,
) -> ApiResult<Json<Switched>> {
    Ok(Json(app.identity.switch(&caller, id).await?))
}
