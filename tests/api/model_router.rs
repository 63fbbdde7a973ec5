//! One way to ask any model, against a server that speaks the vendor's protocol.

use cendriix::{Config, config::Model};
use cendriix_actors::model_router::{
    Ask,
    chat::{Answer, Finish, Message, Request, Schema, ToolSpec},
    provider::{Call, Class},
};
use cendriix_protocol::money::MicroUsd;
use serde_json::{Value, json};

use crate::kit::{
    TestServer,
    openai::{FakeOpenAi, KEY, Turn},
};

/// A server in front of a scripted endpoint with models `small` and `large`.
async fn server(turns: impl IntoIterator<Item = Turn>) -> (TestServer, FakeOpenAi) {
    server_with(turns, |_| ()).await
}

async fn server_with(
    turns: impl IntoIterator<Item = Turn>,
    change: impl FnOnce(&mut Config),
) -> (TestServer, FakeOpenAi) {
    let openai = FakeOpenAi::start(turns).await;
    let server = TestServer::start_with(|config| {
        openai.configure(config, &["small", "large"]);
        config.models.openai.models[0].usd_per_mtok_in = Some(MicroUsd(1_000_000));
        config.models.openai.models[0].usd_per_mtok_out = Some(MicroUsd(4_000_000));
        change(config);
    })
    .await;
    (server, openai)
}

fn prompt(text: &str) -> Value {
    json!({ "prompt": text })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_answered_and_its_cost_told() {
    let (server, openai) = server([Turn::text("Paris, of course.")]).await;
    let ada = server.login("ada").await;
    let body = json!({
        "prompt": "What is the capital of France?", "taskType": "general", "maxTokens": 100,
        "systemPrompt": "Be brief.", "requiredCapabilities": ["code"], "maxCostUsd": 0.1,
    });
    let mut answer = ada.post("/v1/model-router/complete", body).await;
    assert!(answer.body["latencyMs"].is_u64());
    answer.body["latencyMs"] = json!("<ms>");
    insta::assert_snapshot!(answer.story(), @r#"200 {"estimatedCostUsd":0.000041,"finishReason":"stop","inputTokens":25,"latencyMs":"<ms>","modelId":"small","outputTokens":4,"provider":"openai-compatible","response":"Paris, of course.","usedFallback":false}"#);
    let [request] = &openai.requests()[..] else { panic!("one request") };
    assert_eq!(request.authorization, Some(format!("Bearer {KEY}")));
    let messages = json!([
        { "role": "system", "content": "Be brief." },
        { "role": "user", "content": "What is the capital of France?" },
    ]);
    let wanted = json!({
        "model": "small", "messages": messages, "max_tokens": 100, "stream": true,
        "stream_options": { "include_usage": true },
    });
    assert_eq!(request.body, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_fields_are_told_and_nobody_is_asked() {
    let (server, openai) = server([]).await;
    let ada = server.login("ada").await;
    let complete = async |body: Value| ada.post("/v1/model-router/complete", body).await.expect(422);
    for (body, field) in [
        (json!({}), "prompt"),
        (json!({ "prompt": " " }), "prompt"),
        (json!({ "prompt": "x".repeat(262_145) }), "prompt"),
        (json!({ "prompt": "hi", "maxTokens": 0 }), "maxTokens"),
        (json!({ "prompt": "hi", "maxTokens": 128_001 }), "maxTokens"),
        (json!({ "prompt": "hi", "maxCostUsd": -1 }), "maxCostUsd"),
        (json!({ "prompt": "hi", "taskType": "poetry" }), "taskType"),
        (json!({ "prompt": "hi", "policyHint": "luck" }), "policyHint"),
        (json!({ "prompt": "hi", "requiredCapabilities": ["vision"] }), "requiredCapabilities"),
        (json!({ "prompt": "x".repeat(200_000) }), "prompt"),
    ] {
        let refused = complete(body).await;
        assert!(
            refused["fieldErrors"].to_string().contains(field)
                || refused["message"].to_string().contains(field),
            "{field}: {refused}"
        );
    }
    assert_eq!(openai.requests().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn models_that_may_cost_too_much_are_not_asked() {
    let (server, openai) = server([Turn::text("cheap")]).await;
    let ada = server.login("ada").await;
    let body = json!({ "prompt": "hi", "maxCostUsd": 0.000_001 });
    let answer = ada.post("/v1/model-router/complete", body).await.expect(200);
    assert_eq!((&answer["modelId"], &answer["estimatedCostUsd"]), (&json!("large"), &json!(0.0)));
    assert_eq!(openai.requests()[0].body["model"], "large");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_model_answers_when_the_first_choice_fails_in_whatever_way() {
    let overloaded = json!({ "message": "overloaded", "type": "server_error", "code": null });
    for fails in [
        Turn::refused(500, "server_error", "it broke"),
        Turn::refused(404, "model_not_found", "no such model"),
        Turn::refused(400, "context_length_exceeded", "too long"),
        Turn::Refused(503, vec![], json!({ "error": { "code": 503, "message": "Loading model" } })),
        Turn::Refused(
            429,
            vec![("retry-after", "7".into())],
            json!({ "object": "error", "message": "slow" }),
        ),
        Turn::Cut("half an ans".into()),
        Turn::FailsInside("half an ans".into(), overloaded),
        Turn::Raw(vec!["<html>".into()]),
        Turn::Refused(302, vec![("location", "http://127.0.0.1:1/".into())], json!({})),
    ] {
        let said = format!("{fails:?}");
        let larger = |config: &mut Config| config.models.openai.models[1].context = Some(100_000);
        let (server, openai) = server_with([fails, Turn::text("here I am")], larger).await;
        let ada = server.login("ada").await;
        let answer = ada.post("/v1/model-router/complete", prompt("hi")).await.expect(200);
        let shown = (&answer["modelId"], &answer["response"], &answer["usedFallback"]);
        assert_eq!(shown, (&json!("large"), &json!("here I am"), &json!(true)), "{said}");
        assert_eq!(openai.requests().len(), 2, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_answer_each_reason_is_told_and_the_key_never_is() {
    let (server, openai) = server([Turn::refused(500, "server_error", "it broke")]).await;
    let ada = server.login("ada").await;
    openai.script([Turn::refused(401, "invalid_api_key", &format!("Incorrect API key provided: {KEY}"))]);
    let refused = ada.post("/v1/model-router/complete", prompt("hi")).await;
    assert_eq!(refused.header("retry-after"), "1");
    let refused = refused.expect(503);
    let said = refused["message"].as_str().unwrap();
    assert!(said.contains("it broke") && said.contains("models.openai.api_key"), "{said}");
    assert!(!refused.to_string().contains(KEY), "{refused}");
    openai.script([Turn::refused(400, "invalid_request_error", &format!("there is a bad word near {KEY}"))]);
    let refused = ada.post("/v1/model-router/complete", prompt("hi")).await.expect(422);
    assert!(refused["fieldErrors"]["prompt"].to_string().contains("bad word near (hidden)"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_model_the_answer_says_how_to_set_one() {
    let server = TestServer::start().await;
    let ada = server.login("ada").await;
    let refused = ada.post("/v1/model-router/complete", prompt("hi")).await.expect(409);
    assert!(refused["message"].as_str().unwrap().contains("OPENAI_API_KEY"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_is_grouped_by_source() {
    let (server, _openai) = server([]).await;
    let ada = server.login("ada").await;
    let models = ada.get("/v1/model-router/models").await.expect(200);
    let groups: Vec<&String> = models.as_object().unwrap().keys().collect();
    assert_eq!(groups, ["bedrock", "cendriix-custom", "native", "orchestrated"]);
    insta::assert_snapshot!(models["cendriix-custom"][0], @r#"{"cachedInputUsdPerMillionTokens":1.0,"capabilities":["code","tools","json_schema"],"contextTokens":32768,"inputUsdPerMillionTokens":1.0,"maxOutputTokens":8192,"modelId":"small","outputUsdPerMillionTokens":4.0,"provider":"openai-compatible"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_keeps_failing_rests_and_its_breaker_is_shown() {
    let fails = Turn::refused(500, "server_error", "it broke");
    let (server, openai) = server_with(vec![fails; 2], |config| {
        config.models.breaker.failures = 2;
        config.models.openai.models.truncate(1);
    })
    .await;
    let ada = server.login("ada").await;
    let before = ada.get("/v1/model-router/health").await.expect(200);
    assert_eq!(
        before["models"][1],
        json!({ "modelId": "small", "endpoint": "openai-compatible", "state": "closed", "failures": 0 })
    );
    for _ in 0..3 {
        ada.post("/v1/model-router/complete", prompt("hi")).await.expect(503);
    }
    assert_eq!(openai.requests().len(), 2, "the third was not asked");
    let health = ada.get("/v1/model-router/health").await;
    let shown = crate::kit::redacted(&health.expect(200)["models"][1]);
    insta::assert_snapshot!(shown, @r#"{"endpoint":"openai-compatible","failures":2,"lastErrorClass":"failed","modelId":"small","openedAt":"<at>","retryAt":"<at>","state":"open"}"#);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_hangs_up_stops_the_model_and_is_charged() {
    let (server, openai) = server([Turn::Held("too late".into())]).await;
    let ada = server.login("ada").await;
    let commits = server.server.app().store.commits();
    let asking = ada.request(reqwest::Method::POST, "/v1/model-router/complete").json(&prompt("hi")).send();
    {
        tokio::pin!(asking);
        tokio::select! {
            answer = &mut asking => panic!("{answer:?}"),
            () = openai.arrived(1) => {}
        }
    }
    // The server sees the closed connection, and writes the row of the call.
    while server.server.app().store.commits() == commits {
        tokio::task::yield_now().await;
    }
    let health = ada.get("/v1/model-router/health").await.expect(200);
    assert!(health["models"].as_array().unwrap().iter().all(|model| model["failures"] == 0), "{health}");
}

fn tools() -> Vec<ToolSpec> {
    let parameters = json!({ "type": "object", "properties": { "path": { "type": "string" } } });
    vec![ToolSpec { name: "read_file".into(), description: "Reads a file.".into(), parameters }]
}

async fn ask(server: &TestServer, messages: &[Message], call: Call) -> Answer {
    let request =
        Request { messages: messages.to_vec(), tools: tools(), max_tokens: 1000, ..Request::default() };
    server.server.app().models.ask(Ask { request, call, ..Ask::default() }).await.unwrap().answer
}

/// Adds the model's turn and the outcome of each of its calls.
fn answered(messages: &mut Vec<Message>, answer: &Answer) {
    messages.push(Message::Assistant { text: answer.text.clone(), calls: answer.calls.clone() });
    for call in &answer.calls {
        let text = format!("the outcome of {}", call.arguments);
        messages.push(Message::Tool {
            call: call.id.clone(),
            name: call.name.clone(),
            text,
            is_error: false,
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_with_tools_goes_over_several_turns() {
    let read = |path: &str| ("read_file".to_owned(), json!({ "path": path }));
    let (server, openai) = server([
        Turn::Calls(vec![read("a.rs"), read("b.rs")]),
        Turn::Raw(vec![
            json!({ "choices": [{ "delta": { "tool_calls": [{ "id": "", "function": {
                "name": "read_file", "arguments": { "path": "c.rs" } } }] }, "finish_reason": "stop" }] })
            .to_string(),
        ]),
        Turn::Whole(json!({ "choices": [{ "message": { "content": "done" }, "finish_reason": null }] })),
    ])
    .await;
    let mut messages = vec![Message::User { text: "look at the files".into() }];
    let first = ask(&server, &messages, Call::default()).await;
    let arguments: Vec<&str> = first.calls.iter().map(|call| call.arguments.as_str()).collect();
    assert_eq!(
        (first.finish.clone(), arguments),
        (Finish::ToolCalls, vec![r#"{"path":"a.rs"}"#, r#"{"path":"b.rs"}"#])
    );
    assert!(first.usage.is_some());
    answered(&mut messages, &first);
    let second = ask(&server, &messages, Call::default()).await;
    assert_eq!(
        (second.finish.clone(), second.calls[0].arguments.as_str()),
        (Finish::ToolCalls, r#"{"path":"c.rs"}"#)
    );
    answered(&mut messages, &second);
    let third = ask(&server, &messages, Call::default()).await;
    assert_eq!((third.finish, third.text.as_str(), third.usage), (Finish::Stop, "done", None));
    let last = &openai.requests()[2].body;
    assert_eq!(last["messages"].as_array().unwrap().len(), 6);
    assert_eq!((&last["max_tokens"], &last["max_completion_tokens"]), (&json!(1000), &Value::Null));
    assert_eq!(last["tools"][0]["function"]["name"], "read_file");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_is_told_while_it_is_written_and_a_schema_is_passed_on() {
    let (server, openai) = server([Turn::text("{\"ok\":true}")]).await;
    let (deltas, mut told) = tokio::sync::mpsc::channel(64);
    let schema = Some(Schema { name: "review".into(), schema: json!({ "type": "object" }) });
    let messages = vec![Message::User { text: "review it".into() }];
    let request = Request { messages, schema, max_tokens: 10, ..Request::default() };
    let call = Call { deltas: Some(deltas), ..Call::default() };
    let asked = server.server.app().models.ask(Ask { request, call, ..Ask::default() }).await.unwrap();
    let mut text = String::new();
    let mut pieces = 0;
    while let Some(piece) = told.recv().await {
        text += &piece;
        pieces += 1;
    }
    assert_eq!((text, pieces), (asked.answer.text, 3));
    let format = &openai.requests()[0].body["response_format"];
    assert_eq!(
        *format,
        json!({ "type": "json_schema",
        "json_schema": { "name": "review", "schema": { "type": "object" }, "strict": false } })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_keeps_one_waiting_is_given_up_at_every_stage() {
    type Change = fn(&mut cendriix::config::Models);
    let cases: [(Turn, Change, &str); 4] = [
        (Turn::Silent, |models| models.headers_ms = 1, "began no answer"),
        (Turn::Held("never".into()), |models| models.first_token_ms = 1, "said no first word"),
        (Turn::Stalled("half".into()), |models| models.idle_ms = 1, "stopped in the middle of its answer"),
        (Turn::Stalled("half".into()), |models| models.whole_ms = 1, "in time"),
    ];
    for (turn, change, said) in cases {
        let (server, _openai) = server_with([turn], |config| {
            change(&mut config.models);
            config.models.openai.models.truncate(1);
        })
        .await;
        let messages = vec![Message::User { text: "hi".into() }];
        let request = Request { messages, max_tokens: 10, ..Request::default() };
        let refused = server.server.app().models.ask(Ask { request, ..Ask::default() }).await.unwrap_err();
        assert_eq!(refused.failures()[0].class, Class::TimedOut, "{said}: {refused}");
        assert!(refused.to_string().contains(said), "{said}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_first_word_is_waited_for() {
    let (server, openai) = server([Turn::Held("at last".into()), Turn::call("read_file", json!({}))]).await;
    let messages = [Message::User { text: "hi".into() }];
    let (answer, ()) = tokio::join!(ask(&server, &messages, Call::default()), async {
        openai.arrived(1).await;
        openai.let_go();
    });
    assert_eq!(answer.text, "at last");
    assert_eq!(ask(&server, &messages, Call::default()).await.calls[0].arguments, "{}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_model_that_it_does_not_know_does_not_start() {
    let home = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.server.listen = ([127, 0, 0, 1], 0).into();
    config.storage.data = home.path().join("data");
    config.models.openai.base_url = "http://127.0.0.1:1/v1".into();
    let refused = cendriix::Server::start(config.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("models.openai.models"), "{refused}");
    config.models.openai.models = vec![Model::named("m")];
    config.models.order = vec!["other".into()];
    let refused = cendriix::Server::start(config).await.unwrap_err().to_string();
    assert!(refused.contains("models.order names other"), "{refused}");
}
