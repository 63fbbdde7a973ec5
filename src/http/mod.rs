//! The router: one line per area, in the order of the API reference.

mod agent_steps;
mod api_keys;
mod around;
pub mod caller;
pub mod conditional;
mod docs;
pub mod document;
mod entities;
pub mod error;
pub mod extract;
mod guard;
mod identity;
pub mod limits;
pub mod listener;
pub mod metrics;
mod model_router;
mod operations;
mod orchestrator;
pub mod places;
mod refusals;
mod request;
mod runs;
mod sse;
pub mod table;
pub mod tickets;
mod workflows;
mod workspaces;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
};
use tower::{ServiceBuilder, util::option_layer};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

pub use self::document::openapi;
use self::{document::Document, error::ApiError};
use crate::{app::App, config::Server};

/// All routes, with what happens to every request around them.
pub fn router(app: App) -> Router {
    let (router, _) = areas(&app.config.server).split_for_parts();
    // One layer made of all: each layer of a router is boxed and copied for every request.
    let around = ServiceBuilder::new()
        .layer(middleware::from_fn_with_state(app.clone(), request::envelope))
        .layer(option_layer(around::cors(&app.config.server)))
        .layer(middleware::from_fn_with_state(app.clone(), limits::counted))
        .layer(around::compression())
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard))
        .layer(DefaultBodyLimit::max(app.config.server.body_bytes_max))
        .layer(CatchPanicLayer::custom(panicked));
    router.layer(around).with_state(app)
}

fn areas(limits: &Server) -> OpenApiRouter<App> {
    let v1 = OpenApiRouter::new()
        .merge(identity::routes())
        .merge(tickets::routes())
        .merge(workspaces::routes())
        .merge(api_keys::routes())
        .merge(runs::routes())
        .merge(orchestrator::routes())
        .merge(agent_steps::routes())
        .merge(model_router::routes())
        .merge(workflows::routes(limits.workflow_bytes_max))
        .merge(entities::routes());
    OpenApiRouter::with_openapi(Document::openapi())
        .nest("/v1", v1)
        .merge(identity::well_known())
        .merge(operations::routes())
        .merge(docs::routes())
}

#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let said =
        panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = said.unwrap_or("without a message"), "a handler panicked");
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the server failed; say the requestId when you report it",
    )
    .into_response()
}
