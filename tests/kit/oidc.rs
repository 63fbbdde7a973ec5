//! An OpenID Connect issuer over real HTTP: discovery, keys that change, and failures on demand. Its tokens
//! are signed here by hand, so that they can be wrong in every way.

use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use aws_lc_rs::{
    encoding::AsDer as _,
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RsaKeyPair,
    },
};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use cendriix::config::AuthMode;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// The client that tokens are for.
pub(crate) const CLIENT: &str = "cendriix-app";

/// How the issuer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As it should.
    Fine,
    /// It answers 503.
    Down,
    /// Its discovery document is that of another issuer.
    AnotherIssuer,
    /// It answers a page without end.
    Endless,
    /// It sends whoever asks elsewhere.
    Elsewhere,
}

#[derive(Debug)]
struct Inner {
    url: String,
    published: Mutex<Vec<Value>>,
    fetches: AtomicUsize,
    mood: Mutex<Mood>,
}

/// The issuer; it ends when dropped.
#[derive(Debug)]
pub(crate) struct OidcIssuer {
    inner: Arc<Inner>,
    serving: JoinHandle<()>,
}

impl Drop for OidcIssuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl OidcIssuer {
    /// An issuer that publishes these keys.
    #[expect(clippy::disallowed_methods, reason = "a server of a test, ended with it")]
    pub(crate) async fn start(keys: &[&SigningKey]) -> Self {
        let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let inner = Arc::new(Inner {
            url: format!("http://{}/pool", socket.local_addr().unwrap()),
            published: Mutex::default(),
            fetches: AtomicUsize::new(0),
            mood: Mutex::new(Mood::Fine),
        });
        let router = Router::new()
            .route("/pool/.well-known/openid-configuration", get(discovery))
            .route("/pool/keys", get(published))
            .with_state(Arc::clone(&inner));
        let serving = tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        let issuer = Self { inner, serving };
        issuer.publish(keys);
        issuer
    }

    /// What `iss` is in its tokens.
    pub(crate) fn url(&self) -> &str {
        &self.inner.url
    }

    /// Points a server's configuration here.
    pub(crate) fn configure(&self, config: &mut cendriix::Config) {
        config.auth.mode = AuthMode::Oidc;
        self.url().clone_into(&mut config.auth.oidc.issuer);
        config.auth.oidc.client_ids = vec![CLIENT.to_owned(), "cendriix-web".to_owned()];
        // Tests log in from one address.
        config.limits.logins_per_minute = 10_000;
        config.limits.public_per_minute = 10_000;
        let pair = self.url().strip_prefix("http://").unwrap().strip_suffix("/pool").unwrap();
        config.egress.allow.push(pair.to_owned());
    }

    /// Publishes these keys and no others.
    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        *self.inner.published.lock().unwrap() = keys.iter().map(|key| key.jwk()).collect();
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.inner.mood.lock().unwrap() = mood;
    }

    /// How often its keys were asked for.
    pub(crate) fn fetches(&self) -> usize {
        self.inner.fetches.load(Ordering::SeqCst)
    }

    /// What an ID token of somebody says, good for an hour.
    pub(crate) fn claims(&self, name: &str) -> Value {
        let now = now();
        json!({
            "iss": self.url(), "sub": format!("sub-{name}"), "aud": CLIENT, "token_use": "id",
            "iat": now, "exp": now + 3600, "name": name,
            "email": format!("{name}@example.com"), "email_verified": true,
        })
    }

    /// What Cognito puts into an access token: neither `aud` nor who somebody is.
    pub(crate) fn access_claims(&self, name: &str) -> Value {
        let now = now();
        json!({
            "iss": self.url(), "sub": format!("sub-{name}"), "client_id": CLIENT, "token_use": "access",
            "scope": "openid", "auth_time": now, "iat": now, "exp": now + 3600, "username": name,
            "jti": "3d2a", "origin_jti": "77aa", "version": 2,
        })
    }

    /// An ID token of somebody.
    pub(crate) fn token(&self, key: &SigningKey, name: &str) -> String {
        key.sign(&self.claims(name))
    }
}

/// The present in seconds since 1970.
pub(crate) fn now() -> u64 {
    cendriix_actors::kit::Clock::system().now().0 / 1000
}

async fn discovery(State(inner): State<Arc<Inner>>) -> Response {
    let url = &inner.url;
    let mood = *inner.mood.lock().unwrap();
    let issuer = if mood == Mood::AnotherIssuer { "https://elsewhere.example" } else { url };
    match mood {
        Mood::Down => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Elsewhere => (StatusCode::FOUND, [(header::LOCATION, format!("{url}/keys"))]).into_response(),
        Mood::Fine | Mood::AnotherIssuer | Mood::Endless => {
            Json(json!({ "issuer": issuer, "jwks_uri": format!("{url}/keys") })).into_response()
        }
    }
}

async fn published(State(inner): State<Arc<Inner>>) -> Response {
    inner.fetches.fetch_add(1, Ordering::SeqCst);
    let mood = *inner.mood.lock().unwrap();
    match mood {
        Mood::Down => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mood::Endless => vec![b' '; 1 << 20].into_response(),
        Mood::Fine | Mood::AnotherIssuer | Mood::Elsewhere => {
            Json(json!({ "keys": *inner.published.lock().unwrap() })).into_response()
        }
    }
}

/// What signs.
#[derive(Debug)]
enum Pair {
    Rsa(&'static RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// A key of the issuer, or of somebody who would like to be.
#[derive(Debug)]
pub(crate) struct SigningKey {
    kid: String,
    pair: Pair,
}

impl SigningKey {
    /// The RSA key; there is one, for they take long to make.
    pub(crate) fn rs256(kid: &str) -> Self {
        static PAIR: OnceLock<RsaKeyPair> = OnceLock::new();
        let pair = Pair::Rsa(PAIR.get_or_init(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap()));
        Self { kid: kid.to_owned(), pair }
    }

    pub(crate) fn es256(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid: kid.to_owned(), pair: Pair::P256(pair) }
    }

    pub(crate) fn eddsa(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: Pair::Ed25519(Ed25519KeyPair::generate().unwrap()) }
    }

    fn algorithm(&self) -> &'static str {
        match &self.pair {
            Pair::Rsa(_) => "RS256",
            Pair::P256(_) => "ES256",
            Pair::Ed25519(_) => "EdDSA",
        }
    }

    /// Its public part, as it is published.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let (n, e) = rsa_parts(pair.public_key().as_ref());
                json!({ "kty": "RSA", "n": BASE64.encode(n), "e": BASE64.encode(e) })
            }
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
                json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y })
            }
            Pair::Ed25519(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": BASE64.encode(pair.public_key().as_ref()) })
            }
        };
        (jwk["kid"], jwk["alg"], jwk["use"]) = (json!(self.kid), json!(self.algorithm()), json!("sig"));
        jwk
    }

    /// A token that says this.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_with(claims, &json!({}))
    }

    /// A token that says this, with other fields in its header.
    pub(crate) fn sign_with(&self, claims: &Value, header: &Value) -> String {
        let mut whole = json!({ "typ": "JWT", "alg": self.algorithm(), "kid": self.kid });
        whole.as_object_mut().unwrap().extend(header.as_object().unwrap().clone());
        let said = format!("{}.{}", BASE64.encode(whole.to_string()), BASE64.encode(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, said.as_bytes(), &mut signature).unwrap();
                signature
            }
            Pair::P256(pair) => pair.sign(&random, said.as_bytes()).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(said.as_bytes()).as_ref().to_vec(),
        };
        format!("{said}.{}", BASE64.encode(signature))
    }

    /// A token signed with HS256, whose secret is the public part of this key as somebody would read it.
    pub(crate) fn confused(&self, claims: &Value) -> String {
        let header = json!({ "typ": "JWT", "alg": "HS256", "kid": self.kid });
        let said = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims.to_string()));
        let public = match &self.pair {
            Pair::Rsa(pair) => {
                let key: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
                key.as_ref().to_vec()
            }
            Pair::P256(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
        };
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &public), said.as_bytes());
        format!("{said}.{}", BASE64.encode(tag))
    }
}

/// Modulus and exponent of a public RSA key (RFC 8017, A.1.1), without leading zeros.
fn rsa_parts(der: &[u8]) -> (Vec<u8>, Vec<u8>) {
    fn element(der: &[u8]) -> (&[u8], &[u8]) {
        let (length, from) = match usize::from(der[1]) {
            short @ ..0x80 => (short, 2),
            long => {
                let bytes = long - 0x80;
                let length = der[2..2 + bytes].iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                (length, 2 + bytes)
            }
        };
        der[from..].split_at(length)
    }
    let trimmed = |part: &[u8]| part.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<u8>>();
    let (sequence, _) = element(der);
    let (n, rest) = element(sequence);
    let (e, _) = element(rest);
    (trimmed(n), trimmed(e))
}
