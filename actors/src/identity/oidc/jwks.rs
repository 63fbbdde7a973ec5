//! The keys that an issuer publishes (RFC 7517), as far as its tokens may be signed with them.
//!
//! **Invariant:** which algorithm a signature is checked by is told by the key alone: RS256 for RSA of at
//! least 2,048 bits, ES256 for P-256, `EdDSA` for Ed25519. Keys of any other kind, or meant for something
//! else, are not taken in.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::audit::sha256;

/// The most keys of a set.
const KEYS_MAX: usize = 64;
/// The longest id of a key, in bytes.
const KID_MAX: usize = 256;
/// How large an RSA modulus may be, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// What a key is, which tells the one algorithm that it is for.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Rsa,
    P256,
    Ed25519,
}

impl Kind {
    fn algorithm(self) -> Algorithm {
        match self {
            Self::Rsa => Algorithm::RS256,
            Self::P256 => Algorithm::ES256,
            Self::Ed25519 => Algorithm::EdDSA,
        }
    }

    /// How a published key may name its algorithm (RFC 7518, RFC 8037, RFC 9864).
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::Rsa => &["RS256"],
            Self::P256 => &["ES256"],
            Self::Ed25519 => &["EdDSA", "Ed25519"],
        }
    }
}

/// One key.
pub(super) struct Key {
    kid: Option<String>,
    /// The one algorithm that it is for.
    pub(super) algorithm: Algorithm,
    pub(super) checking: DecodingKey,
    /// What tells it from any other.
    pub(super) print: [u8; 32],
}

/// The keys of an issuer.
pub(super) struct KeySet(Vec<Key>);

#[derive(Deserialize)]
struct Published {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    used_for: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a published set; what cannot be used is left out.
    ///
    /// # Errors
    ///
    /// When it is none, has too many keys, or none that can be used.
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        let published: Published =
            serde_json::from_slice(body).map_err(|error| format!("they are no JSON Web Key Set: {error}"))?;
        if published.keys.len() > KEYS_MAX {
            return Err(format!("there are {} of them, more than {KEYS_MAX}", published.keys.len()));
        }
        let keys: Vec<Key> = published.keys.into_iter().filter_map(usable).collect();
        if keys.is_empty() {
            return Err(
                "none of them can be used (RSA of 2,048 bits or more for RS256, P-256 for ES256, Ed25519)"
                    .to_owned(),
            );
        }
        Ok(Self(keys))
    }

    /// The key that a token names. One that names none is held against the only key, if there is one.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&Key> {
        match (kid, self.0.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }

    /// Whether a key is among them.
    pub(super) fn holds(&self, print: &[u8; 32]) -> bool {
        self.0.iter().any(|key| key.print == *print)
    }
}

fn usable(value: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let signs = jwk.used_for.as_deref().is_none_or(|used_for| used_for == "sig");
    let verifies = jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
    let named = jwk.kid.as_ref().is_none_or(|kid| (1..=KID_MAX).contains(&kid.len()));
    if !(signs && verifies && named) {
        return None;
    }
    let (kind, material) = material(&jwk)?;
    if jwk.alg.as_deref().is_some_and(|alg| !kind.names().contains(&alg)) {
        return None;
    }
    let (first, second) = (material.first()?, material.get(1));
    let checking = match kind {
        Kind::Rsa => DecodingKey::from_rsa_raw_components(first, second?),
        // An uncompressed point.
        Kind::P256 => DecodingKey::from_ec_der(&[&[4][..], first.as_slice(), second?.as_slice()].concat()),
        Kind::Ed25519 => DecodingKey::from_ed_der(first),
    };
    let print = sha256(&[kind.names().concat().as_bytes(), &material.concat()].concat());
    Some(Key { kid: jwk.kid, algorithm: kind.algorithm(), checking, print })
}

/// What a key is made of, and the one algorithm that it is for; `None` for one that is not taken.
fn material(jwk: &Jwk) -> Option<(Kind, Vec<Vec<u8>>)> {
    let part = |text: &Option<String>| BASE64.decode(text.as_ref()?).ok();
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let (n, e) = (part(&jwk.n)?, part(&jwk.e)?);
            let n: Vec<u8> = n.into_iter().skip_while(|byte| *byte == 0).collect();
            let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
            (RSA_BITS.contains(&bits) && e.len() <= 8).then(|| (Kind::Rsa, vec![n, e]))
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (part(&jwk.x)?, part(&jwk.y)?);
            (x.len() == 32 && y.len() == 32).then(|| (Kind::P256, vec![x, y]))
        }
        ("OKP", Some("Ed25519")) => {
            let x = part(&jwk.x)?;
            (x.len() == 32).then(|| (Kind::Ed25519, vec![x]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(keys: &Value) -> Result<KeySet, String> {
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes())
    }

    fn rsa(bytes: usize) -> Value {
        json!({ "kty": "RSA", "kid": "r", "n": BASE64.encode(vec![0xff; bytes]), "e": "AQAB" })
    }

    fn with(mut key: Value, name: &str, value: Value) -> Value {
        key[name] = value;
        key
    }

    #[test]
    fn only_keys_for_what_may_sign_are_taken() {
        let ed = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "e", "x": BASE64.encode([1; 32]) });
        let ec =
            json!({ "kty": "EC", "crv": "P-256", "x": BASE64.encode([1; 32]), "y": BASE64.encode([2; 32]) });
        for good in [
            rsa(256),
            with(rsa(256), "alg", json!("RS256")),
            with(rsa(512), "use", json!("sig")),
            with(ec.clone(), "alg", json!("ES256")),
            with(ed.clone(), "key_ops", json!(["verify"])),
        ] {
            assert!(read(&json!([good])).is_ok(), "{good}");
        }
        let mut oct = json!({ "kty": "oct", "k": BASE64.encode([1; 64]), "kid": "o" });
        oct["alg"] = json!("HS256");
        for bad in [
            rsa(255),
            rsa(1025),
            with(rsa(256), "n", json!(BASE64.encode([vec![0; 1], vec![0x7f; 256]].concat()))),
            with(rsa(256), "alg", json!("HS256")),
            with(rsa(256), "alg", json!("RS512")),
            with(rsa(256), "use", json!("enc")),
            with(rsa(256), "key_ops", json!(["sign"])),
            with(rsa(256), "kid", json!("")),
            with(ec.clone(), "crv", json!("P-384")),
            with(ec, "x", json!(BASE64.encode([1; 31]))),
            with(ed, "crv", json!("X25519")),
            oct,
            json!("nonsense"),
        ] {
            assert!(read(&json!([bad])).is_err_and(|error| error.contains("none of them")), "{bad}");
        }
        assert!(read(&json!([rsa(256), { "kty": "oct" }])).is_ok(), "what cannot be used is left out");
        assert!(read(&Value::from(vec![rsa(256); 65])).is_err_and(|error| error.contains("65")));
        assert!(KeySet::read(b"<html>").is_err());
    }

    #[test]
    fn a_token_without_the_id_of_a_key_needs_that_there_is_only_one() {
        let other = with(rsa(256), "kid", json!("other"));
        assert!(read(&json!([rsa(256)])).unwrap().find(None).is_some());
        let both = read(&json!([rsa(256), other])).unwrap();
        assert!(both.find(None).is_none() && both.find(Some("other")).is_some());
        assert!(both.find(Some("x")).is_none());
    }
}
