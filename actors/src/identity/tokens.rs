//! Our own JWTs: `EdDSA`, short-lived, with the id of the key that signed them.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use cendriix_protocol::{
    ids::{UserId, WorkspaceId},
    time::Timestamp,
};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::audit::sha256;

/// How long a token is good for.
pub const LIFETIME: Duration = Duration::from_hours(12);
/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// How many tokens that were found good are remembered.
const CACHED: usize = 10_000;
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
    /// When it was issued, in seconds since 1970.
    pub iat: u64,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
}

/// Issues tokens and checks them.
#[derive(Clone)]
pub struct Tokens(Arc<Keys>);

struct Keys {
    id: String,
    signing: EncodingKey,
    checking: DecodingKey,
    public: Vec<u8>,
    good: Cache<[u8; 32], Arc<Claims>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Tokens").field("key", &self.0.id).finish_non_exhaustive()
    }
}

/// The signing key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The disk refuses.
    #[error("cannot use the signing key {path}: {source}")]
    Io { path: String, source: std::io::Error },
    /// The file holds no such key.
    #[error(
        "{path} holds no Ed25519 key in PKCS#8 form; move it away and a new one is made (tokens then end)"
    )]
    Unsound { path: String },
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
    /// Reads the signing key of a directory, and makes one that only the owner may read when there is none.
    ///
    /// # Errors
    ///
    /// When the key cannot be read or written.
    pub fn open(directory: &Path) -> Result<Self, KeyError> {
        let path = directory.join("signing.pkcs8");
        let shown = path.display().to_string();
        let io = |source| KeyError::Io { path: shown.clone(), source };
        if !path.exists() {
            fs::create_dir_all(directory).map_err(io)?;
            let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
                .map_err(|_| io(std::io::Error::other("the system gives no random bits")))?;
            let mut file =
                fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(io)?;
            file.write_all(key.as_ref()).and_then(|()| file.sync_all()).map_err(io)?;
        }
        Self::of(&fs::read(&path).map_err(io)?).ok_or(KeyError::Unsound { path: shown })
    }

    /// Tokens under a key in PKCS#8 form; `None` when it is none.
    pub fn of(pkcs8: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8)
            .or_else(|_| Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8))
            .ok()?;
        let public = pair.public_key().as_ref().to_vec();
        let id = BASE64.encode(&sha256(&public)[..12]);
        let checking = DecodingKey::from_ed_components(&BASE64.encode(&public)).ok()?;
        let good = Cache::new(CACHED);
        Some(Self(Arc::new(Keys { id, signing: EncodingKey::from_ed_der(pkcs8), checking, public, good })))
    }

    /// Issues a token; `None` when it cannot be signed.
    pub fn issue(&self, user: UserId, workspace: WorkspaceId, now: Timestamp) -> Option<String> {
        let claims = Claims {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: user,
            workspace,
            iat: now.0 / 1000,
            exp: now.after(LIFETIME).0 / 1000,
        };
        let header = Header { kid: Some(self.0.id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &self.0.signing).ok()
    }

    /// What a token says, if it is good.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn check(&self, token: &str, now: Timestamp) -> Result<Arc<Claims>, Unauthorized> {
        let name = sha256(token.as_bytes());
        let claims = if let Some(claims) = self.0.good.get(&name) {
            claims
        } else {
            let claims = Arc::new(self.verify(token)?);
            self.0.good.insert(name, Arc::clone(&claims));
            claims
        };
        let ends = claims.exp.saturating_add(LEEWAY.as_secs());
        if now.0 / 1000 > ends { Err(Unauthorized::Expired) } else { Ok(claims) }
    }

    fn verify(&self, token: &str) -> Result<Claims, Unauthorized> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| Unauthorized::Invalid)?;
        if header.alg != Algorithm::EdDSA || header.kid.as_deref() != Some(&self.0.id) {
            return Err(Unauthorized::Invalid);
        }
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // Its end is compared with our own clock, also when it was found good before.
        validation.validate_exp = false;
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.0.checking, &validation);
        decoded.map(|decoded| decoded.claims).map_err(|_| Unauthorized::Invalid)
    }

    /// The public keys, as a JSON Web Key Set (RFC 7517, RFC 8037).
    pub fn jwks(&self) -> Value {
        json!({ "keys": [{
            "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.0.id,
            "x": BASE64.encode(&self.0.public),
        }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (UserId, WorkspaceId) {
        (UserId(uuid::Uuid::from_u128(1)), WorkspaceId(uuid::Uuid::from_u128(2)))
    }

    #[test]
    fn a_token_is_good_until_it_ends_and_only_for_the_key_that_signed_it() {
        let home = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(home.path()).unwrap();
        let now = Timestamp(1_780_000_000_000);
        let (user, workspace) = ids();
        let token = tokens.issue(user, workspace, now).unwrap();
        assert_eq!(tokens.check(&token, now).unwrap().workspace, workspace);
        assert_eq!(tokens.check(&token, now.after(LIFETIME * 2)), Err(Unauthorized::Expired));
        let reopened = Tokens::open(home.path()).unwrap();
        assert_eq!(reopened.check(&token, now).unwrap().sub, user);
        let other = tempfile::tempdir().unwrap();
        assert_eq!(Tokens::open(other.path()).unwrap().check(&token, now), Err(Unauthorized::Invalid));
    }

    #[test]
    fn a_changed_token_is_not_good() {
        let home = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(home.path()).unwrap();
        let now = Timestamp(1_780_000_000_000);
        let (user, workspace) = ids();
        let token = tokens.issue(user, workspace, now).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let none = BASE64.encode(r#"{"alg":"none","typ":"JWT"}"#);
        for forged in
            [format!("{none}.{}.", parts[1]), format!("{}.{}.", parts[0], parts[1]), "nonsense".to_owned()]
        {
            assert_eq!(tokens.check(&forged, now), Err(Unauthorized::Invalid), "{forged}");
        }
    }

    #[test]
    fn the_key_file_is_readable_only_by_its_owner() {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::tempdir().unwrap();
        Tokens::open(home.path()).unwrap();
        let mode = fs::metadata(home.path().join("signing.pkcs8")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
