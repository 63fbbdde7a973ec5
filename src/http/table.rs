//! The one table of all routes: area, method, path, and the least role that may call them.
//!
//! The caller of every request is held against it, the router and the OpenAPI document are tested against it,
//! and so is the list of what `tests/openness.rs` tries.

use std::{collections::HashMap, fmt::Write as _, sync::OnceLock};

use axum::http::Method;
use cendriix_protocol::workspaces::Role;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Public,
    /// The operator of this server, by the secret in its data directory.
    Operator,
    /// A member with at least that role, also by an API key.
    Role(Role),
    /// A member with at least that role who has logged in themself; no API key.
    Person(Role),
    /// The member whom it is about, or one with at least that role, who has logged in themself; no API key.
    Themself(Role),
}

impl Access {
    /// The least role that may do it to whatever is there; `None` where roles do not matter.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Public | Self::Operator => None,
            Self::Role(role) | Self::Person(role) | Self::Themself(role) => Some(role),
        }
    }

    /// Whether an API key may do it, as far as its role reaches.
    pub fn takes_keys(self) -> bool {
        match self {
            Self::Public | Self::Role(_) => true,
            Self::Operator | Self::Person(_) | Self::Themself(_) => false,
        }
    }
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
const ANYBODY_IN_PERSON: Access = Access::Person(Role::Viewer);
const ADMIN_IN_PERSON: Access = Access::Person(Role::Admin);
const OWNER_IN_PERSON: Access = Access::Person(Role::Owner);
const ADMIN_OR_THEMSELF: Access = Access::Themself(Role::Admin);

/// Every route, in the order of the API reference.
#[rustfmt::skip]
pub const ROUTES: &[Route] = &[
    route("identity", "POST", "/v1/auth/login", Access::Public).secret(),
    route("identity", "POST", "/v1/auth/stream-tickets", VIEWER).secret(),
    route("identity", "GET", "/v1/auth/me", VIEWER),
    route("identity", "GET", "/.well-known/jwks.json", Access::Public),
    route("workspaces", "POST", "/v1/workspaces", ANYBODY_IN_PERSON),
    route("workspaces", "GET", "/v1/workspaces", VIEWER),
    route("workspaces", "GET", "/v1/workspaces/{workspaceId}", VIEWER),
    route("workspaces", "PATCH", "/v1/workspaces/{workspaceId}", ADMIN_IN_PERSON),
    route("workspaces", "DELETE", "/v1/workspaces/{workspaceId}", OWNER_IN_PERSON),
    route("workspaces", "POST", "/v1/workspaces/{workspaceId}/members", ADMIN_IN_PERSON),
    route("workspaces", "GET", "/v1/workspaces/{workspaceId}/members", VIEWER),
    route("workspaces", "PATCH", "/v1/workspaces/{workspaceId}/members/{userId}", ADMIN_IN_PERSON),
    route("workspaces", "DELETE", "/v1/workspaces/{workspaceId}/members/{userId}", ADMIN_OR_THEMSELF),
    route("workspaces", "DELETE", "/v1/workspaces/{workspaceId}/invitations/{email}", ADMIN_IN_PERSON),
    route("workspaces", "POST", "/v1/workspaces/{workspaceId}/switch", ANYBODY_IN_PERSON).secret(),
    route("api_keys", "POST", "/v1/api-keys", ADMIN_IN_PERSON).secret(),
    route("api_keys", "GET", "/v1/api-keys", ADMIN),
    route("api_keys", "DELETE", "/v1/api-keys/{keyId}", ADMIN_IN_PERSON),
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
    route("operations", "GET", "/version", Access::Public),
    route("operations", "GET", "/openapi.json", Access::Public),
    route("operations", "GET", "/docs", Access::Public),
    route("operations", "GET", "/docs/scalar.js", Access::Public),
    route("operations", "GET", "/docs/start.js", Access::Public),
    route("operations", "POST", "/control/backup", Access::Operator).takes(Takes::Open),
    route("operations", "POST", "/control/keys/rotate", Access::Operator).takes(Takes::Open),
    route("operations", "GET", "/metrics", Access::Operator),
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

/// The table as people read it, in Markdown: who may call which route. `docs/roles.md` is this.
pub fn matrix() -> String {
    let mut text = String::from(HEADING);
    for route in ROUTES {
        let roles =
            [Role::Owner, Role::Admin, Role::Member, Role::Viewer].map(|role| mark(route.access, role));
        let key = match route.access {
            Access::Role(_) => "as its role",
            Access::Public => "yes",
            Access::Operator | Access::Person(_) | Access::Themself(_) => "–",
        };
        let Route { area, method, path, .. } = route;
        // A text takes everything that is written to it.
        writeln!(text, "| {area} | `{method} {path}` | {} | {key} |", roles.join(" | ")).ok();
    }
    text
}

const HEADING: &str = "\
# Who may call what

Made by `cendriix routes` from `src/http/table.rs`. Roles are read for every request; an API key has its own
role, or that of whoever created it when that is lower by then. Beside the role: only an owner makes, unmakes
or invites owners and changes the plan, and the last owner stays.

| area | route | owner | admin | member | viewer | API key |
|---|---|---|---|---|---|---|
";

fn mark(access: Access, role: Role) -> &'static str {
    match access {
        Access::Public => "anybody",
        Access::Role(needs) | Access::Person(needs) | Access::Themself(needs) if role >= needs => "yes",
        Access::Themself(_) => "themself",
        Access::Operator | Access::Role(_) | Access::Person(_) => "–",
    }
}
