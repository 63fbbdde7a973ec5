//! Event streams: numbered, with a heartbeat, resumable, and ended in order when the server stops.

use std::{convert::Infallible, time::Duration};

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use cendriix_actors::{Error, agent_steps, runs};
use cendriix_protocol::{agent_steps::AgentStepEvent, ids::WorkspaceId, runs::RunEvent};
use futures::{Stream, StreamExt as _, stream};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    caller::Caller,
    error::ApiError,
    places::{Full, Place},
};
use crate::app::App;

const HEARTBEAT: Duration = Duration::from_secs(15);
const RETRY: Duration = Duration::from_secs(3);

/// The number after which a client wants to go on, from `Last-Event-ID` or the query's `lastEventId`; 0 when
/// it says none.
pub(super) fn last_event_id(headers: &HeaderMap, query: Option<&str>) -> u64 {
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    header.or(query).and_then(|id| id.trim().parse().ok()).unwrap_or(0)
}

/// One event to tell.
pub(super) trait Told: Serialize + Send {
    /// Its number; absent for what is told once and not kept.
    fn number(&self) -> Option<u64>;
    /// What it is called.
    fn name(&self) -> &'static str;
}

impl Told for RunEvent {
    fn number(&self) -> Option<u64> {
        Some(self.seq)
    }

    fn name(&self) -> &'static str {
        self.kind.name()
    }
}

impl Told for AgentStepEvent {
    fn number(&self) -> Option<u64> {
        self.seq
    }

    fn name(&self) -> &'static str {
        self.kind.name()
    }
}

/// Where events come from.
pub(super) trait Following: Send + 'static {
    /// What they are.
    type Event: Told;
    /// The next ones, at least one; `None` after the last.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<Self::Event>>, Error>> + Send;
}

impl Following for runs::Following {
    type Event = RunEvent;

    async fn next(&mut self) -> Result<Option<Vec<RunEvent>>, Error> {
        Self::next(self).await
    }
}

impl Following for agent_steps::Following {
    type Event = AgentStepEvent;

    async fn next(&mut self) -> Result<Option<Vec<AgentStepEvent>>, Error> {
        Self::next(self).await
    }
}

/// The stream of what is followed.
///
/// # Errors
///
/// When too many streams are open already.
pub(super) fn of(app: &App, caller: &Caller, following: impl Following) -> Result<Response, ApiError> {
    let place = app.streams.take(caller.workspace).map_err(|full| {
        let said = match full {
            Full::All => "too many event streams are open; try again",
            Full::Each => "your workspace has too many event streams open; close one, or follow with GET",
        };
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, said)
    })?;
    let events = events(following, app.draining.clone(), place);
    let retry = stream::once(async { Ok(Event::default().retry(RETRY)) });
    let body =
        Sse::new(retry.chain(events)).keep_alive(KeepAlive::new().interval(HEARTBEAT).text("heartbeat"));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

struct Open<F> {
    following: F,
    draining: CancellationToken,
    _place: Place<WorkspaceId>,
}

fn events<F: Following>(
    following: F,
    draining: CancellationToken,
    place: Place<WorkspaceId>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let open = Open { following, draining, _place: place };
    let pages = stream::unfold(Some(open), |open: Option<Open<F>>| async {
        let mut open = open?;
        let next = tokio::select! {
            next = open.following.next() => next,
            () = open.draining.cancelled() => {
                let goodbye = Event::default().event("server_shutdown").data("{}").retry(RETRY);
                return Some((vec![goodbye], None));
            }
        };
        match next {
            Ok(Some(events)) => Some((events.iter().map(written).collect(), Some(open))),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "an event stream broke off");
                None
            }
        }
    });
    pages.flat_map(|events: Vec<Event>| stream::iter(events.into_iter().map(Ok)))
}

fn written(event: &impl Told) -> Event {
    // Types of the protocol have no maps but those with string keys, so they can always be written.
    let data = serde_json::to_string(event).unwrap_or_default();
    let told = Event::default().event(event.name()).data(data);
    match event.number() {
        Some(number) => told.id(number.to_string()),
        None => told,
    }
}
