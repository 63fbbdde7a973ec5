//! What tests are written with: a real server on a port of its own, and a client that tells what came back.

pub(crate) mod git_server;
pub(crate) mod oidc;
pub(crate) mod openai;
pub(crate) mod process;

use std::{path::Path, process::Command, time::Duration};

use cendriix::{Config, Server};
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A server in this process, on a directory that goes away with it.
#[derive(Debug)]
pub(crate) struct TestServer {
    pub(crate) server: Server,
    pub(crate) home: TempDir,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    /// Starts a server whose configuration `change` has changed.
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let server = Server::start(config(&home, change)).await.unwrap();
        Self { server, home }
    }

    /// Stops the server and starts another on the same directory.
    pub(crate) async fn restart(self) -> Self {
        self.restart_with(|_| ()).await
    }

    /// Stops the server and starts another on the same directory, whose configuration `change` has changed.
    pub(crate) async fn restart_with(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self { server, home } = self;
        server.stop().await;
        let server = Server::start(config(&home, change)).await.unwrap();
        Self { server, home }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.addr())
    }

    /// A client that is not logged in.
    pub(crate) fn stranger(&self) -> TestClient {
        TestClient::new(self.url())
    }

    /// A client that is logged in as somebody with a workspace of their own.
    pub(crate) async fn login(&self, name: &str) -> TestClient {
        self.stranger().login(name).await
    }
}

fn config(home: &TempDir, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    config.server.listen = ([127, 0, 0, 1], 0).into();
    config.server.drain_ms = 2_000;
    config.storage.data = home.path().join("data");
    config.storage.free_mib_min = 1;
    config.sandbox.helper = env!("CARGO_BIN_EXE_cendriix").into();
    change(&mut config);
    config
}

/// A client that tells what came back.
#[derive(Clone, Debug)]
pub(crate) struct TestClient {
    http: reqwest::Client,
    url: String,
    pub(crate) token: Option<String>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl TestClient {
    pub(crate) fn new(url: String) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(1)).build().unwrap();
        Self { http, url, token: None }
    }

    pub(crate) async fn login(self, name: &str) -> Self {
        let profile = json!({
            "provider": "github", "oauthId": name, "email": format!("{name}@example.com"), "displayName": name,
        });
        let session = self.post("/v1/auth/login", profile).await.expect(200);
        self.with_token(session["token"].as_str().unwrap())
    }

    pub(crate) fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    /// The same person in another workspace of theirs.
    pub(crate) async fn switch(&self, workspace: &str) -> Self {
        let switched = self.post(&format!("/v1/workspaces/{workspace}/switch"), json!({})).await.expect(200);
        self.clone().with_token(switched["token"].as_str().unwrap())
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(&body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::PATCH, path).json(&body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    /// Posts, and waits for the answer until the run rests.
    pub(crate) async fn post_and_wait(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::POST, path).header("prefer", "wait=30").json(&body)).await
    }

    /// Keeps a workflow of transforms in a row, each adding one to the one before; gives its id.
    pub(crate) async fn chain(&self, length: usize) -> String {
        self.workflow(chain(length)).await
    }

    /// Keeps a workflow and gives its id.
    pub(crate) async fn workflow(&self, definition: Value) -> String {
        text(&self.post("/v1/workflows", definition).await.expect(201)["id"])
    }

    /// The workspace of the token.
    pub(crate) async fn workspace(&self) -> String {
        let workflow = self.chain(1).await;
        let run = self.post("/v1/runs", json!({ "workflowId": workflow, "input": { "title": "t" } })).await;
        text(&run.expect(201)["tenantId"])
    }
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, headers, body }
    }

    /// The body, when the status is the one expected.
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// Status and body, with ids and instants made the same in every run.
    pub(crate) fn story(&self) -> String {
        format!("{} {}", self.status.as_u16(), redacted(&self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A value with ids and instants made the same in every run.
pub(crate) fn redacted(value: &Value) -> Value {
    match value {
        Value::String(text) if text.parse::<uuid::Uuid>().is_ok() => json!("<id>"),
        Value::String(text) if text.parse::<cendriix_protocol::time::Timestamp>().is_ok() => json!("<at>"),
        Value::Array(items) => items.iter().map(redacted).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), redacted(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// A workflow of transforms in a row, each adding one to the one before.
pub(crate) fn chain(length: usize) -> Value {
    let node = |place: usize| {
        let before = match place {
            0 => json!({ "var": "inputs.n" }),
            _ => json!({ "var": format!("steps.n{}.output", place - 1) }),
        };
        json!({ "id": format!("n{place}"), "type": "transform", "logic": { "+": [before, 1] } })
    };
    let edge = |place: usize| json!({ "from": format!("n{}", place - 1), "to": format!("n{place}") });
    json!({
        "name": "chain",
        "nodes": (0..length).map(node).collect::<Vec<_>>(),
        "edges": (1..length).map(edge).collect::<Vec<_>>(),
    })
}

/// A workflow with a gate between two transforms.
pub(crate) fn gated() -> Value {
    json!({
        "name": "gated",
        "nodes": [
            { "id": "before", "type": "transform", "logic": 1 },
            { "id": "gate", "type": "approval-gate", "role": "member" },
            { "id": "after", "type": "transform", "logic": { "var": "steps.gate.output.approved" } },
        ],
        "edges": [{ "from": "before", "to": "gate" }, { "from": "gate", "to": "after" }],
    })
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Takes a member out of a workspace, behind the server's back.
pub(crate) async fn leaves(server: &TestServer, workspace: &str, user: &str) {
    let id = |text: &str| text.parse::<uuid::Uuid>().unwrap();
    let key = [id(workspace).as_bytes().as_slice(), id(user).as_bytes()].concat();
    let row = cendriix_persistence::store::RowKey { space: cendriix_actors::kinds::space::MEMBERS, key };
    let removed = cendriix_persistence::store::Row { key: row, value: None };
    let save = cendriix_persistence::store::Save { rows: vec![removed], ..Default::default() };
    server.server.app().store.save(save).await;
}

/// Runs git in a folder and gives what it prints.
pub(crate) fn git(folder: impl AsRef<Path>, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "safe.directory=*"])
        .args(["-c", "init.defaultBranch=main"])
        .arg("-C")
        .arg(folder.as_ref())
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
