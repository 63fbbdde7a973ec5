//! Tokens of an OpenID Connect issuer: ID tokens and access tokens, held against the keys it publishes.
//!
//! **Invariant:** nothing in a token chooses how it is checked. `alg` must be that of the key, `kid` picks
//! one of the issuer's keys, and `jku`, `jwk`, `x5u` and `x5c` are not looked at. A token that was found good
//! is good only until it ends and while its key is published.

mod cache;
mod claims;
mod jwks;
mod source;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use cendriix_protocol::ids::{UserId, WorkspaceId};
use jsonwebtoken::Validation;
use quick_cache::sync::Cache as Bounded;
use serde::Deserialize;

pub use self::claims::Profile;
use self::{
    cache::{Cache, Missing},
    claims::{Claims, Expected},
    jwks::Key,
    source::Source,
};
use super::tokens::BYTES_MAX;
use crate::{
    audit::sha256,
    egress::Egress,
    kit::{Clock, tasks::Tasks},
};

/// How many tokens that were found good are remembered.
const CACHED: usize = 10_000;
/// What a token may say that it is; a log-out token, for one, is no log-in.
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

/// Which issuer is trusted, and with what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its address, exactly as its tokens name it.
    pub issuer: String,
    /// Whom tokens are for: `aud`, or `client_id` of an access token without one, is one of these.
    pub client_ids: Vec<String>,
    /// Where its keys are; told by its discovery document when absent.
    pub jwks_uri: Option<String>,
    /// The claim that names the workspace.
    pub workspace_claim: Option<String>,
    /// How far its clock may differ from ours.
    pub leeway: Duration,
    /// What may be reached to ask it.
    pub egress: Egress,
}

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    /// Its form or its signature is wrong.
    #[error("the token is not valid: its form or its signature is wrong")]
    Invalid,
    /// It is signed in another way than its key is for.
    #[error("the token is not signed with the algorithm of its key; RS256, ES256 and EdDSA are taken")]
    Algorithm,
    /// The issuer publishes no such key.
    #[error("the token is signed with a key that its issuer does not publish; log in again")]
    UnknownKey,
    /// It is neither an ID token nor an access token.
    #[error("the token is neither an ID token nor an access token")]
    Use,
    /// Somebody else issued it.
    #[error("the token is not of the issuer that this server trusts")]
    Issuer,
    /// It is for somebody else.
    #[error("the token is not meant for this server: its audience is none of auth.oidc.client_ids")]
    Audience,
    /// It is about nobody.
    #[error("the token names nobody: its sub is missing, or no text of 1 to 255 bytes")]
    Subject,
    /// Its time is over.
    #[error("the token has expired; log in again")]
    Expired,
    /// Its time has not come.
    #[error("the token is not good yet; compare the clocks of this server and of the issuer")]
    NotYet,
}

/// Why a token could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not good.
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    /// The issuer could not be asked for the key.
    #[error(
        "the issuer of the token could not be asked for its keys, and that of the token is not known here; \
         try again later (the server's log says why)"
    )]
    Unavailable,
}

/// A token that was found good.
#[derive(Debug)]
pub struct Verified {
    /// Who it is about, at the issuer.
    pub subject: String,
    /// What it says of them.
    pub profile: Profile,
    /// The workspace that it names.
    pub workspace: Option<String>,
    /// The person that it is about, once that is known.
    pub user: OnceLock<UserId>,
    /// The workspace that it leads to, once what it names was found.
    pub place: OnceLock<WorkspaceId>,
    ends: u64,
    key: [u8; 32],
}

/// An issuer whose tokens are taken. A clone is the same.
#[derive(Clone)]
pub struct Issuer(Arc<Inner>);

struct Inner {
    expected: Expected,
    workspace_claim: Option<String>,
    keys: Cache,
    clock: Clock,
    good: Bounded<[u8; 32], Arc<Verified>>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Issuer").field("issuer", &self.0.expected.issuer).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Said {
    iss: String,
}

impl Issuer {
    /// Begins to fetch the keys of an issuer.
    pub fn start(settings: Settings, clock: Clock, tasks: Tasks) -> Self {
        let Settings { issuer, client_ids, jwks_uri, workspace_claim, leeway, egress } = settings;
        let source = Source { issuer: issuer.clone(), jwks_uri, egress };
        Self(Arc::new(Inner {
            expected: Expected { issuer, client_ids, leeway },
            workspace_claim,
            keys: Cache::start(source.into_fetch(), clock.clone(), tasks),
            clock,
            good: Bounded::new(CACHED),
        }))
    }

    /// Its address, as its tokens name it.
    pub fn name(&self) -> &str {
        &self.0.expected.issuer
    }

    /// The claim that names the workspace.
    pub fn workspace_claim(&self) -> Option<&str> {
        self.0.workspace_claim.as_deref()
    }

    /// Whether a token says that it is of this issuer; whether it is, is not told.
    pub fn is_named_by(&self, token: &str) -> bool {
        let within = token.len() <= BYTES_MAX;
        let said = within.then(|| jsonwebtoken::dangerous::insecure_decode::<Said>(token).ok()).flatten();
        said.is_some_and(|said| said.claims.iss == self.name())
    }

    /// A token that was found good before and still is.
    pub fn remembered(&self, token: &str) -> Option<Arc<Verified>> {
        if token.len() > BYTES_MAX {
            return None;
        }
        let good = self.0.good.get(&sha256(token.as_bytes()))?;
        let goes_on = self.0.expected.time(good.ends, self.0.clock.now()).is_ok();
        (goes_on && self.0.keys.holds(&good.key)).then_some(good)
    }

    /// What a token says, if it is good.
    ///
    /// # Errors
    ///
    /// When it is not, or its key cannot be fetched.
    pub async fn verify(&self, token: &str) -> Result<Arc<Verified>, Refused> {
        if token.len() > BYTES_MAX {
            return Err(Unauthorized::Invalid.into());
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| Unauthorized::Invalid)?;
        let typed = |typ: &String| TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ));
        if header.crit.is_some() || !header.typ.as_ref().is_none_or(typed) {
            return Err(Unauthorized::Use.into());
        }
        let checked = self.0.keys.with(header.kid.as_deref(), |key| {
            let claims =
                if header.alg == key.algorithm { signed(token, key) } else { Err(Unauthorized::Algorithm) };
            claims.map(|claims| (claims, key.print))
        });
        let (claims, key) = checked.await.map_err(|missing| match missing {
            Missing::Unknown => Refused::Unauthorized(Unauthorized::UnknownKey),
            Missing::Unreachable => Refused::Unavailable,
        })??;
        self.0.expected.check(&claims, self.0.clock.now())?;
        let workspace = self.0.workspace_claim.as_deref().and_then(|name| claims.text(name));
        let verified = Arc::new(Verified {
            profile: claims.profile(),
            workspace: workspace.map(str::to_owned),
            subject: claims.sub,
            user: OnceLock::new(),
            place: OnceLock::new(),
            ends: claims.exp,
            key,
        });
        Ok(verified)
    }

    /// Remembers a token that was found good and led to somebody.
    pub fn remember(&self, token: &str, verified: Arc<Verified>) {
        self.0.good.insert(sha256(token.as_bytes()), verified);
    }
}

/// What a token says whose signature is of that key.
fn signed(token: &str, key: &Key) -> Result<Claims, Unauthorized> {
    let mut validation = Validation::new(key.algorithm);
    // What it says is held against our own clock and settings.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoded = jsonwebtoken::decode::<Claims>(token, &key.checking, &validation);
    decoded.map(|decoded| decoded.claims).map_err(|_| Unauthorized::Invalid)
}
