//! A server of the Chat Completions protocol that answers by script, over real HTTP.
//!
//! It holds every request against the protocol: a key, known roles, and a tool message for each call of the
//! assistant's turn before anything else is said. What is wrong is answered with 400, as the vendor would.

use std::{
    collections::{BTreeSet, VecDeque},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

/// The key that the server wants.
pub(crate) const KEY: &str = "sk-test-0123456789";

/// What the server answers to one request.
#[derive(Clone, Debug)]
pub(crate) enum Turn {
    /// A text, in pieces when the client streams.
    Text(String),
    /// Calls of tools: name and arguments, each in pieces when the client streams.
    Calls(Vec<(String, Value)>),
    /// A refusal by status, with headers and a body.
    Refused(u16, Vec<(&'static str, String)>, Value),
    /// A stream that breaks off after a text.
    Cut(String),
    /// A failure after the status promised success and a text was sent.
    FailsInside(String, Value),
    /// Headers, then nothing until [`FakeOpenAi::let_go`] is called, then a text.
    Held(String),
    /// A text, then nothing more.
    Stalled(String),
    /// Nothing at all, not even headers.
    Silent,
    /// A whole answer, although the client wants a stream; without usage if there is none.
    Whole(Value),
    /// A stream of exactly these `data:` lines, with its end.
    Raw(Vec<String>),
}

impl Turn {
    pub(crate) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// One call of a tool.
    pub(crate) fn call(name: &str, arguments: Value) -> Self {
        Self::Calls(vec![(name.to_owned(), arguments)])
    }

    /// A refusal by status.
    pub(crate) fn refused(status: u16, code: &str, message: &str) -> Self {
        let error = json!({ "message": message, "type": code, "param": null, "code": code });
        Self::Refused(status, vec![], json!({ "error": error }))
    }
}

/// A request that came in.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) authorization: Option<String>,
    pub(crate) body: Value,
}

#[derive(Debug)]
struct Inner {
    turns: Mutex<VecDeque<Turn>>,
    requests: Mutex<Vec<Recorded>>,
    arrived: Notify,
    held: Semaphore,
}

/// The server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct FakeOpenAi {
    addr: SocketAddr,
    inner: Arc<Inner>,
    serving: JoinHandle<()>,
}

impl Drop for FakeOpenAi {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl FakeOpenAi {
    /// A server that answers `turns` one after the other; past them it says that it has no more.
    pub(crate) async fn start(turns: impl IntoIterator<Item = Turn>) -> Self {
        let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = socket.local_addr().unwrap();
        let inner = Arc::new(Inner {
            turns: Mutex::new(turns.into_iter().collect()),
            requests: Mutex::default(),
            arrived: Notify::new(),
            held: Semaphore::new(0),
        });
        let router =
            Router::new().route("/v1/chat/completions", post(complete)).with_state(Arc::clone(&inner));
        let serving = spawn(async move { axum::serve(socket, router).await.unwrap() });
        Self { addr, inner, serving }
    }

    /// What `models.openai.base_url` is set to.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/v1", self.addr)
    }

    /// Adds turns to the script.
    pub(crate) fn script(&self, turns: impl IntoIterator<Item = Turn>) {
        self.inner.turns.lock().unwrap().extend(turns);
    }

    /// The requests that came in so far.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.inner.requests.lock().unwrap().clone()
    }

    /// Waits until so many requests have come in.
    pub(crate) async fn arrived(&self, count: usize) {
        loop {
            let next = self.inner.arrived.notified();
            if self.requests().len() >= count {
                return;
            }
            next.await;
        }
    }

    /// Lets one [`Turn::Held`] go on.
    pub(crate) fn let_go(&self) {
        self.inner.held.add_permits(1);
    }

    /// Points a command here, at the model `m`.
    pub(crate) fn show_to(&self, command: &mut std::process::Command) {
        command.env("OPENAI_BASE_URL", self.base_url()).env("OPENAI_API_KEY", KEY).env("OPENAI_MODEL", "m");
    }

    /// Points a server's configuration here, at these models.
    pub(crate) fn configure(&self, config: &mut cendriix::Config, models: &[&str]) {
        config.models.openai.base_url = self.base_url();
        config.models.openai.api_key = cendriix_actors::secret::Secret::new(KEY);
        config.models.openai.models = models.iter().map(|id| cendriix::config::Model::named(*id)).collect();
    }
}

#[expect(clippy::disallowed_methods, reason = "a server of a test, ended with it")]
fn spawn(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(work)
}

async fn complete(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let Ok(body) = serde_json::from_slice::<Value>(&body) else { return wrong("the body is no JSON") };
    let authorization = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    let recorded = Recorded { authorization: authorization.clone(), body: body.clone() };
    inner.requests.lock().unwrap().push(recorded);
    inner.arrived.notify_waiters();
    if authorization != Some(format!("Bearer {KEY}")) {
        let said = json!({ "message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key" });
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": said }))).into_response();
    }
    if let Err(said) = check(&body) {
        return wrong(&said);
    }
    let turn = inner.turns.lock().unwrap().pop_front();
    let Some(turn) = turn else { return wrong("the script has no more turns") };
    if matches!(turn, Turn::Silent) {
        return futures::future::pending().await;
    }
    answer(&inner, &body, &turn)
}

fn wrong(message: &str) -> Response {
    let said = json!({ "message": message, "type": "invalid_request_error", "param": null, "code": null });
    (StatusCode::BAD_REQUEST, Json(json!({ "error": said }))).into_response()
}

/// What the protocol asks of a request.
fn check(body: &Value) -> Result<(), String> {
    if !body["model"].is_string() {
        return Err("you must provide a model parameter".to_owned());
    }
    let messages = body["messages"].as_array().filter(|messages| !messages.is_empty());
    let messages = messages.ok_or("messages must be a list of at least one")?;
    let mut unanswered: BTreeSet<&str> = BTreeSet::new();
    for (place, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if role == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            if !unanswered.remove(id) {
                return Err(format!("messages[{place}] answers {id:?}, which no call before it has"));
            }
            continue;
        }
        if !unanswered.is_empty() {
            return Err(format!("messages[{place}]: these calls have no answer: {unanswered:?}"));
        }
        let calls = message["tool_calls"].as_array().map_or(&[][..], Vec::as_slice);
        match role {
            "system" | "developer" | "user" if message["content"].is_string() => {}
            "assistant" if message["content"].is_string() || !calls.is_empty() => {}
            _ => return Err(format!("messages[{place}] is none: {message}")),
        }
        for call in calls {
            let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
            if !serde_json::from_str::<Value>(arguments).is_ok_and(|value| value.is_object()) {
                return Err(format!("messages[{place}] has a call whose arguments are no object in JSON"));
            }
            unanswered.insert(call["id"].as_str().ok_or("a call has no id")?);
        }
    }
    let tools = body["tools"].as_array().map_or(&[][..], Vec::as_slice);
    let is_tool = |tool: &Value| tool["type"] == "function" && tool["function"]["name"].is_string();
    if !tools.iter().all(is_tool) || body["tools"] == json!([]) {
        return Err("tools must be a list of functions that is not empty".to_owned());
    }
    if unanswered.is_empty() { Ok(()) } else { Err(format!("these calls have no answer: {unanswered:?}")) }
}

fn answer(inner: &Arc<Inner>, request: &Value, turn: &Turn) -> Response {
    let streams = request["stream"] == true;
    match turn {
        Turn::Refused(status, headers, body) => {
            let mut response = (StatusCode::from_u16(*status).unwrap(), Json(body)).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(*name, value.parse().unwrap());
            }
            response
        }
        Turn::Whole(body) => Json(body).into_response(),
        Turn::Text(_) | Turn::Calls(_) if !streams => Json(whole(request, turn)).into_response(),
        Turn::Text(_) | Turn::Calls(_) => events(pieces(request, turn).into_iter().chain(end()).collect()),
        Turn::Raw(lines) => {
            events(lines.iter().map(|line| format!("data: {line}\n\n")).chain(end()).collect())
        }
        Turn::FailsInside(text, error) => {
            let mut sent = vec![piece(request, &json!({ "content": text }), None)];
            sent.push(format!("data: {}\n\n", json!({ "error": error })));
            events(sent)
        }
        Turn::Cut(text) => {
            let sent = piece(request, &json!({ "content": text }), None);
            let broken = stream::iter([Ok(sent), Err(std::io::Error::other("cut"))]);
            stream_of(Body::from_stream(broken))
        }
        Turn::Stalled(text) => {
            let sent = piece(request, &json!({ "content": text }), None);
            stream_of(Body::from_stream(stream::iter([Ok::<_, Infallible>(sent)]).chain(stream::pending())))
        }
        Turn::Silent => panic!("it is kept from here"),
        Turn::Held(text) => {
            let inner = Arc::clone(inner);
            let rest: String = pieces(request, &Turn::Text(text.clone())).into_iter().chain(end()).collect();
            let held = stream::once(async move {
                inner.held.acquire().await.unwrap().forget();
                Ok::<_, Infallible>(rest)
            });
            // A comment goes out at once, so that the headers do.
            let begun = stream::iter([Ok(": wait\n\n".to_owned())]);
            stream_of(Body::from_stream(begun.chain(held)))
        }
    }
}

fn events(lines: Vec<String>) -> Response {
    stream_of(Body::from_stream(stream::iter(lines.into_iter().map(Ok::<_, Infallible>))))
}

fn stream_of(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")], body).into_response()
}

fn end() -> [String; 1] {
    ["data: [DONE]\n\n".to_owned()]
}

fn piece(request: &Value, delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
    let chunk = json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": request["model"],
        "choices": [choice],
    });
    format!("data: {chunk}\n\n")
}

/// What a server would count: a token for each four bytes.
fn usage(request: &Value, turn: &Turn) -> Value {
    let read = request["messages"].to_string().len() / 4;
    let written = match turn {
        Turn::Text(text) => text.len() / 4,
        Turn::Calls(calls) => calls.iter().map(|(_, arguments)| arguments.to_string().len() / 4).sum(),
        Turn::Refused(..)
        | Turn::Cut(_)
        | Turn::FailsInside(..)
        | Turn::Held(_)
        | Turn::Stalled(_)
        | Turn::Silent
        | Turn::Whole(_)
        | Turn::Raw(_) => 0,
    };
    json!({ "prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written })
}

/// The id of a call: unlike every other of the conversation.
fn call_id(request: &Value, number: usize) -> String {
    format!("call_{}_{number}", request["messages"].as_array().map_or(0, Vec::len))
}

/// A whole answer.
fn whole(request: &Value, turn: &Turn) -> Value {
    let (message, finish) = match turn {
        Turn::Calls(calls) => {
            let call = |(number, (name, arguments)): (usize, &(String, Value))| {
                let function = json!({ "name": name, "arguments": arguments.to_string() });
                json!({ "id": call_id(request, number), "type": "function", "function": function })
            };
            let calls: Vec<Value> = calls.iter().enumerate().map(call).collect();
            (json!({ "role": "assistant", "content": null, "tool_calls": calls }), "tool_calls")
        }
        Turn::Text(text) => (json!({ "role": "assistant", "content": text }), "stop"),
        Turn::Refused(..)
        | Turn::Cut(_)
        | Turn::FailsInside(..)
        | Turn::Held(_)
        | Turn::Stalled(_)
        | Turn::Silent
        | Turn::Whole(_)
        | Turn::Raw(_) => panic!("{turn:?} is no whole answer"),
    };
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": request["model"],
        "choices": [{ "index": 0, "message": message, "finish_reason": finish }],
        "usage": usage(request, turn),
    })
}

/// The events of an answer, as the vendor cuts them.
fn pieces(request: &Value, turn: &Turn) -> Vec<String> {
    let mut sent = vec![piece(request, &json!({ "role": "assistant", "content": null }), None)];
    match turn {
        Turn::Text(text) => {
            let letters: Vec<char> = text.chars().collect();
            for part in letters.chunks(4) {
                sent.push(piece(request, &json!({ "content": part.iter().collect::<String>() }), None));
            }
            sent.push(piece(request, &json!({}), Some("stop")));
        }
        Turn::Calls(calls) => {
            for (number, (name, arguments)) in calls.iter().enumerate() {
                let function = json!({ "name": name, "arguments": "" });
                let begun = json!({
                    "index": number, "id": call_id(request, number), "type": "function", "function": function,
                });
                sent.push(piece(request, &json!({ "tool_calls": [begun] }), None));
                let letters: Vec<char> = arguments.to_string().chars().collect();
                for part in letters.chunks(7) {
                    let function = json!({ "arguments": part.iter().collect::<String>() });
                    let more = json!({ "tool_calls": [{ "index": number, "function": function }] });
                    sent.push(piece(request, &more, None));
                }
            }
            sent.push(piece(request, &json!({}), Some("tool_calls")));
        }
        Turn::Refused(..)
        | Turn::Cut(_)
        | Turn::FailsInside(..)
        | Turn::Held(_)
        | Turn::Stalled(_)
        | Turn::Silent
        | Turn::Whole(_)
        | Turn::Raw(_) => panic!("{turn:?} does not come in pieces"),
    }
    if request["stream_options"]["include_usage"] == true {
        let last = json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": request["model"],
            "choices": [], "usage": usage(request, turn),
        });
        sent.push(format!("data: {last}\n\n"));
    }
    sent
}
