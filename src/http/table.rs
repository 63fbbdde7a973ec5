//! The one table of all routes: area, method, path, and the least role that may call them.
//!
//! The caller of every request is held against it, the router and the OpenAPI document are tested against it,
//! and so is the list of what `tests/openness.rs` tries.

use std::{collections::HashMap, sync::OnceLock};

use axum::http::Method;
use cendriix_protocol::workspaces::Role;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// The operator of this server, by the secret in its data directory.
    Operator,
    /// A member with at least that role.
    Role(Role),
}

/// How long a route may take to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// `server.request_timeout_ms`.
    Usual,
    /// `server.request_timeout_long_ms`: it asks a model, or fetches a repository, before it answers.
    Long,
    /// As long as it likes: it is an event stream, or work of the operator.
    Open,
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The area it belongs to; also the tag in the OpenAPI document.
    pub area: &'static str,
    /// Its method.
    pub method: &'static str,
    /// Its path, with `{names}`.
    pub path: &'static str,
    /// Who may call it.
    pub access: Access,
    /// How long it may take.
    pub takes: Takes,
    /// Whether its answer holds a secret: such an answer is kept nowhere and is not compressed, since its
    /// length would tell of it.
    pub is_secret: bool,
}

impl Route {
    const fn takes(self, takes: Takes) -> Self {
        Self { takes, ..self }
    }

    const fn secret(self) -> Self {
        Self { is_secret: true, ..self }
    }
}

const fn route(area: &'static str, method: &'static str, path: &'static str, access: Access) -> Route {
    Route { area, method, path, access, takes: Takes::Usual, is_secret: false }
}

const VIEWER: Access = Access::Role(Role::Viewer);
const MEMBER: Access = Access::Role(Role::Member);
const ADMIN: Access = Access::Role(Role::Admin);

/// Every route, in the order of the API reference.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    route("identity", "POST", "/v1/auth/login", Access::Public).secret(),
    route("identity", "POST", "/v1/auth/stream-tickets", VIEWER).secret(),
    route("identity", "GET", "/v1/auth/me", VIEWER),
    route("identity", "GET", "/.well-known/jwks.json", Access::Public),
    route("workspaces", "POST", "/v1/workspaces", VIEWER),
    route("workspaces", "GET", "/v1/workspaces", VIEWER),
    route("workspaces", "GET", "/v1/workspaces/{workspaceId}", VIEWER),
    route("workspaces", "POST", "/v1/workspaces/{workspaceId}/members", ADMIN),
    route("workspaces", "GET", "/v1/workspaces/{workspaceId}/members", VIEWER),
    route("workspaces", "POST", "/v1/workspaces/{workspaceId}/switch", VIEWER).secret(),
    route("runs", "POST", "/v1/runs", MEMBER).takes(Takes::Long),
    route("runs", "GET", "/v1/runs", VIEWER),
    route("runs", "GET", "/v1/runs/{runId}", VIEWER),
    route("runs", "POST", "/v1/runs/{runId}/advance", MEMBER),
    route("runs", "POST", "/v1/runs/{runId}/approve", MEMBER),
    route("runs", "POST", "/v1/runs/{runId}/reject", MEMBER),
    route("runs", "POST", "/v1/runs/{runId}/cancel", MEMBER),
    route("runs", "POST", "/v1/runs/{runId}/retry", MEMBER),
    route("runs", "GET", "/v1/runs/{runId}/lifecycle", VIEWER),
    route("runs", "GET", "/v1/runs/{runId}/diff", VIEWER),
    route("runs", "GET", "/v1/runs/{runId}/why", VIEWER),
    route("runs", "POST", "/v1/runs/{runId}/promote-playbook", MEMBER),
    route("orchestrator", "POST", "/v1/orchestrator/decompose", MEMBER).takes(Takes::Long),
    route("orchestrator", "POST", "/v1/orchestrator/estimate", MEMBER),
    route("agent_steps", "POST", "/v1/agent/steps", MEMBER).takes(Takes::Long),
    route("agent_steps", "GET", "/v1/agent/steps/{stepId}", VIEWER),
    route("agent_steps", "GET", "/v1/agent/steps/{stepId}/stream", VIEWER).takes(Takes::Open),
    route("agent_steps", "GET", "/v1/agent/runs/{runId}/steps", VIEWER),
    route("model_router", "POST", "/v1/model-router/complete", MEMBER).takes(Takes::Long),
    route("model_router", "GET", "/v1/model-router/models", VIEWER),
    route("model_router", "GET", "/v1/model-router/health", VIEWER),
    route("workflows", "GET", "/v1/workflows", VIEWER),
    route("workflows", "POST", "/v1/workflows", MEMBER),
    route("workflows", "GET", "/v1/workflows/{workflowId}", VIEWER),
    route("workflows", "POST", "/v1/workflows/execute", MEMBER).takes(Takes::Long),
    route("runs", "GET", "/v1/workflow-runs/{runId}/stream", VIEWER).takes(Takes::Open),
    route("entities", "GET", "/v1/entities", VIEWER),
    route("entities", "GET", "/v1/entities/{entityId}", VIEWER),
    route("operations", "GET", "/healthz", Access::Public),
    route("operations", "GET", "/readyz", Access::Public),
    route("operations", "GET", "/openapi.json", Access::Public),
    route("operations", "POST", "/control/backup", Access::Operator).takes(Takes::Open),
];

/// The route of a request; `None` for one that the table does not have. `HEAD` is `GET` without the body.
pub fn find(method: &Method, path: &str) -> Option<&'static Route> {
    static BY_ROUTE: OnceLock<HashMap<(&str, &str), &Route>> = OnceLock::new();
    let table =
        BY_ROUTE.get_or_init(|| ROUTES.iter().map(|route| ((route.method, route.path), route)).collect());
    let method = if method == Method::HEAD { &Method::GET } else { method };
    table.get(&(method.as_str(), path)).copied()
}

/// Who may call a route; `None` for one that the table does not have.
pub fn access(method: &Method, path: &str) -> Option<Access> {
    find(method, path).map(|route| route.access)
}

/// The methods that a path has, as an `Allow` header lists them.
pub fn methods(path: &str) -> String {
    let own = ROUTES.iter().filter(|route| route.path == path).map(|route| route.method);
    let each = own.flat_map(|method| [Some(method), (method == "GET").then_some("HEAD")]);
    each.flatten().chain(["OPTIONS"]).collect::<Vec<_>>().join(", ")
}

/// Whether a path, with ids in it, is that of an event stream.
pub fn is_stream(path: &str) -> bool {
    let alike = |route: &&Route| {
        let (mut asked, mut own) = (path.split('/'), route.path.split('/'));
        let fits = own.by_ref().all(|own| {
            asked.next().is_some_and(|part| part == own || (own.starts_with('{') && !part.is_empty()))
        });
        fits && asked.next().is_none()
    };
    ROUTES
        .iter()
        .filter(|route| route.method == "GET" && route.takes == Takes::Open)
        .any(|route| alike(&route))
}
