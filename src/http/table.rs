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
}

const fn route(area: &'static str, method: &'static str, path: &'static str, access: Access) -> Route {
    Route { area, method, path, access }
}

const VIEWER: Access = Access::Role(Role::Viewer);
const MEMBER: Access = Access::Role(Role::Member);
const ADMIN: Access = Access::Role(Role::Admin);

/// Every route, in the order of the API reference.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    route("identity", "POST", "/v1/auth/login", Access::Public),
    route("identity", "GET", "/v1/auth/me", VIEWER),
    route("identity", "GET", "/.well-known/jwks.json", Access::Public),
    route("workspaces", "POST", "/v1/workspaces", VIEWER),
    route("workspaces", "GET", "/v1/workspaces", VIEWER),
    route("workspaces", "GET", "/v1/workspaces/{workspaceId}", VIEWER),
    route("workspaces", "POST", "/v1/workspaces/{workspaceId}/members", ADMIN),
    route("workspaces", "GET", "/v1/workspaces/{workspaceId}/members", VIEWER),
    route("workspaces", "POST", "/v1/workspaces/{workspaceId}/switch", VIEWER),
    route("runs", "POST", "/v1/runs", MEMBER),
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
    route("orchestrator", "POST", "/v1/orchestrator/decompose", MEMBER),
    route("orchestrator", "POST", "/v1/orchestrator/estimate", MEMBER),
    route("agent_steps", "POST", "/v1/agent/steps", MEMBER),
    route("agent_steps", "GET", "/v1/agent/steps/{stepId}", VIEWER),
    route("agent_steps", "GET", "/v1/agent/steps/{stepId}/stream", VIEWER),
    route("agent_steps", "GET", "/v1/agent/runs/{runId}/steps", VIEWER),
    route("model_router", "POST", "/v1/model-router/complete", MEMBER),
    route("model_router", "GET", "/v1/model-router/models", VIEWER),
    route("model_router", "GET", "/v1/model-router/health", VIEWER),
    route("workflows", "GET", "/v1/workflows", VIEWER),
    route("workflows", "POST", "/v1/workflows", MEMBER),
    route("workflows", "GET", "/v1/workflows/{workflowId}", VIEWER),
    route("workflows", "POST", "/v1/workflows/execute", MEMBER),
    route("runs", "GET", "/v1/workflow-runs/{runId}/stream", VIEWER),
    route("entities", "GET", "/v1/entities", VIEWER),
    route("entities", "GET", "/v1/entities/{entityId}", VIEWER),
    route("operations", "GET", "/healthz", Access::Public),
    route("operations", "GET", "/readyz", Access::Public),
    route("operations", "GET", "/version", Access::Public),
    route("operations", "GET", "/openapi.json", Access::Public),
    route("operations", "GET", "/docs", Access::Public),
    route("operations", "GET", "/docs/scalar.js", Access::Public),
    route("operations", "GET", "/docs/start.js", Access::Public),
    route("operations", "POST", "/control/backup", Access::Operator),
    route("operations", "GET", "/metrics", Access::Operator),
];

/// Who may call a route; `None` for one that the table does not have.
pub fn access(method: &Method, path: &str) -> Option<Access> {
    static BY_ROUTE: OnceLock<HashMap<(&str, &str), Access>> = OnceLock::new();
    let table = BY_ROUTE
        .get_or_init(|| ROUTES.iter().map(|route| ((route.method, route.path), route.access)).collect());
    table.get(&(method.as_str(), path)).copied()
}
