//! Tickets for event streams: a browser's `EventSource` cannot send `Authorization`, and a token in an
//! address would end up in logs and histories. A ticket opens one stream, once, within a minute.
//!
//! **Invariant:** a ticket is taken out of the table before anything else is done with it, so it never opens
//! two streams. The caller's membership and role are read again when it is used.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::{digest, rand};
use axum::{
    Json,
    extract::{OriginalUri, State},
    http::{Method, StatusCode, header, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use cendriix_protocol::{
    error::ErrorBody,
    identity::Via,
    ids::{ApiKeyId, UserId, WorkspaceId},
    tickets::{CreateStreamTicket, StreamTicket},
    time::Timestamp,
    workspaces::Role,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    caller::{API_KEY, Caller},
    error::{ApiError, ApiResult},
    extract::Body,
    table,
};
use crate::app::App;

/// How long a ticket can be used.
const LIFETIME: Duration = Duration::from_mins(1);
/// The most tickets at a time that have not been used, in all and of one person.
const MOST: usize = 4_096;
const MOST_EACH: usize = 32;
/// Random bytes of a ticket.
const BYTES: usize = 32;

/// SHA-256 of a ticket, by which it is found: looking for it tells nothing of others.
type Digest = [u8; 32];

/// Tickets that have not been used.
#[derive(Debug, Default)]
pub struct Tickets(Mutex<HashMap<Digest, Ticket>>);

/// What a ticket lets its bearer be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grant {
    pub(super) user: UserId,
    pub(super) workspace: WorkspaceId,
    /// The API key that asked for the ticket, if one did.
    pub(super) key: Option<ApiKeyId>,
    /// How whoever asked for the ticket came in.
    pub(super) via: Via,
    /// The most that the bearer can be: the role of whoever asked for the ticket.
    pub(super) role: Role,
}

#[derive(Debug)]
struct Ticket {
    grant: Grant,
    path: String,
    expires_at: Timestamp,
}

impl Tickets {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Keeps a ticket. A person's oldest makes room for one too many; a table that is full refuses.
    fn keep(&self, digest: Digest, ticket: Ticket, now: Timestamp) -> bool {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |other: &Ticket| other.grant.user == ticket.grant.user;
        let own = kept.iter().filter(|(_, other)| of(other));
        if own.clone().count() >= MOST_EACH {
            let oldest = own.min_by_key(|(_, other)| other.expires_at).map(|(digest, _)| *digest);
            oldest.and_then(|digest| kept.remove(&digest));
        }
        if kept.len() >= MOST {
            kept.retain(|_, other| other.expires_at > now);
        }
        let has_room = kept.len() < MOST;
        if has_room {
            kept.insert(digest, ticket);
        }
        has_room
    }

    /// Takes a ticket, which is then used up; `None` when it is none for this path at this instant.
    fn take(&self, digest: &Digest, path: &str, now: Timestamp) -> Option<Grant> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = kept.remove(digest)?;
        (ticket.expires_at > now && ticket.path == path).then_some(ticket.grant)
    }
}

/// What the ticket in a request's address grants; `None` when it has none, is no event stream, or says who
/// asks in a header.
///
/// # Errors
///
/// When the ticket has been used, has expired, or is for another stream.
pub(super) fn presented(app: &App, parts: &Parts) -> Result<Option<Grant>, ApiError> {
    let query = parts.uri.query().unwrap_or_default();
    let Some(ticket) = query.split('&').find_map(|pair| pair.strip_prefix("ticket=")) else {
        return Ok(None);
    };
    // A nested router shows its own part of the path only.
    let path = parts.extensions.get::<OriginalUri>().map_or(parts.uri.path(), |uri| uri.path());
    let says_who = parts.headers.contains_key(header::AUTHORIZATION) || parts.headers.contains_key(API_KEY);
    if parts.method != Method::GET || says_who || !table::is_stream(path) {
        return Ok(None);
    }
    let found = app.tickets.take(&digest(ticket), path, app.clock.now());
    found.map(Some).ok_or_else(|| {
        ApiError::unauthorized(
            "the ticket is used up, has expired, or is for another stream; get one with POST \
             /v1/auth/stream-tickets",
        )
    })
}

fn digest(ticket: &str) -> Digest {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, ticket.as_bytes()).as_ref());
    hash
}

/// The routes of tickets.
pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(create))
}

/// Issues a ticket that opens one event stream, once, within a minute, as `?ticket=…` instead of
/// `Authorization`: for browsers' `EventSource`.
#[utoipa::path(post, path = "/auth/stream-tickets", operation_id = "createStreamTicket", tag = "identity",
    request_body = CreateStreamTicket,
    responses(
        (status = 201, description = "The ticket.", body = StreamTicket),
        (status = 400, description = "The body is no JSON.", body = ErrorBody),
        (status = 401, description = "Nobody is logged in.", body = ErrorBody),
        (status = 403, description = "The caller's role is too low.", body = ErrorBody),
        (status = 404, description = "There is nothing to stream there.", body = ErrorBody),
        (status = 413, description = "The body is too large.", body = ErrorBody),
        (status = 415, description = "The body is not sent as JSON.", body = ErrorBody),
        (status = 422, description = "The path is not that of an event stream.", body = ErrorBody),
        (status = 503, description = "Too many tickets wait to be used.", body = ErrorBody)))]
async fn create(
    State(app): State<App>,
    caller: Caller,
    body: Body<CreateStreamTicket>,
) -> ApiResult<(StatusCode, Json<StreamTicket>)> {
    let path = body.value.path;
    check(&app, &caller, &path).await?;
    let unavailable = |said| ApiError::new(StatusCode::SERVICE_UNAVAILABLE, said);
    let mut bytes = [0; BYTES];
    rand::fill(&mut bytes).map_err(|_| unavailable("the system gives no random numbers; try again"))?;
    let ticket = URL_SAFE_NO_PAD.encode(bytes);
    let now = app.clock.now();
    let expires_at = now.after(LIFETIME);
    let grant = Grant {
        user: caller.user,
        workspace: caller.workspace,
        key: caller.key,
        via: caller.via,
        role: caller.role,
    };
    let kept = Ticket { grant, path: path.clone(), expires_at };
    if !app.tickets.keep(digest(&ticket), kept, now) {
        return Err(unavailable("too many tickets wait to be used; try again"));
    }
    Ok((StatusCode::CREATED, Json(StreamTicket { ticket, path, expires_at })))
}

/// Looks whether there is something of the caller's to stream.
async fn check(app: &App, caller: &Caller, path: &str) -> ApiResult<()> {
    let missing = || ApiError::new(StatusCode::NOT_FOUND, "there is nothing with this id");
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["", "v1", "workflow-runs", id, "stream"] => {
            app.runs.get(caller, id.parse().map_err(|_| missing())?).await?;
        }
        ["", "v1", "agent", "steps", id, "stream"] => {
            app.agent_steps.get(caller, id.parse().map_err(|_| missing())?).await?;
        }
        _ => {
            let said = "needs to be the path of an event stream, such as /v1/workflow-runs/{runId}/stream";
            return Err(ApiError::field("path", said));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_780_000_000_000);

    fn keep(tickets: &Tickets, number: usize, user: u128) -> bool {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        let id = |id: u128| uuid::Uuid::from_u128(id);
        let grant = Grant {
            user: UserId(id(user)),
            workspace: WorkspaceId(id(1)),
            key: None,
            via: Via::Dev,
            role: Role::Viewer,
        };
        let expires_at = NOW.after(LIFETIME + Duration::from_millis(number as u64));
        tickets.keep(key, Ticket { grant, path: "/s".to_owned(), expires_at }, NOW)
    }

    fn take(tickets: &Tickets, number: usize, path: &str, now: Timestamp) -> bool {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        tickets.take(&key, path, now).is_some()
    }

    #[test]
    fn a_ticket_opens_one_stream_once_and_in_time() {
        let tickets = Tickets::new();
        for number in 0..4 {
            assert!(keep(&tickets, number, 1));
        }
        assert!(take(&tickets, 0, "/s", NOW));
        assert!(!take(&tickets, 0, "/s", NOW), "once");
        assert!(!take(&tickets, 1, "/other", NOW) && !take(&tickets, 1, "/s", NOW), "a wrong try uses it up");
        assert!(!take(&tickets, 2, "/s", NOW.after(Duration::from_mins(2))), "it has expired");
        assert!(!take(&tickets, 9, "/s", NOW), "there never was one");
    }

    #[test]
    fn one_person_takes_no_room_from_others_and_expired_tickets_make_some() {
        let tickets = Tickets::new();
        for number in 0..=MOST_EACH {
            assert!(keep(&tickets, number, 1));
        }
        assert!(!take(&tickets, 0, "/s", NOW), "the oldest made room");
        assert!(take(&tickets, 1, "/s", NOW));
        let full = (100..MOST + 200).filter(|number| keep(&tickets, *number, *number as u128)).count();
        assert_eq!(full, MOST - (MOST_EACH - 1));
    }
}
