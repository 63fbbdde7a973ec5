//! Rate limits: a workspace's requests are counted once its caller is known, those of strangers by address.
//!
//! Every answer says how it stands: `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`
//! (Unix seconds) of the window that is used up first, and all windows as `RateLimit-Policy` and `RateLimit`
//! (draft-ietf-httpapi-ratelimit-headers-10). Without a limit there is no `X-RateLimit-Limit`, and
//! `X-RateLimit-Remaining` is the largest number that every client can read.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use cendriix_actors::rate_limits::{Buckets, Verdict, Window};
use cendriix_protocol::{ids::WorkspaceId, time::Timestamp};

use super::{
    error::ApiError,
    listener::holder,
    table::{self, Access},
};
use crate::app::App;

/// Where a log-in is.
const LOGIN: &str = "/v1/auth/login";
/// What asks for these says whether the server lives; it is never kept waiting.
pub(super) const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];
/// What stands for no limit: the largest number of 32 bits with a sign.
const UNLIMITED: u32 = i32::MAX as u32;
/// The seconds until `X-RateLimit-Reset` where there is no limit.
const MINUTE: u64 = 60;

/// What was said of the request's limits, for the headers of its answer.
#[derive(Clone, Debug, Default)]
struct Said(Arc<OnceLock<Verdict>>);

/// How often addresses may ask without having logged in.
#[derive(Debug)]
pub struct Addresses {
    public: Buckets<IpAddr>,
    logins: Buckets<IpAddr>,
    proxies: Vec<IpAddr>,
    /// Whether those on this machine are never refused: in `dev` mode it is theirs.
    spares_loopback: bool,
}

impl Addresses {
    /// As the configuration says.
    pub fn new(config: &crate::Config) -> Self {
        let limits = &config.limits;
        Self {
            public: Buckets::new(limits.public_per_minute),
            logins: Buckets::new(limits.logins_per_minute),
            proxies: limits.proxies.clone(),
            spares_loopback: config.auth.believes_its_clients() && !config.auth.dev_allow_public,
        }
    }

    /// The client's address, or in IPv6 the network that is all its own.
    fn of(&self, peer: Option<SocketAddr>, headers: &HeaderMap) -> IpAddr {
        let mut address = peer.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |peer| peer.ip().to_canonical());
        let told = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
        let told: Vec<&str> = told.flat_map(|value| value.split(',')).map(str::trim).collect();
        for hop in told.into_iter().rev() {
            let Ok(hop) = hop.parse::<IpAddr>() else { break };
            if !self.proxies.contains(&address) {
                break;
            }
            address = hop.to_canonical();
        }
        if address.is_loopback() { address } else { holder(address) }
    }

    /// Counts a request of a stranger.
    fn take(&self, address: IpAddr, is_login: bool) -> Verdict {
        if self.spares_loopback && address.is_loopback() {
            return Verdict::unlimited();
        }
        let buckets = if is_login { &self.logins } else { &self.public };
        buckets.take(&address)
    }
}

/// Counts the requests of strangers, and tells in each answer how its limits stand.
pub(super) async fn counted(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if PROBES.contains(&path) {
        return next.run(request).await;
    }
    let access = table::access(request.method(), path);
    let is_login = path == LOGIN;
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0);
    let address = app.addresses.of(peer, request.headers());
    let said = Said::default();
    if access == Some(Access::Public) {
        let verdict = app.addresses.take(address, is_login);
        if let Some(refusal) = refusal(&verdict) {
            return told(refusal.into_response(), &verdict, app.clock.now());
        }
        said.0.set(verdict).ok();
    }
    request.extensions_mut().insert(said.clone());
    let mut response = next.run(request).await;
    if response.status() == StatusCode::UNAUTHORIZED {
        // Whoever tries out credentials is slowed down.
        let verdict = app.addresses.take(address, false);
        if let Some(refusal) = refusal(&verdict) {
            response = refusal.into_response();
        }
        return told(response, &verdict, app.clock.now());
    }
    match said.0.get() {
        Some(verdict) => told(response, verdict, app.clock.now()),
        None => told(response, &Verdict::unlimited(), app.clock.now()),
    }
}

/// Counts a request of a workspace.
pub(super) async fn count(parts: &Parts, app: &App, workspace: WorkspaceId) -> Result<(), ApiError> {
    let verdict = app.rate_limits.take(workspace).await?;
    let refusal = refusal(&verdict);
    if let Some(said) = parts.extensions.get::<Said>() {
        said.0.set(verdict).ok();
    }
    refusal.map_or(Ok(()), Err)
}

fn refusal(verdict: &Verdict) -> Option<ApiError> {
    let after = seconds(verdict.retry_after?);
    let window = verdict.tightest()?;
    let Window { limit, name, .. } = window;
    let said = format!("more than {limit} requests a {name}; ask again in {after} s");
    Some(ApiError::new(StatusCode::TOO_MANY_REQUESTS, said))
}

fn told(mut response: Response, verdict: &Verdict, now: Timestamp) -> Response {
    let headers = response.headers_mut();
    let name = HeaderName::from_static;
    let now = now.0 / 1_000;
    let Some(tightest) = verdict.tightest() else {
        headers.insert(name("x-ratelimit-remaining"), UNLIMITED.into());
        headers.insert(name("x-ratelimit-reset"), (now + MINUTE).into());
        return response;
    };
    headers.insert(name("x-ratelimit-limit"), tightest.limit.into());
    headers.insert(name("x-ratelimit-remaining"), tightest.remaining.into());
    headers.insert(name("x-ratelimit-reset"), (now + seconds(tightest.resets_after)).into());
    let (mut policy, mut state) = (String::new(), String::new());
    for Window { name, length, limit, remaining, resets_after } in &verdict.windows {
        let comma = if policy.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        write!(policy, "{comma}\"{name}\";q={limit};w={}", length.as_secs()).ok();
        write!(state, "{comma}\"{name}\";r={remaining};t={}", seconds(*resets_after)).ok();
    }
    for (header, value) in [("ratelimit-policy", policy), ("ratelimit", state)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name(header), value);
        }
    }
    if let Some(after) = verdict.retry_after {
        headers.insert(header::RETRY_AFTER, seconds(after).into());
    }
    response
}

/// Whole seconds, rounded up, at least one.
fn seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(proxies: &[&str]) -> Addresses {
        let mut config = crate::Config::default();
        config.limits.proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
        Addresses::new(&config)
    }

    fn seen(proxies: &[&str], peer: &str, forwarded: &[&'static str]) -> String {
        let headers = forwarded
            .iter()
            .map(|hop| (HeaderName::from_static("x-forwarded-for"), HeaderValue::from_static(hop)));
        let peer = SocketAddr::new(peer.parse().unwrap(), 1);
        addresses(proxies).of(Some(peer), &headers.collect()).to_string()
    }

    #[test]
    fn a_client_is_known_by_its_address_and_only_named_proxies_are_believed() {
        assert_eq!(seen(&[], "203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(seen(&["10.0.0.1"], "10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(seen(&["10.0.0.1"], "10.0.0.1", &["6.6.6.6, 198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            seen(&["10.0.0.1", "10.0.0.2"], "10.0.0.1", &["198.51.100.1", "10.0.0.2"]),
            "198.51.100.1"
        );
        assert_eq!(seen(&["10.0.0.1"], "10.0.0.1", &["nonsense"]), "10.0.0.1");
        assert_eq!(seen(&[], "2001:db8:1:2:3:4:5:6", &[]), "2001:db8:1:2::");
        assert_eq!(seen(&[], "::ffff:203.0.113.9", &[]), "203.0.113.9");
        assert_eq!(seen(&[], "::1", &[]), "::1");
    }
}
