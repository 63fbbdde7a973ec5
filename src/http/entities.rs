//! `/entities`: what is built to be used again.

use axum::{Json, extract::State, response::IntoResponse};
use cendriix_protocol::{
    entities::{Entities, EntitiesQuery, Entity},
    error::ErrorBody,
    ids::EntityId,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    caller::Caller,
    conditional::etag,
    error::ApiResult,
    extract::{Id, Params, cursor, limit},
};
use crate::app::App;

/// Every route of the area, in the order of the API reference.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
}

/// Lists the workspace's entities, newest first.
#[utoipa::path(get, path = "/entities", operation_id = "listEntities", tag = "entities",
    params(EntitiesQuery),
    responses(
        (status = 200, description = "A page of entities.", body = Entities),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 422, description = "The query is wrong.", body = ErrorBody)))]
async fn list(
    State(app): State<App>,
    caller: Caller,
    query: Params<EntitiesQuery>,
) -> ApiResult<Json<Entities>> {
    let EntitiesQuery { kind, limit: asked, cursor: from } = query.0;
    let (limit, before) = (limit(asked)?, cursor(from.as_deref())?);
    let (entities, next) = app.entities.list(&caller, kind, limit, before).await?;
    Ok(Json(Entities { entities, next_cursor: next.map(|id| id.to_string()) }))
}

/// Gets an entity with what it says.
#[utoipa::path(get, path = "/entities/{entityId}", operation_id = "getEntity", tag = "entities",
    params(("entityId" = String, Path, format = Uuid, description = "The entity.")),
    responses(
        (status = 200, description = "The entity.", body = Entity),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 404, description = "There is no such entity.", body = ErrorBody)))]
async fn get(State(app): State<App>, caller: Caller, Id(id): Id<EntityId>) -> ApiResult<impl IntoResponse> {
    let entity = app.entities.get(&caller, id).await?;
    Ok((etag(entity.version.into()), Json(entity)))
}
