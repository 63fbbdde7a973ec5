//! `/docs`: the API reference as a page, from `/openapi.json`. Everything it loads comes from this server.

use std::sync::OnceLock;

use axum::{
    body::Bytes,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cendriix_protocol::error::ErrorBody;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::error::{ApiError, ApiResult};
use crate::app::App;

/// What the page may do: load from this server and nowhere else. Its library writes styles into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";

/// The page.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>cendriix API</title>
<link rel="icon" href="data:,">
</head>
<body>
<div id="app"></div>
<noscript>This page needs JavaScript; <a href="/openapi.json">the document itself</a> does not.</noscript>
<script src="/docs/scalar.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"#;

/// Starts the library on our document, with everything off that would ask others.
const START: &str = r##"Scalar.createApiReference("#app", {
  url: "/openapi.json",
  servers: [{ url: window.location.origin }],
  proxyUrl: "",
  telemetry: false,
  withDefaultFonts: false,
  agent: { disabled: true },
  mcp: { disabled: true },
  showDeveloperTools: "never",
  hideClientButton: true,
  persistAuth: false,
});
"##;

/// How long a browser may keep the library, in seconds.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// Every route of the page.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(page)).routes(routes!(script)).routes(routes!(start))
}

fn answer(kind: &'static str, kept: HeaderValue, body: Bytes) -> Response {
    let headers: [(HeaderName, HeaderValue); 5] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, kept),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (headers, body).into_response()
}

/// The API reference as a page for people.
#[utoipa::path(get, path = "/docs", operation_id = "getDocs", tag = "operations", security(()),
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")))]
async fn page() -> Response {
    let kept = HeaderValue::from_static("no-cache");
    answer("text/html; charset=utf-8", kept, Bytes::from_static(PAGE.as_bytes()))
}

/// The library that the page shows the document with.
#[utoipa::path(get, path = "/docs/scalar.js", operation_id = "getDocsLibrary", tag = "operations",
    security(()),
    responses(
        (status = 200, description = "The library.", body = String, content_type = "text/javascript"),
        (status = 500, description = "The program was built without it.", body = ErrorBody)))]
async fn script() -> ApiResult<Response> {
    static LIBRARY: OnceLock<Option<Bytes>> = OnceLock::new();
    let library = LIBRARY.get_or_init(|| scalar_api_reference::get_asset("scalar.js").map(Bytes::from));
    let library = library.clone().ok_or_else(|| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "this program was built without the library")
    })?;
    Ok(answer("text/javascript; charset=utf-8", KEPT, library))
}

/// What starts the library.
#[utoipa::path(get, path = "/docs/start.js", operation_id = "getDocsStart", tag = "operations",
    security(()),
    responses((status = 200, description = "It.", body = String, content_type = "text/javascript")))]
async fn start() -> Response {
    answer("text/javascript; charset=utf-8", KEPT, Bytes::from_static(START.as_bytes()))
}
