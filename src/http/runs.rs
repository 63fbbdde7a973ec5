//! `/runs` and the stream of their events. See `cendriix_actors::runs::state` for what each command means.

use axum::{
    Json,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use cendriix_actors::{
    caller,
    idempotency::Claim,
    kit::Shown,
    runs::{
        self, Command, INPUT_MAX, NewRun,
        state::{self},
    },
};
use cendriix_protocol::{
    entities::Promoted,
    error::{ErrorBody, FieldErrors},
    ids::RunId,
    runs::{
        Approve, CreateRun, Lifecycle, Reject, Resolution, Retry, Run, RunDiff, RunEvent, Runs, RunsQuery,
        Why,
    },
};
use serde::Deserialize;
use serde_json::json;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    caller::Caller,
    conditional::etag,
    error::{ApiError, ApiResult},
    extract::{Body, Id, MaybeBody, Params, claim, cursor, limit, wait},
    sse,
};
use crate::app::App;

/// Every route of the area, in the order of the API reference.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(get))
        .routes(routes!(advance))
        .routes(routes!(approve))
        .routes(routes!(reject))
        .routes(routes!(cancel))
        .routes(routes!(retry))
        .routes(routes!(lifecycle))
        .routes(routes!(diff))
        .routes(routes!(why))
        .routes(routes!(promote))
        .routes(routes!(stream))
}

/// Creates a run: the ticket becomes a plan, which waits for `advance`.
#[utoipa::path(post, path = "/runs", operation_id = "createRun", tag = "runs", request_body = CreateRun,
    params(("Idempotency-Key" = Option<String>, Header, description = "The same key and body take effect \
        once in 24 hours.")),
    responses(
        (status = 201, description = "The run, planned.", body = Run),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 404, description = "There is no such workflow.", body = ErrorBody),
        (status = 409, description = "A request with this Idempotency-Key goes on.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "Fields are wrong.", body = ErrorBody)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    body: Body<CreateRun>,
) -> ApiResult<Response> {
    let claim = claim(&headers, &caller, "createRun", &body.bytes)?;
    let CreateRun { workflow_id, input, repository, model } = body.value;
    check_ticket(&input.title, &input.body)?;
    let new = NewRun {
        workflow: workflow_id,
        title: Some(input.title.trim().to_owned()),
        input: json!({ "title": input.title, "body": input.body }),
        advancing: false,
        repository,
        model,
    };
    let shown = app.runs.create(&caller, new, claim).await?;
    created(&app, &caller, &HeaderMap::new(), StatusCode::CREATED, shown).await
}

/// Looks at the bounds of a ticket.
pub(super) fn check_ticket(title: &str, body: &str) -> ApiResult<()> {
    let mut errors = FieldErrors::new();
    let length = title.chars().count();
    if title.trim().is_empty() || length > 300 {
        errors.insert("input.title".into(), vec![format!("needs 1 to 300 characters, has {length}")]);
    }
    if body.len() > INPUT_MAX {
        errors.insert("input.body".into(), vec![format!("has {} bytes, more than {INPUT_MAX}", body.len())]);
    }
    if errors.is_empty() { Ok(()) } else { Err(ApiError::invalid(errors)) }
}

/// Answers with a run that was created, where it is found, and, when the caller prefers to wait, as it rests.
pub(super) async fn created(
    app: &App,
    caller: &caller::Caller,
    headers: &HeaderMap,
    status: StatusCode,
    shown: Shown<runs::Run>,
) -> ApiResult<Response> {
    let location = [(header::LOCATION, format!("/v1/runs/{}", shown.machine.id))];
    let shown = rested(app, caller, headers, shown).await?;
    Ok((status, location, answer(app, &shown).await?).into_response())
}

async fn rested(
    app: &App,
    caller: &caller::Caller,
    headers: &HeaderMap,
    shown: Shown<runs::Run>,
) -> ApiResult<Shown<runs::Run>> {
    match wait(headers) {
        Some(within) if !shown.machine.rests() => Ok(app.runs.rest(caller, shown.machine.id, within).await?),
        Some(_) | None => Ok(shown),
    }
}

async fn answer(app: &App, shown: &Shown<runs::Run>) -> ApiResult<impl IntoResponse + use<>> {
    Ok(with_version(shown, written(&app.runs.show(shown).await?)))
}

/// How much room an answer begins with; most need no more.
const ANSWER_BYTES: usize = 4 << 10;

fn written(run: &Run) -> Bytes {
    let mut body = Vec::with_capacity(ANSWER_BYTES);
    // Types of the protocol have no maps but those with string keys, so they can always be written.
    serde_json::to_writer(&mut body, run).ok();
    body.into()
}

fn with_version(shown: &Shown<runs::Run>, body: Bytes) -> impl IntoResponse + use<> {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (kind, etag(shown.version), body)
}

/// Answers with a run as it was answered before, if it was: what is shown follows from its version alone.
async fn answer_again(app: &App, shown: &Shown<runs::Run>) -> ApiResult<impl IntoResponse + use<>> {
    let version = (shown.machine.id, shown.version);
    let body = if let Some(body) = app.rendered.get(&version) {
        body
    } else {
        let body = written(&app.runs.show(shown).await?);
        app.rendered.insert(version, body.clone());
        body
    };
    Ok(with_version(shown, body))
}

/// Lists the workspace's runs, newest first.
#[utoipa::path(get, path = "/runs", operation_id = "listRuns", tag = "runs", params(RunsQuery),
    responses(
        (status = 200, description = "A page of runs.", body = Runs),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 422, description = "The query is wrong.", body = ErrorBody)))]
async fn list(State(app): State<App>, caller: Caller, query: Params<RunsQuery>) -> ApiResult<Json<Runs>> {
    let RunsQuery { status, workflow_id, limit: asked, cursor: from } = query.0;
    let (limit, before) = (limit(asked)?, cursor(from.as_deref())?);
    let (runs, next) = app.runs.list(&caller, status, workflow_id, limit, before).await?;
    Ok(Json(Runs { runs, next_cursor: next.map(|id| id.to_string()) }))
}

/// Gets a run with its whole plan.
#[utoipa::path(get, path = "/runs/{runId}", operation_id = "getRun", tag = "runs",
    params(("runId" = String, Path, format = Uuid, description = "The run.")),
    responses(
        (status = 200, description = "The run.", body = Run),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 404, description = "There is no such run.", body = ErrorBody)))]
async fn get(State(app): State<App>, caller: Caller, Id(id): Id<RunId>) -> ApiResult<impl IntoResponse> {
    let shown = app.runs.get(&caller, id).await?;
    answer_again(&app, &shown).await
}

/// Advances a planned run into execution. With `Prefer: wait=N` it answers when the run rests, or after N
/// seconds.
#[utoipa::path(post, path = "/runs/{runId}/advance", operation_id = "advanceRun", tag = "runs",
    params(("runId" = String, Path, format = Uuid, description = "The run."),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body take effect once \
            in 24 hours."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: answer when the run rests, or after N \
            seconds (60 at most).")),
    responses(
        (status = 200, description = "The run.", body = Run),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 404, description = "There is no such run.", body = ErrorBody),
        (status = 409, description = "The run is not `planned`.", body = ErrorBody),
        (status = 422, description = "The Idempotency-Key is wrong.", body = ErrorBody)))]
async fn advance(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<RunId>,
    headers: HeaderMap,
) -> ApiResult<impl IntoResponse> {
    let claim = action(&headers, &caller, "advanceRun", id, &[])?;
    let shown = app.runs.command(&caller, id, Command::Advance, claim).await?;
    answer(&app, &rested(&app, &caller, &headers, shown).await?).await
}

/// Approves a gate of a run; which one may be left out while exactly one is open. With `Prefer: wait=N` it
/// answers when the run rests, or after N seconds.
#[utoipa::path(post, path = "/runs/{runId}/approve", operation_id = "approveRun", tag = "runs",
    request_body = Option<Approve>,
    params(("runId" = String, Path, format = Uuid, description = "The run."),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body take effect once \
            in 24 hours."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: answer when the run rests, or after N \
            seconds (60 at most).")),
    responses(
        (status = 200, description = "The run.", body = Run),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low for the route or the \
            gate.", body = ErrorBody),
        (status = 404, description = "There is no such run.", body = ErrorBody),
        (status = 409, description = "No such gate is open, or several are and none was \
            named.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "Fields are wrong.", body = ErrorBody)))]
async fn approve(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<RunId>,
    headers: HeaderMap,
    body: MaybeBody<Option<Approve>>,
) -> ApiResult<impl IntoResponse> {
    let claim = action(&headers, &caller, "approveRun", id, &body.bytes)?;
    let Approve { note, gate_id: gate, resolution } = body.value.unwrap_or_default();
    short("note", note.as_deref())?;
    let resolution = resolution.map(|resolution| match resolution {
        Resolution::Happened => state::Resolution::Happened,
        Resolution::Repeat => state::Resolution::Repeat,
    });
    let command = Command::Approve { gate, note, resolution, role: caller.role };
    let shown = app.runs.command(&caller, id, command, claim).await?;
    answer(&app, &rested(&app, &caller, &headers, shown).await?).await
}

/// Denies a gate of a run, which then fails with the reason `gate_denied`.
#[utoipa::path(post, path = "/runs/{runId}/reject", operation_id = "rejectRun", tag = "runs",
    request_body = Option<Reject>,
    params(("runId" = String, Path, format = Uuid, description = "The run."),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body take effect once \
            in 24 hours.")),
    responses(
        (status = 200, description = "The run.", body = Run),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low for the route or the \
            gate.", body = ErrorBody),
        (status = 404, description = "There is no such run.", body = ErrorBody),
        (status = 409, description = "No such gate is open, or several are and none was \
            named.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "Fields are wrong.", body = ErrorBody)))]
async fn reject(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<RunId>,
    headers: HeaderMap,
    body: MaybeBody<Option<Reject>>,
) -> ApiResult<impl IntoResponse> {
    let claim = action(&headers, &caller, "rejectRun", id, &body.bytes)?;
    let Reject { reason, gate_id: gate } = body.value.unwrap_or_default();
    short("reason", reason.as_deref())?;
    let command = Command::Reject { gate, reason, role: caller.role };
    answer(&app, &app.runs.command(&caller, id, command, claim).await?).await
}

/// The caller's claim on an action of one run.
fn action(
    headers: &HeaderMap,
    caller: &caller::Caller,
    name: &str,
    run: RunId,
    body: &[u8],
) -> ApiResult<Option<Claim>> {
    claim(headers, caller, &format!("{name} {run}"), body)
}

fn short(path: &str, text: Option<&str>) -> ApiResult<()> {
    let length = text.map_or(0, |text| text.chars().count());
    if length > 2000 {
        Err(ApiError::field(path, format!("has {length} characters, more than 2,000")))
    } else {
        Ok(())
    }
}

/// Cancels a run in progress; its agents finish the call they are in, within 30 seconds.
#[utoipa::path(post, path = "/runs/{runId}/cancel", operation_id = "cancelRun", tag = "runs",
    params(("runId" = String, Path, format = Uuid, description = "The run."),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body take effect once \
            in 24 hours.")),
    responses(
        (status = 200, description = "The run.", body = Run),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 404, description = "There is no such run.", body = ErrorBody),
        (status = 409, description = "The run has ended.", body = ErrorBody),
        (status = 422, description = "The Idempotency-Key is wrong.", body = ErrorBody)))]
async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<RunId>,
    headers: HeaderMap,
) -> ApiResult<impl IntoResponse> {
    let claim = action(&headers, &caller, "cancelRun", id, &[])?;
    answer(&app, &app.runs.command(&caller, id, Command::Cancel, claim).await?).await
}

/// Begins the next attempt of a failed or cancelled run, from a step on or from the beginning.
#[utoipa::path(post, path = "/runs/{runId}/retry", operation_id = "retryRun", tag = "runs",
    request_body = Option<Retry>,
    params(("runId" = String, Path, format = Uuid, description = "The run."),
        ("Idempotency-Key" = Option<String>, Header, description = "The same key and body take effect once \
            in 24 hours."),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: answer when the run rests, or after N \
            seconds (60 at most).")),
    responses(
        (status = 202, description = "The run.", body = Run),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 404, description = "There is no such run.", body = ErrorBody),
        (status = 409, description = "The run has neither failed nor been cancelled.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "The plan has no such step.", body = ErrorBody)))]
async fn retry(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<RunId>,
    headers: HeaderMap,
    body: MaybeBody<Option<Retry>>,
) -> ApiResult<Response> {
    let claim = action(&headers, &caller, "retryRun", id, &body.bytes)?;
    let from = body.value.unwrap_or_default().from_step_id;
    let shown = app.runs.command(&caller, id, Command::Retry { from, repository: None }, claim).await?;
    let shown = rested(&app, &caller, &headers, shown).await?;
    Ok((StatusCode::ACCEPTED, answer(&app, &shown).await?).into_response())
}

/// Walks through every state of a run's life and says which were reached.
#[utoipa::path(get, path = "/runs/{runId}/lifecycle", operation_id = "getRunLifecycle", tag = "runs",
    params(("runId" = String, Path, format = Uuid, description = "The run.")),
    responses(
        (status = 200, description = "The states in order.", body = Lifecycle),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 404, description = "There is no such run.", body = ErrorBody)))]
async fn lifecycle(State(app): State<App>, caller: Caller, Id(id): Id<RunId>) -> ApiResult<Json<Lifecycle>> {
    Ok(Json(app.runs.lifecycle(&caller, id).await?))
}

/// Shows what a run has changed so far, as a unified diff against what it began from.
#[utoipa::path(get, path = "/runs/{runId}/diff", operation_id = "getRunDiff", tag = "runs",
    params(("runId" = String, Path, format = Uuid, description = "The run.")),
    responses(
        (status = 200, description = "The change.", body = RunDiff),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 404, description = "There is no such run.", body = ErrorBody),
        (status = 409, description = "The run has no repository, or its steps contradict each \
            other.", body = ErrorBody)))]
async fn diff(State(app): State<App>, caller: Caller, Id(id): Id<RunId>) -> ApiResult<Json<RunDiff>> {
    Ok(Json(app.runs.diff(&caller, id).await?))
}

/// Says why a run is where it is, whom or what it waits for, and until when.
#[utoipa::path(get, path = "/runs/{runId}/why", operation_id = "whyRun", tag = "runs",
    params(("runId" = String, Path, format = Uuid, description = "The run.")),
    responses(
        (status = 200, description = "The explanation.", body = Why),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 404, description = "There is no such run.", body = ErrorBody)))]
async fn why(State(app): State<App>, caller: Caller, Id(id): Id<RunId>) -> ApiResult<Json<Why>> {
    Ok(Json(app.runs.why(&caller, id).await?))
}

/// Promotes a merged run into a playbook: its steps, agents and cost, to plan like tickets from. Promoting it
/// again answers with the same playbook.
#[utoipa::path(post, path = "/runs/{runId}/promote-playbook", operation_id = "promotePlaybook", tag = "runs",
    params(("runId" = String, Path, format = Uuid, description = "The run.")),
    responses(
        (status = 201, description = "The playbook.", body = Promoted),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 404, description = "There is no such run.", body = ErrorBody),
        (status = 409, description = "The run has not been merged.", body = ErrorBody)))]
async fn promote(State(app): State<App>, caller: Caller, Id(id): Id<RunId>) -> ApiResult<Response> {
    let playbook = app.runs.promote(&caller, id, &app.entities).await?;
    let location = [(header::LOCATION, format!("/v1/entities/{}", playbook.id))];
    Ok((StatusCode::CREATED, location, Json(Promoted { playbook })).into_response())
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StreamQuery {
    last_event_id: Option<String>,
    follow: Option<bool>,
}

/// Streams a run's events: all that happened, then what happens, until the run has ended.
#[utoipa::path(get, path = "/workflow-runs/{runId}/stream", operation_id = "streamRun", tag = "runs",
    params(("runId" = String, Path, format = Uuid, description = "The run."),
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event seen; the \
            stream goes on after it."),
        ("lastEventId" = Option<String>, Query, description = "The same, for clients that cannot send the \
            header."),
        ("follow" = Option<bool>, Query, description = "`false`: the stream ends once everything that has \
            happened is told."),
        ("ticket" = Option<String>, Query, description = "A ticket for this stream from POST \
            /auth/stream-tickets, for browsers, which cannot send Authorization here.")),
    responses(
        (status = 200, description = "Server-sent events; `data` of each is a RunEvent.", body = RunEvent,
            content_type = "text/event-stream"),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 404, description = "There is no such run.", body = ErrorBody),
        (status = 422, description = "The query is wrong.", body = ErrorBody),
        (status = 503, description = "Too many event streams are open.", body = ErrorBody)))]
async fn stream(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<RunId>,
    headers: HeaderMap,
    query: Params<StreamQuery>,
) -> ApiResult<Response> {
    let after = sse::last_event_id(&headers, query.0.last_event_id.as_deref());
    let following = app.runs.follow(&caller, id, after).await?;
    sse::of(
        &app,
        &caller,
        if query.0.follow == Some(false) { following.without_waiting() } else { following },
    )
}
