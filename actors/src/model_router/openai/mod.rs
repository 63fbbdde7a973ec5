//! Models behind an endpoint that speaks the Chat Completions protocol: the vendor's own, or any of the many
//! servers that speak it too.
//!
//! - [`wire`]: the words of the protocol. [`answer`]: an answer, joined from its pieces.
//! - [`failure`]: what failures mean.
//!
//! **Invariant:** redirects and proxies are off, and every body, event and wait has a bound. The endpoint is
//! the operator's own choice, so it may be private and without TLS.

mod answer;
mod failure;
mod wire;

use async_trait::async_trait;
use futures::FutureExt as _;
use reqwest::{Client, Response, Url, header, redirect::Policy};
use tokio::time::{Instant, timeout_at};

use self::{
    answer::Joined,
    failure::{error, refused},
    wire::Body,
};
use super::{
    catalogue,
    chat::{Answer, Request},
    provider::{Call, Class, Error, Provider},
    settings::{Endpoint, Timeouts},
    sse::{EVENT_MAX, Events},
};
use crate::{reason::chain, secret::Secret};

/// How much of a refusal is read, in bytes.
const REFUSAL_MAX: usize = 64 << 10;
/// The largest stream, in bytes: a piece carries hundreds of bytes around the few that it says, and nothing
/// of it is kept.
const STREAM_MAX: usize = 256 << 20;

/// An endpoint that speaks the Chat Completions protocol.
#[derive(Debug)]
pub struct OpenAi {
    name: String,
    address: Url,
    key: Option<Secret>,
    is_vendor: bool,
    timeouts: Timeouts,
    client: Client,
}

/// The endpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its address is none.
    #[error("{0:?} is no http:// or https:// address of an endpoint")]
    Address(String),
    /// The HTTP client does not start.
    #[error("the client for model endpoints does not start")]
    Client(#[from] reqwest::Error),
}

/// Where completions are asked for at an endpoint.
///
/// # Errors
///
/// When its base is no address.
pub fn address(base_url: &str) -> Result<Url, Unusable> {
    let wrong = || Unusable::Address(base_url.to_owned());
    let url =
        Url::parse(&format!("{}/chat/completions", base_url.trim_end_matches('/'))).map_err(|_| wrong())?;
    let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
    if is_http && is_plain && url.password().is_none() { Ok(url) } else { Err(wrong()) }
}

impl OpenAi {
    /// An adapter to an endpoint.
    ///
    /// # Errors
    ///
    /// When its address is none.
    pub fn new(endpoint: &Endpoint) -> Result<Self, Unusable> {
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(endpoint.timeouts.connect)
            .user_agent(concat!("cendriix/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self {
            name: endpoint.name.clone(),
            address: address(&endpoint.base_url)?,
            key: endpoint.api_key.clone().filter(|key| !key.is_empty()),
            is_vendor: catalogue::is_vendor(&endpoint.base_url),
            timeouts: endpoint.timeouts,
            client,
        })
    }

    async fn exchange(&self, model: &str, request: &Request, call: &Call) -> Result<Answer, Error> {
        let ends_at = Instant::now() + self.timeouts.whole;
        let response = self.send(model, request, ends_at).await?;
        let is_stream = response
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"text/event-stream"));
        if is_stream {
            self.streamed(response, request, call, ends_at).await
        } else {
            self.whole(response, request, call, ends_at).await
        }
    }

    async fn send(&self, model: &str, request: &Request, ends_at: Instant) -> Result<Response, Error> {
        let mut sent =
            self.client.post(self.address.clone()).json(&Body::new(model, request, self.is_vendor));
        if let Some(key) = &self.key {
            sent = sent.bearer_auth(key.reveal());
        }
        let by = (Instant::now() + self.timeouts.headers).min(ends_at);
        let answered = timeout_at(by, sent.send()).await.map_err(|_| self.late("began no answer"))?;
        let response = answered.map_err(|error| self.unreached(error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_success() {
            return Ok(response);
        }
        let body = self.body(response, REFUSAL_MAX, ends_at).await.unwrap_or_default();
        Err(refused(&self.name, status, &headers, &body))
    }

    /// Reads an answer that comes in pieces.
    async fn streamed(
        &self,
        mut response: Response,
        request: &Request,
        call: &Call,
        ends_at: Instant,
    ) -> Result<Answer, Error> {
        let mut events = Events::default();
        let mut joined = Joined::default();
        let first_by = Instant::now() + self.timeouts.first_token;
        let (mut has_begun, mut bytes) = (false, 0);
        loop {
            let by = if has_begun { Instant::now() + self.timeouts.idle } else { first_by };
            let late = if has_begun { "stopped in the middle of its answer" } else { "said no first word" };
            let read = timeout_at(by.min(ends_at), response.chunk()).await.map_err(|_| self.late(late))?;
            let Some(chunk) = read.map_err(|error| self.broken(error))? else { break };
            bytes += chunk.len();
            let pieces = events.push(&chunk).map_err(|_| self.too_large())?;
            if bytes > STREAM_MAX {
                return Err(self.too_large());
            }
            for piece in pieces {
                has_begun = true;
                if is_end(&piece) {
                    return joined.finish(&self.name, request, true);
                }
                tell(call, joined.take(&self.name, &piece)?);
            }
        }
        let mut was_ended = false;
        if let Some(piece) = events.finish() {
            was_ended = is_end(&piece);
            if !was_ended {
                tell(call, joined.take(&self.name, &piece)?);
            }
        }
        joined.finish(&self.name, request, was_ended)
    }

    /// Reads an answer that comes as one, from servers that do not stream.
    async fn whole(
        &self,
        response: Response,
        request: &Request,
        call: &Call,
        ends_at: Instant,
    ) -> Result<Answer, Error> {
        let body = self.body(response, EVENT_MAX, ends_at).await?;
        let mut joined = Joined::default();
        tell(call, joined.take(&self.name, &body)?);
        joined.finish(&self.name, request, true)
    }

    async fn body(&self, mut response: Response, max: usize, ends_at: Instant) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        loop {
            let by = (Instant::now() + self.timeouts.idle).min(ends_at);
            let read = timeout_at(by, response.chunk()).await;
            let read = read.map_err(|_| self.late("stopped in the middle of its answer"))?;
            let Some(chunk) = read.map_err(|error| self.broken(error))? else { return Ok(body) };
            if body.len() + chunk.len() > max {
                return Err(self.too_large());
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// Takes the key out of what a server may have repeated of it.
    fn without_key(&self, mut failure: Error) -> Error {
        if let Some(key) = &self.key {
            failure.message = failure.message.replace(key.reveal(), "(hidden)");
        }
        failure
    }

    fn late(&self, what: &str) -> Error {
        error(Class::TimedOut, format!("{} {what} in time", self.name))
    }

    fn too_large(&self) -> Error {
        error(Class::BadAnswer, format!("{} answered more than anybody can use", self.name))
    }

    fn unreached(&self, failure: reqwest::Error) -> Error {
        error(Class::Failed, format!("{} cannot be reached: {}", self.name, chain(&failure.without_url())))
    }

    fn broken(&self, failure: reqwest::Error) -> Error {
        let why = chain(&failure.without_url());
        error(Class::Failed, format!("the answer of {} broke off: {why}", self.name))
    }
}

fn is_end(piece: &[u8]) -> bool {
    piece.trim_ascii() == b"[DONE]"
}

/// Hands a piece of text on; whoever does not keep up misses it.
fn tell(call: &Call, text: String) {
    if let Some(deltas) = call.deltas.as_ref().filter(|_| !text.is_empty()) {
        drop(deltas.try_send(text));
    }
}

#[async_trait]
impl Provider for OpenAi {
    async fn ask(&self, model: &str, request: &Request, call: Call) -> Result<Answer, Error> {
        // Boxed: an exchange holds the state of an HTTP request.
        let exchange = self.exchange(model, request, &call).boxed();
        tokio::select! {
            biased;
            () = call.stop.cancelled() => Err(error(Class::Stopped, "it was stopped")),
            answered = exchange => answered.map_err(|failure| self.without_key(failure)),
        }
    }
}
