//! The router: one line per area, in the order of the API reference.

mod agent_steps;
mod api_keys;
pub mod caller;
mod entities;
pub mod error;
pub mod extract;
mod identity;
pub mod listener;
mod model_router;
mod operations;
mod orchestrator;
mod request;
mod runs;
mod sse;
pub mod table;
mod workflows;
mod workspaces;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::StatusCode,
    middleware,
    response::{IntoResponse, Response},
};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::{
    Modify, OpenApi,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;

use self::error::ApiError;
use crate::{app::App, config::Server};

/// All routes, with what happens to every request around them.
pub fn router(app: App) -> Router {
    let (router, _) = areas(&app.config.server).split_for_parts();
    // One layer made of all: each layer of a router is boxed and copied for every request.
    let around = ServiceBuilder::new()
        .layer(middleware::from_fn_with_state(app.clone(), request::envelope))
        .layer(DefaultBodyLimit::max(app.config.server.body_bytes_max))
        .layer(CatchPanicLayer::custom(panicked));
    router.layer(around).with_state(app)
}

fn areas(limits: &Server) -> OpenApiRouter<App> {
    let v1 = OpenApiRouter::new()
        .merge(identity::routes())
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
}

/// The OpenAPI document of all routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    areas(&Server::default()).split_for_parts().1
}

#[derive(OpenApi)]
#[openapi(
    info(title = "cendriix", description = "The control plane for AI agents: a ticket becomes a governed, \
        durable, observable run."),
    security(("bearer" = []), ("apiKey" = [])),
    modifiers(&Schemes)
)]
struct Document;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("A token of a log-in, or an API key where `X-API-Key` is listed beside it."));
        let key = ApiKeyValue::with_description("X-API-Key", "An API key: `ak_…`.");
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        components.add_security_scheme("apiKey", SecurityScheme::ApiKey(ApiKey::Header(key)));
    }
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
