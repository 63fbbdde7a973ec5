//! `/agent`: one loop of model turns and tool calls. See `cendriix_actors::agent_steps::state`.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use cendriix_protocol::{
    agent_steps::{AgentStep, AgentStepEvent, AgentSteps, CreateAgentStep},
    error::{ErrorBody, FieldErrors},
    ids::{AgentStepId, RunId},
};
use serde::Deserialize;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    caller::Caller,
    error::{ApiError, ApiResult},
    extract::{Body, Id, Params, claim},
    sse,
};
use crate::app::App;

/// How long `POST /agent/steps` waits for the end of the step.
const ANSWER_WITHIN: Duration = Duration::from_secs(50);
/// The longest prompt, in bytes.
const PROMPT_MAX: usize = 256 << 10;
/// The longest system prompt, in bytes.
const SYSTEM_MAX: usize = 64 << 10;

/// Every route of the area, in the order of the API reference.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create))
        .routes(routes!(get))
        .routes(routes!(stream))
        .routes(routes!(of_run))
}

/// Has an agent do one thing on what a run has done so far, in a tree of its own. Answers with the finished
/// step, or after 50 seconds with one that is still running.
#[utoipa::path(post, path = "/agent/steps", operation_id = "createAgentStep", tag = "agent_steps",
    request_body = CreateAgentStep,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body take effect \
        once in 24 hours.")),
    responses(
        (status = 201, description = "The step.", body = AgentStep),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 404, description = "There is no such run.", body = ErrorBody),
        (status = 409, description = "The run has ended, has no repository, or 16 such steps go on; or a \
            request with this Idempotency-Key goes on.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "Fields are wrong.", body = ErrorBody)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body<CreateAgentStep>,
) -> ApiResult<Response> {
    let claim = claim(&headers, &caller, "createAgentStep", &body.bytes)?;
    let new = body.value;
    check(&new)?;
    let earlier = app.agent_steps.earlier(&caller, claim.as_ref(), ANSWER_WITHIN).await?;
    let step = if let Some(step) = earlier {
        step
    } else {
        let id = app.runs.ask_step(&caller, &new, claim).await?;
        app.agent_steps.rest(&caller, id, ANSWER_WITHIN).await?
    };
    let location = [(header::LOCATION, format!("/v1/agent/steps/{}", step.id))];
    Ok((StatusCode::CREATED, location, Json(step)).into_response())
}

fn check(new: &CreateAgentStep) -> ApiResult<()> {
    let mut errors = FieldErrors::new();
    let mut add = |path: String, said: String| errors.entry(path).or_default().push(said);
    let length = new.name.chars().count();
    if new.name.trim().is_empty() || length > 200 {
        add("name".into(), format!("needs 1 to 200 characters, has {length}"));
    }
    if new.prompt.trim().is_empty() || new.prompt.len() > PROMPT_MAX {
        add("prompt".into(), format!("needs 1 to {PROMPT_MAX} bytes, has {}", new.prompt.len()));
    }
    if new.system_prompt.as_ref().is_some_and(|prompt| prompt.len() > SYSTEM_MAX) {
        add("systemPrompt".into(), format!("has more than {SYSTEM_MAX} bytes"));
    }
    for (place, connector) in new.allowed_connector_ids.iter().enumerate().take(20) {
        add(format!("allowedConnectorIds[{place}]"), format!("there is no connector {connector:?}"));
    }
    for (field, said) in new.policy.wrong() {
        add(format!("policy.{field}"), said);
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(errors)) }
}

/// Gets an agent's step with its turns and what came of its calls. Long texts are cut, so that the answer
/// stays small; the step's stream has them whole.
#[utoipa::path(get, path = "/agent/steps/{stepId}", operation_id = "getAgentStep", tag = "agent_steps",
    params(("stepId" = String, Path, format = Uuid, description = "The step.")),
    responses(
        (status = 200, description = "The step.", body = AgentStep),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 404, description = "There is no such step.", body = ErrorBody)))]
async fn get(State(app): State<App>, caller: Caller, Id(id): Id<AgentStepId>) -> ApiResult<Json<AgentStep>> {
    Ok(Json(app.agent_steps.get(&caller, id).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StreamQuery {
    last_event_id: Option<String>,
    follow: Option<bool>,
}

/// Streams an agent's step: all that happened, then what happens, with what the model writes and what
/// commands print in between, until it has ended.
#[utoipa::path(get, path = "/agent/steps/{stepId}/stream", operation_id = "streamAgentStep",
    tag = "agent_steps",
    params(("stepId" = String, Path, format = Uuid, description = "The step."),
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event seen; the \
            stream goes on after it."),
        ("lastEventId" = Option<String>, Query, description = "The same, for clients that cannot send the \
            header."),
        ("follow" = Option<bool>, Query, description = "`false`: the stream ends once everything that has \
            happened is told."),
        ("ticket" = Option<String>, Query, description = "A ticket for this stream from POST \
            /auth/stream-tickets, for browsers, which cannot send Authorization here.")),
    responses(
        (status = 200, description = "Server-sent events; `data` of each is an AgentStepEvent.",
            body = AgentStepEvent, content_type = "text/event-stream"),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 404, description = "There is no such step.", body = ErrorBody),
        (status = 422, description = "The query is wrong.", body = ErrorBody),
        (status = 503, description = "Too many event streams are open.", body = ErrorBody)))]
async fn stream(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<AgentStepId>,
    headers: HeaderMap,
    query: Params<StreamQuery>,
) -> ApiResult<Response> {
    let after = sse::last_event_id(&headers, query.0.last_event_id.as_deref());
    let following = app.agent_steps.follow(&caller, id, after).await?;
    sse::of(
        &app,
        &caller,
        if query.0.follow == Some(false) { following.without_waiting() } else { following },
    )
}

/// Lists the agents' steps of a run, oldest first.
#[utoipa::path(get, path = "/agent/runs/{runId}/steps", operation_id = "listAgentSteps", tag = "agent_steps",
    params(("runId" = String, Path, format = Uuid, description = "The run.")),
    responses(
        (status = 200, description = "The steps, without their turns.", body = AgentSteps),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 404, description = "There is no such run.", body = ErrorBody)))]
async fn of_run(State(app): State<App>, caller: Caller, Id(id): Id<RunId>) -> ApiResult<Json<AgentSteps>> {
    app.runs.get(&caller, id).await?;
    Ok(Json(AgentSteps { steps: app.agent_steps.of_run(id).await? }))
}
