//! The router, the OpenAPI document, the table of routes and the committed `openapi.json` say the same.

use std::collections::BTreeSet;

use cendriix::http::table::{Access, ROUTES};
use serde_json::Value;

use crate::kit::TestServer;

fn document() -> Value {
    serde_json::to_value(cendriix::http::openapi()).unwrap()
}

/// Every operation as `METHOD path`.
fn operations(document: &Value) -> Vec<(String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        item.as_object()
            .unwrap()
            .iter()
            .map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
    });
    each.collect()
}

#[test]
fn the_committed_document_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let current = serde_json::to_string_pretty(&cendriix::http::openapi()).unwrap() + "\n";
    assert!(committed == current, "openapi.json is not current: cargo run -- openapi > openapi.json");
}

#[test]
fn the_committed_table_of_roles_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/roles.md");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let current = cendriix::http::table::matrix();
    assert!(committed == current, "docs/roles.md is not current: cargo run -- routes > docs/roles.md");
}

#[test]
fn the_document_has_exactly_the_routes_of_the_table() {
    let document = document();
    let documented: BTreeSet<String> = operations(&document).into_iter().map(|(name, _)| name).collect();
    let listed = ROUTES.iter().filter(|route| route.access != Access::Operator);
    let table: BTreeSet<String> = listed.map(|route| format!("{} {}", route.method, route.path)).collect();
    assert_eq!(documented, table);
}

#[test]
fn every_operation_has_an_id_a_tag_descriptions_and_its_security() {
    let document = document();
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        let route = ROUTES.iter().find(|route| name == format!("{} {}", route.method, route.path)).unwrap();
        assert_eq!(operation["tags"], serde_json::json!([route.area]), "{name}");
        assert!(
            ids.insert(operation["operationId"].as_str().unwrap().to_owned()),
            "{name}: the id stands twice"
        );
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(!response["description"].as_str().unwrap_or_default().is_empty(), "{name} {status}");
        }
        let listed = operation["security"].as_array();
        let alone = listed.is_some_and(|schemes| schemes == &[serde_json::json!({ "bearer": [] })]);
        assert_eq!(alone, !route.access.takes_keys(), "{name}: whether it takes API keys");
        let public = operation["security"]
            .as_array()
            .is_some_and(|schemes| schemes.iter().all(|scheme| scheme == &serde_json::json!({})));
        assert_eq!(public, route.access == Access::Public, "{name}");
        // A log-in is public and may be refused.
        let refuses = route.access != Access::Public || route.path == "/v1/auth/login";
        assert_eq!(operation["responses"].get("401").is_some(), refuses, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_of_the_table_is_served() {
    let server = TestServer::start().await;
    for route in ROUTES {
        let path = route.path.replace(['{', '}'], "x");
        let method = reqwest::Method::from_bytes(route.method.as_bytes()).unwrap();
        let status = server.stranger().request(method, &path).send().await.unwrap().status();
        assert!(
            status != 405 && (status != 404 || route.access == Access::Public),
            "{} {}: {status}",
            route.method,
            route.path
        );
    }
}
