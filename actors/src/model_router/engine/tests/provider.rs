//! The engine as a provider, and what it answers without tools.

use cendriix_protocol::model_router::TaskType;
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    super::{Engine, MODEL, answer},
    form, needs,
};
use crate::model_router::{
    chat::{Finish, Message, Request},
    provider::{Call, Class, Provider},
};

fn said(task_type: TaskType, text: &str, max_tokens: u32) -> Request {
    Request {
        messages: vec![Message::User { text: text.into() }],
        task_type,
        max_tokens,
        ..Request::default()
    }
}

#[tokio::test]
async fn a_provider_is_asked_and_its_text_goes_along_in_a_piece() {
    let (deltas, mut pieces) = mpsc::channel(1);
    let request = said(TaskType::Classification, "It crashes with an error.", 100);
    let call = Call { deltas: Some(deltas), ..Call::default() };
    let answer = Engine.ask(MODEL, &request, call).await.unwrap();
    assert_eq!(pieces.recv().await, Some(answer.text.clone()));
    assert_eq!(answer.finish, Finish::Stop);
    let usage = answer.usage.unwrap();
    assert_eq!((usage.input_tokens, usage.output_tokens), (7, 8));
}

#[tokio::test]
async fn another_model_is_not_there_and_a_stopped_request_ends() {
    let request = said(TaskType::General, "Hello", 10);
    let error = Engine.ask("gpt", &request, Call::default()).await.unwrap_err();
    assert_eq!(error.class, Class::Caller);
    let call = Call::default();
    call.stop.cancel();
    assert_eq!(Engine.ask(MODEL, &request, call).await.unwrap_err().class, Class::Stopped);
}

#[test]
fn a_form_that_is_unknown_or_a_message_that_is_no_json_is_refused() {
    let unknown = answer(&form("poem", &json!({}))).unwrap();
    insta::assert_snapshot!(needs(&unknown).unwrap(), @r#"The answer is wanted in the form "poem"."#);
    let error = answer(&form("run_plan", &json!({ "body": "no title" }))).unwrap_err();
    insta::assert_snapshot!(error, @"the last message is not the JSON it should be: missing field `title` at line 1 column 19");
    let error = answer(&form("review", &json!("text"))).unwrap_err();
    assert_eq!(error.class, Class::Caller);
}

#[test]
fn a_general_prompt_may_ask_for_a_summary_or_a_class() {
    let text = "Please summarise:\n\nThe store failed. The store was full. Lunch was good.";
    insta::assert_snapshot!(answer(&said(TaskType::General, text, 12)).unwrap().text, @"The store failed. Lunch was good.");
    let text = "Classify as one of: red, green.\n\nThe grass is green.";
    insta::assert_snapshot!(answer(&said(TaskType::General, text, 12)).unwrap().text, @r#"
    green

    Decided by: green.
    "#);
    for (task_type, text) in [
        (TaskType::General, "Write a poem."),
        (TaskType::Reasoning, "Summarise nothing."),
        (TaskType::CodeGeneration, "Classify it in code."),
    ] {
        assert!(needs(&answer(&said(task_type, text, 0)).unwrap()).is_some(), "{text}");
    }
}
