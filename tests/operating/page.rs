//! `/docs` and `/version`: what the page loads, and what the program says of itself.

use serde_json::Value;

use crate::kit::{TestServer, process::run, text};

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_the_api_loads_from_this_server_only() {
    let server = TestServer::start().await;
    let answer = server.stranger().get("/docs").await;
    let policy = answer.header("content-security-policy").to_owned();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert!(!policy.contains("http") && !policy.contains('*') && !policy.contains("unsafe-eval"), "{policy}");
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    let page = text(&answer.expect(200));
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("\"//"), "{page}");
    let loaded: Vec<&str> =
        page.split("src=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(loaded, ["/docs/scalar.js", "/docs/start.js"]);
    let start = text(&server.stranger().get("/docs/start.js").await.expect(200));
    assert!(!start.contains("//") && start.contains("\"/openapi.json\""), "{start}");
    let library = server.stranger().get("/docs/scalar.js").await;
    assert_eq!(library.header("content-type"), "text/javascript; charset=utf-8");
    assert!(text(&library.expect(200)).len() > 1_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_and_the_command_line_say_the_same_of_themselves() {
    let server = TestServer::start().await;
    let version = server.stranger().get("/version").await.expect(200);
    assert_eq!((&version["name"], &version["api"]), (&Value::from("cendriix"), &Value::from("/v1")));
    let output = run(server.home.path(), &["--version"]);
    let line = String::from_utf8(output.stdout).unwrap();
    for said in [&version["version"], &version["target"], &version["api"]] {
        assert!(line.contains(&text(said)), "{line}");
    }
}
