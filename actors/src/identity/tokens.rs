//! Our own JWTs: `EdDSA`, short-lived, with the id of the key that signed them.
//!
//! **Invariant:** a token is good only while the ring holds its key, also when it was found good before.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use cendriix_protocol::{
    identity::Via,
    ids::{UserId, WorkspaceId},
    time::Timestamp,
};
use jsonwebtoken::{Algorithm, Header, Validation};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use super::keys::KeyError;
use super::keys::Ring;
use crate::audit::sha256;

/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// How many tokens that were found good are remembered.
const CACHED: usize = 10_000;
/// The longest token that is looked at, in bytes.
pub(super) const BYTES_MAX: usize = 16 << 10;
const ISSUER: &str = "cendriix";
const AUDIENCE: &str = "cendriix-api";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued it.
    pub iss: String,
    /// Whom it is for.
    pub aud: String,
    /// The user.
    pub sub: UserId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// How they logged in.
    pub via: Via,
    /// When it was issued, in seconds since 1970.
    pub iat: u64,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
    /// Its own id, unlike any other's.
    pub jti: String,
}

/// What is put into a token.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// The user.
    pub user: UserId,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// How they logged in.
    pub via: Via,
}

/// Issues tokens and checks them. A clone is the same.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    lifetime: Duration,
    ring: RwLock<Arc<Ring>>,
    rotating: Mutex<()>,
    good: Cache<[u8; 32], Arc<Good>>,
}

/// A token that was found good.
struct Good {
    claims: Arc<Claims>,
    key: String,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tokens").field("key", &self.ring().signing.id).finish_non_exhaustive()
    }
}

/// A key, as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownKey {
    /// Its id, which stands in the tokens that it signs.
    pub kid: String,
    /// Whether it signs; those that do not are kept for the tokens that they signed.
    pub signs: bool,
    /// When it was made, of the one that signs.
    pub since: Option<Timestamp>,
    /// When the last of its tokens has ended, of a former one.
    pub until: Option<Timestamp>,
}

/// The token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorized {
    /// Its time is over.
    #[error("the token has expired; log in again")]
    Expired,
    /// It is none of ours, or was changed.
    #[error("the token is not valid; log in again")]
    Invalid,
}

impl Tokens {
    /// Reads the keys of a directory, and makes one that only the owner may read when there is none. Tokens
    /// are good for `lifetime`.
    ///
    /// # Errors
    ///
    /// When a key cannot be read or written.
    pub fn open(directory: &Path, lifetime: Duration, now: Timestamp) -> Result<Self, KeyError> {
        let ring = RwLock::new(Arc::new(Ring::open(directory, now)?));
        let (directory, good) = (directory.to_owned(), Cache::new(CACHED));
        Ok(Self(Arc::new(Inner { directory, lifetime, ring, rotating: Mutex::new(()), good })))
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.0.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes another key to sign with. The one before is kept until every token that it signed has ended;
    /// with `end_former` it and all former ones end at once, and everybody logs in again.
    ///
    /// # Errors
    ///
    /// When keys were changed too often, or the disk refuses.
    pub fn rotate(&self, end_former: bool, now: Timestamp) -> Result<Vec<ShownKey>, KeyError> {
        let one_at_a_time = self.0.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        let until = (!end_former).then(|| now.after(self.0.lifetime).after(LEEWAY));
        let ring = Ring::rotate(&self.0.directory, now, until)?;
        let shown = shown(&ring);
        *self.0.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        drop(one_at_a_time);
        Ok(shown)
    }

    /// The keys of a directory, the one that signs in front; nothing is changed.
    ///
    /// # Errors
    ///
    /// When there is none, or one cannot be read.
    pub fn list(directory: &Path) -> Result<Vec<ShownKey>, KeyError> {
        Ring::read(directory).map(|ring| shown(&ring))
    }

    /// Issues a token with an id of its own; `None` when it cannot be signed.
    pub fn issue(&self, to: Grant, jti: String, now: Timestamp) -> Option<String> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: to.user,
            workspace: to.workspace,
            via: to.via,
            iat: now.0 / 1000,
            exp: now.after(self.0.lifetime).0 / 1000,
            jti,
        };
        let key = &self.ring().signing;
        let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &key.signing).ok()
    }

    /// What a token says, if it is good.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn check(&self, token: &str, now: Timestamp) -> Result<Arc<Claims>, Unauthorized> {
        if token.len() > BYTES_MAX {
            return Err(Unauthorized::Invalid);
        }
        let name = sha256(token.as_bytes());
        let ring = self.ring();
        let good = match self.0.good.get(&name) {
            Some(good) if ring.find(&good.key, now).is_some() => good,
            Some(_) => return Err(Unauthorized::Invalid),
            None => {
                let good = Arc::new(verify(&ring, token, now)?);
                self.0.good.insert(name, Arc::clone(&good));
                good
            }
        };
        let ends = good.claims.exp.saturating_add(LEEWAY.as_secs());
        if now.0 / 1000 > ends { Err(Unauthorized::Expired) } else { Ok(Arc::clone(&good.claims)) }
    }

    /// The public keys, as a JSON Web Key Set (RFC 7517, RFC 8037).
    pub fn jwks(&self, now: Timestamp) -> Value {
        let ring = self.ring();
        let keys: Vec<Value> = ring
            .all(now)
            .map(|key| {
                json!({
                    "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": key.id,
                    "x": BASE64.encode(&key.public),
                })
            })
            .collect();
        json!({ "keys": keys })
    }
}

fn verify(ring: &Ring, token: &str, now: Timestamp) -> Result<Good, Unauthorized> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| Unauthorized::Invalid)?;
    let kid = header.kid.as_deref().unwrap_or_default();
    let key = ring.find(kid, now).filter(|_| header.alg == Algorithm::EdDSA && header.crit.is_none());
    let key = key.ok_or(Unauthorized::Invalid)?;
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // Its end is compared with our own clock, also when it was found good before.
    validation.validate_exp = false;
    let decoded = jsonwebtoken::decode::<Claims>(token, &key.checking, &validation);
    let claims = Arc::new(decoded.map_err(|_| Unauthorized::Invalid)?.claims);
    Ok(Good { claims, key: key.id.clone() })
}

fn shown(ring: &Ring) -> Vec<ShownKey> {
    let signing = ShownKey { kid: ring.signing.id.clone(), signs: true, since: ring.since, until: None };
    let former = ring.former.iter().map(|former| ShownKey {
        kid: former.key.id.clone(),
        signs: false,
        since: None,
        until: Some(former.until),
    });
    std::iter::once(signing).chain(former).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const NOW: Timestamp = Timestamp(1_780_000_000_000);

    fn grant() -> Grant {
        let (user, workspace) = (UserId(uuid::Uuid::from_u128(1)), WorkspaceId(uuid::Uuid::from_u128(2)));
        Grant { user, workspace, via: Via::Dev }
    }

    fn open(home: &tempfile::TempDir) -> Tokens {
        Tokens::open(home.path(), HOUR, NOW).unwrap()
    }

    fn issue(tokens: &Tokens, now: Timestamp) -> String {
        tokens.issue(grant(), "id".into(), now).unwrap()
    }

    #[test]
    fn a_token_is_good_until_it_ends_and_only_for_the_key_that_signed_it() {
        let home = tempfile::tempdir().unwrap();
        let tokens = open(&home);
        let token = issue(&tokens, NOW);
        assert_eq!(tokens.check(&token, NOW).unwrap().workspace, grant().workspace);
        assert_eq!(tokens.check(&token, NOW.after(HOUR * 2)), Err(Unauthorized::Expired));
        assert_eq!(open(&home).check(&token, NOW).unwrap().sub, grant().user);
        let other = tempfile::tempdir().unwrap();
        assert_eq!(open(&other).check(&token, NOW), Err(Unauthorized::Invalid));
    }

    #[test]
    fn a_changed_token_is_not_good() {
        let home = tempfile::tempdir().unwrap();
        let tokens = open(&home);
        let token = issue(&tokens, NOW);
        let parts: Vec<&str> = token.split('.').collect();
        let none = BASE64.encode(r#"{"alg":"none","typ":"JWT"}"#);
        for forged in
            [format!("{none}.{}.", parts[1]), format!("{}.{}.", parts[0], parts[1]), "nonsense".to_owned()]
        {
            assert_eq!(tokens.check(&forged, NOW), Err(Unauthorized::Invalid), "{forged}");
        }
    }

    #[test]
    fn a_former_key_is_kept_until_its_last_token_has_ended() {
        let home = tempfile::tempdir().unwrap();
        let tokens = open(&home);
        let old = issue(&tokens, NOW);
        let keys = tokens.rotate(false, NOW).unwrap();
        assert_eq!((keys.len(), keys[0].signs, keys[1].signs), (2, true, false));
        let new = issue(&tokens, NOW);
        for tokens in [&tokens, &open(&home)] {
            assert!(tokens.check(&old, NOW).is_ok() && tokens.check(&new, NOW).is_ok());
            assert_eq!(tokens.jwks(NOW)["keys"].as_array().unwrap().len(), 2);
        }
        let later = NOW.after(HOUR * 2);
        assert_eq!(tokens.jwks(later)["keys"].as_array().unwrap().len(), 1);
        Tokens::open(home.path(), HOUR, later).unwrap();
        assert_eq!(Tokens::list(home.path()).unwrap().len(), 1, "its file is gone");
    }

    #[test]
    fn ending_former_keys_ends_every_token_at_once_also_those_found_good() {
        let home = tempfile::tempdir().unwrap();
        let tokens = open(&home);
        let first = issue(&tokens, NOW);
        tokens.rotate(false, NOW).unwrap();
        let second = issue(&tokens, NOW);
        assert!(tokens.check(&first, NOW).is_ok() && tokens.check(&second, NOW).is_ok());
        assert_eq!(tokens.rotate(true, NOW).unwrap().len(), 1);
        assert_eq!(tokens.check(&first, NOW), Err(Unauthorized::Invalid));
        assert_eq!(tokens.check(&second, NOW), Err(Unauthorized::Invalid));
    }

    #[test]
    fn keys_are_not_changed_without_bound() {
        let home = tempfile::tempdir().unwrap();
        let tokens = open(&home);
        for _ in 0..super::super::keys::FORMER_MAX {
            tokens.rotate(false, NOW).unwrap();
        }
        let refused = tokens.rotate(false, NOW).unwrap_err().to_string();
        assert!(refused.contains("--end-former"), "{refused}");
        tokens.rotate(false, NOW.after(HOUR * 2)).unwrap();
    }

    #[test]
    fn key_files_are_readable_only_by_their_owner_and_a_damaged_one_is_named() {
        let home = tempfile::tempdir().unwrap();
        open(&home).rotate(false, NOW).unwrap();
        let files: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 2, "{files:?}");
        for file in files {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
            let whole = fs::read(&file).unwrap();
            fs::write(&file, &whole[..20]).unwrap();
            let error = Tokens::open(home.path(), HOUR, NOW).unwrap_err().to_string();
            assert!(error.contains(file.to_str().unwrap()) && error.contains("move it away"), "{error}");
            fs::write(&file, whole).unwrap();
        }
    }
}
