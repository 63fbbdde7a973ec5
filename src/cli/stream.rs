//! Event streams as the command line reads them: typed, and connected again when the server went away.

use std::time::Duration;

use cendriix_protocol::{
    agent_steps::{AgentStepEvent, AgentStepEventKind},
    runs::{RunEvent, RunEventKind},
};
use futures::{Stream, StreamExt as _, stream::BoxStream};
use serde::de::DeserializeOwned;

use super::{Failure, client::Client};

/// How often a stream is opened that has nothing to tell.
const EMPTY_MAX: u32 = 4;
/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(500);

/// An event of a stream.
pub(super) trait Event: DeserializeOwned + Send + 'static {
    /// Its number; absent for what is told once and not kept.
    fn number(&self) -> Option<u64>;
    /// Whether the stream may end after it.
    fn is_end(&self) -> bool;
    /// Whether a stream that cannot be opened at all is an error at once.
    const FIRST_COUNTS: bool;
}

impl Event for RunEvent {
    const FIRST_COUNTS: bool = true;

    fn number(&self) -> Option<u64> {
        Some(self.seq)
    }

    fn is_end(&self) -> bool {
        matches!(self.kind, RunEventKind::RunCompleted { .. })
    }
}

impl Event for AgentStepEvent {
    const FIRST_COUNTS: bool = false;

    fn number(&self) -> Option<u64> {
        self.seq
    }

    fn is_end(&self) -> bool {
        matches!(self.kind, AgentStepEventKind::StepCompleted { .. })
    }
}

/// Where a stream stands.
struct Cursor<E> {
    client: Client,
    path: String,
    after: u64,
    /// Whether the last event was one that the stream may end after.
    ended: bool,
    tries: u32,
    /// Whether it waits for what is yet to happen.
    waits: bool,
    /// Whether it was never open.
    fresh: bool,
    open: Option<BoxStream<'static, E>>,
}

/// The events of `path` after number `after`, until the stream has ended in order; only those that have
/// happened, unless it `waits` for more.
pub(super) fn events<E: Event>(
    client: &Client,
    path: &str,
    after: u64,
    waits: bool,
) -> impl Stream<Item = Result<E, Failure>> + Send + use<E> {
    let cursor = Cursor::<E> {
        client: client.clone(),
        path: if waits { path.to_owned() } else { format!("{path}?follow=false") },
        after,
        ended: false,
        tries: 0,
        waits,
        fresh: true,
        open: None,
    };
    futures::stream::unfold(Some(cursor), |cursor| async {
        let mut cursor = cursor?;
        loop {
            if cursor.open.is_none() {
                match cursor.client.stream(&cursor.path, cursor.after).await {
                    Ok(response) => {
                        cursor.fresh = false;
                        cursor.open = Some(parsed(response));
                    }
                    Err(failure) if E::FIRST_COUNTS && cursor.tries == 0 && cursor.fresh => {
                        return Some((Err(failure), None));
                    }
                    Err(failure) if cursor.tries >= cursor.client.looks_max => {
                        return Some((Err(failure), None));
                    }
                    Err(_) => {
                        cursor.tries += 1;
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                }
            }
            let next = match &mut cursor.open {
                Some(open) => open.next().await,
                None => None,
            };
            if let Some(event) = next {
                cursor.after = event.number().unwrap_or(cursor.after);
                cursor.ended = event.is_end();
                cursor.tries = 0;
                return Some((Ok(event), Some(cursor)));
            }
            // A stream that is opened again and again and has nothing more to tell has come to its end.
            if cursor.ended || !cursor.waits || cursor.tries >= EMPTY_MAX {
                return None;
            }
            // The server went away in the middle: what is missing comes with the next connection.
            cursor.open = None;
            cursor.tries += 1;
            tokio::time::sleep(PAUSE).await;
        }
    })
}

/// The events of one connection, until it closes.
fn parsed<E: Event>(response: reqwest::Response) -> BoxStream<'static, E> {
    let read = (response.bytes_stream().boxed(), Vec::new());
    let messages =
        futures::stream::unfold(read, |(mut chunks, mut held): (BoxStream<'static, _>, Vec<u8>)| async {
            loop {
                if let Some(end) = held.windows(2).position(|pair| pair == b"\n\n") {
                    let message: Vec<u8> = held.drain(..end + 2).collect();
                    return Some((String::from_utf8_lossy(&message).into_owned(), (chunks, held)));
                }
                let chunk: Result<_, reqwest::Error> = chunks.next().await?;
                held.extend_from_slice(&chunk.ok()?);
            }
        });
    let events = messages.filter_map(|message| async move {
        let told: String = message.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        serde_json::from_str::<E>(&told).ok()
    });
    events.boxed()
}
