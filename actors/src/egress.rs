//! What addresses that users give may lead to: the public internet and nothing else; and the one client for
//! them.
//!
//! **Invariant:** an address literal is checked after parsing, a name's addresses when they are connected to;
//! there is no moment between the check and the use. A program that connects by itself is told which
//! addresses were checked. Redirects and proxies are off. Exceptions are exact `host:port` pairs of the
//! operator's configuration.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Client, Method, RequestBuilder, Response, Url,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};

/// How long a request may take in all.
const WITHIN: Duration = Duration::from_secs(30);
/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Why a request was not sent, or its answer not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The address is no URL.
    #[error("{0:?} is no address")]
    NoUrl(String),
    /// Only https is allowed.
    #[error("only https:// addresses are allowed; an operator can allow {0} under egress.allow")]
    NotHttps(String),
    /// The address leads into a private network.
    #[error("{0} is not a public address; an operator can allow it under egress.allow")]
    Private(String),
    /// The name has no address.
    #[error("{0} cannot be found")]
    Unresolved(String, #[source] io::Error),
    /// The request failed.
    #[error("the request failed")]
    Failed(#[source] reqwest::Error),
    /// The answer is too large.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

/// Tells what may be reached: the public internet by https, and the operator's exceptions. A clone is the
/// same.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    exceptions: Arc<BTreeSet<String>>,
}

/// An address that may be reached, as far as that can be told before its host is looked up.
#[derive(Clone, Debug)]
pub struct Vetted {
    /// The address.
    pub url: Url,
    is_exception: bool,
}

impl Guard {
    /// Lets the exact `host:port` pairs in `exceptions` be reached beside public addresses.
    pub fn new(exceptions: impl IntoIterator<Item = String>) -> Self {
        let pairs = exceptions.into_iter().map(|pair| pair.to_ascii_lowercase());
        Self { exceptions: Arc::new(pairs.collect()) }
    }

    /// Whether an address may be reached.
    ///
    /// # Errors
    ///
    /// When it may not.
    pub fn vet(&self, address: &str) -> Result<Vetted, Refused> {
        let url = Url::parse(address).map_err(|_| Refused::NoUrl(address.to_owned()))?;
        let Some(pair) = pair(&url) else { return Err(Refused::NoUrl(address.to_owned())) };
        if self.exceptions.contains(&pair) && matches!(url.scheme(), "http" | "https") {
            return Ok(Vetted { url, is_exception: true });
        }
        if url.scheme() != "https" {
            return Err(Refused::NotHttps(pair));
        }
        if literal(&url).is_some_and(|address| !is_public(address)) {
            return Err(Refused::Private(pair));
        }
        Ok(Vetted { url, is_exception: false })
    }
}

impl Vetted {
    /// The addresses of the host that may be connected to, for a program that does so by itself and must not
    /// look them up again.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub async fn resolve(&self) -> Result<Vec<IpAddr>, Refused> {
        if let Some(address) = literal(&self.url) {
            return Ok(vec![address]);
        }
        let host = self.url.host_str().unwrap_or_default();
        let unresolved = |error| Refused::Unresolved(host.to_owned(), error);
        let found = tokio::net::lookup_host((host, 0)).await.map_err(unresolved)?;
        let found = found.map(|address| address.ip()).filter(|ip| self.is_exception || is_public(*ip));
        let found: Vec<IpAddr> = found.collect();
        if found.is_empty() { Err(Refused::Private(pair(&self.url).unwrap_or_default())) } else { Ok(found) }
    }
}

/// The `host:port` of an address.
fn pair(url: &Url) -> Option<String> {
    let port = url.port_or_known_default().unwrap_or(0);
    Some(format!("{}:{port}", url.host_str()?).to_ascii_lowercase())
}

/// The host, where it is no name.
fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The guarded client. A clone is the same.
#[derive(Clone, Debug)]
pub struct Egress {
    public: Client,
    allowed: Client,
    guard: Guard,
}

impl Egress {
    /// A client that reaches public addresses and the exact `host:port` pairs in `exceptions`.
    ///
    /// # Errors
    ///
    /// When the TLS provider does not start.
    pub fn new(exceptions: impl IntoIterator<Item = String>) -> Result<Self, reqwest::Error> {
        let client = || {
            Client::builder()
                .redirect(Policy::none())
                .no_proxy()
                .timeout(WITHIN)
                .connect_timeout(CONNECT_WITHIN)
                .user_agent(concat!("cendriix/", env!("CARGO_PKG_VERSION")))
        };
        Ok(Self {
            public: client().dns_resolver(Arc::new(PublicOnly)).build()?,
            allowed: client().build()?,
            guard: Guard::new(exceptions),
        })
    }

    /// A request to an address that a user gave.
    ///
    /// # Errors
    ///
    /// When the address is not allowed.
    pub fn request(&self, method: Method, address: &str) -> Result<RequestBuilder, Refused> {
        let Vetted { url, is_exception } = self.guard.vet(address)?;
        let client = if is_exception { &self.allowed } else { &self.public };
        Ok(client.request(method, url))
    }

    /// Sends a request and reads at most `max` bytes of the answer's body.
    ///
    /// # Errors
    ///
    /// When it fails or answers with more.
    pub async fn fetch(&self, request: RequestBuilder, max: usize) -> Result<(Response, Vec<u8>), Refused> {
        let mut response = request.send().await.map_err(Refused::Failed)?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(Refused::Failed)? {
            if body.len() + chunk.len() > max {
                return Err(Refused::TooLarge(max));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((response, body))
    }
}

/// Resolves names as the system does, and keeps only public addresses.
#[derive(Debug)]
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let public: Vec<SocketAddr> =
                found.into_iter().filter(|address| is_public(address.ip())).collect();
            if public.is_empty() {
                return Err(Box::from(Refused::Private(host)));
            }
            Ok(Box::new(public.into_iter()) as Addrs)
        })
    }
}

/// Whether an address belongs to the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || a == 0
        || a >= 240
        // Carrier-grade NAT (RFC 6598), protocol assignments (RFC 6890), benchmarks (RFC 2544), 6to4 relays
        // (RFC 7526).
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19))
        || (a == 192 && b == 88 && c == 99);
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // Only global unicast (2000::/3); of that neither documentation, Teredo, 6to4, ORCHID nor local NAT64.
    let global = first & 0xe000 == 0x2000;
    let special =
        first == 0x2002 || (first == 0x2001 && (second < 0x200 || second == 0x0db8)) || first == 0x3fff;
    global && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_addresses_are_refused_however_they_are_written() {
        let egress = Egress::new([]).unwrap();
        for address in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://10.0.0.1/",
            "https://169.254.169.254/latest/meta-data",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[fd00::1]/",
            "https://[fe80::1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://[2002:7f00:1::]/",
        ] {
            assert!(matches!(egress.request(Method::GET, address), Err(Refused::Private(_))), "{address}");
        }
        assert!(egress.request(Method::GET, "https://93.184.215.14/").is_ok());
        assert!(matches!(egress.request(Method::GET, "http://example.com/"), Err(Refused::NotHttps(_))));
        assert!(matches!(
            egress.request(Method::GET, "file:///etc/passwd"),
            Err(Refused::NoUrl(_) | Refused::NotHttps(_))
        ));
    }

    #[tokio::test]
    async fn a_name_that_leads_home_is_refused_when_it_is_connected_to() {
        let egress = Egress::new([]).unwrap();
        let request = egress.request(Method::GET, "https://localhost:1/").unwrap();
        let error = egress.fetch(request, 10).await.unwrap_err();
        let mut chain = vec![error.to_string()];
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            chain.push(error.to_string());
            source = error.source();
        }
        assert!(chain.join(": ").contains("is not a public address"), "{chain:?}");
    }

    #[tokio::test]
    async fn a_program_that_connects_by_itself_is_told_only_addresses_that_it_may_reach() {
        let home = "https://localhost:1/x";
        let refused = Guard::default().vet(home).unwrap().resolve().await.unwrap_err();
        assert!(matches!(&refused, Refused::Private(pair) if pair == "localhost:1"), "{refused}");
        let found = Guard::new(["localhost:1".to_owned()]).vet(home).unwrap().resolve().await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_loopback), "{found:?}");
        let literal = Guard::default().vet("https://[2606:4700::1]/x").unwrap();
        assert_eq!(literal.resolve().await.unwrap(), ["2606:4700::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn an_operator_allows_exact_pairs_only() {
        let egress = Egress::new(["localhost:11434".to_owned()]).unwrap();
        assert!(egress.request(Method::GET, "http://localhost:11434/v1").is_ok());
        assert!(egress.request(Method::GET, "http://localhost:11435/v1").is_err());
        assert!(egress.request(Method::GET, "http://localhost.:11434/v1").is_err());
    }
}
