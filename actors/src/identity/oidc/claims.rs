//! What tokens of an issuer say, and whether it is meant for us.

use std::time::Duration;

use cendriix_protocol::time::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Unauthorized;
use crate::workspaces::address;

/// The longest `sub`, in bytes (OpenID Connect Core, section 2).
const SUBJECT_MAX: usize = 255;
/// The longest name that is shown, in characters.
const NAME_MAX: usize = 200;
/// The longest address of a picture, in bytes.
const PICTURE_MAX: usize = 2000;

/// The claims that decide, and whatever else a token says.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    iss: String,
    pub(super) sub: String,
    aud: Option<Audience>,
    azp: Option<String>,
    client_id: Option<String>,
    token_use: Option<String>,
    pub(super) exp: u64,
    nbf: Option<u64>,
    iat: Option<u64>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// Who somebody is, as their issuer says; what a token leaves out is not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The e-mail address, in lower case.
    pub email: Option<String>,
    /// Whether the issuer has made sure that it is theirs.
    pub email_verified: bool,
    /// The name to show.
    pub name: Option<String>,
    /// A name to show where there is no other: a login, else `sub`.
    pub login: String,
    /// A picture.
    pub picture: Option<String>,
}

/// What tokens must say.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) issuer: String,
    pub(super) client_ids: Vec<String>,
    pub(super) leeway: Duration,
}

impl Expected {
    /// Whether the claims of a token whose signature is good are meant for us, now.
    ///
    /// # Errors
    ///
    /// When they are not.
    pub(super) fn check(&self, claims: &Claims, now: Timestamp) -> Result<(), Unauthorized> {
        if claims.iss != self.issuer {
            return Err(Unauthorized::Issuer);
        }
        let sub = &claims.sub;
        if sub.is_empty() || sub.len() > SUBJECT_MAX || sub.contains(char::is_control) {
            return Err(Unauthorized::Subject);
        }
        self.audience(claims)?;
        self.time(claims.exp, now)?;
        let soon = (now.0 / 1000).saturating_add(self.leeway.as_secs());
        if claims.nbf.is_some_and(|from| from > soon) || claims.iat.is_some_and(|at| at > soon) {
            return Err(Unauthorized::NotYet);
        }
        Ok(())
    }

    /// Whether a token has not ended.
    pub(super) fn time(&self, ends: u64, now: Timestamp) -> Result<(), Unauthorized> {
        let ended = now.0 / 1000 > ends.saturating_add(self.leeway.as_secs());
        if ended { Err(Unauthorized::Expired) } else { Ok(()) }
    }

    fn audience(&self, claims: &Claims) -> Result<(), Unauthorized> {
        let ours = |id: &String| self.client_ids.contains(id);
        let token_use = claims.token_use.as_deref();
        if token_use.is_some_and(|token_use| !["id", "access"].contains(&token_use)) {
            return Err(Unauthorized::Use);
        }
        let meant = match &claims.aud {
            Some(Audience::One(audience)) => ours(audience),
            Some(Audience::Several(audiences)) => {
                // Of several, the one that the token was issued to must be ours, too.
                let issued_to_us = audiences.len() < 2 || claims.azp.as_ref().is_some_and(ours);
                audiences.iter().any(ours) && issued_to_us
            }
            // Access tokens of Cognito say whom they are for in `client_id` alone.
            None => token_use == Some("access") && claims.client_id.as_ref().is_some_and(ours),
        };
        if meant { Ok(()) } else { Err(Unauthorized::Audience) }
    }
}

impl Claims {
    /// A claim that is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let text = self.rest.get(name)?.as_str()?.trim();
        (!text.is_empty() && !text.contains(char::is_control)).then_some(text)
    }

    pub(super) fn profile(&self) -> Profile {
        let short = |name: &str| self.text(name).map(|text| text.chars().take(NAME_MAX).collect::<String>());
        let first = |names: &[&str]| names.iter().find_map(|name| short(name));
        let full = first(&["given_name"]).zip(first(&["family_name"]));
        let full = full.map(|(given, family)| format!("{given} {family}").chars().take(NAME_MAX).collect());
        let login = first(&["preferred_username", "nickname", "cognito:username", "username"]);
        let email = self.text("email").and_then(address);
        let picture = self.text("picture").map(str::to_owned);
        Profile {
            email_verified: email.is_some() && self.email_is_verified(),
            name: first(&["name"]).or(full),
            login: login
                .or_else(|| email.clone())
                .unwrap_or_else(|| self.sub.chars().take(NAME_MAX).collect()),
            email,
            picture: picture.filter(|url| url.starts_with("https://") && url.len() <= PICTURE_MAX),
        }
    }

    /// Some issuers send the word instead of the value.
    fn email_is_verified(&self) -> bool {
        match self.rest.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(text)) => text == "true",
            Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp(1_780_000_000_000);

    fn check(change: impl FnOnce(&mut Value)) -> Result<(), Unauthorized> {
        let mut claims = json!({
            "iss": "https://issuer", "sub": "ada", "aud": "app", "exp": 1_780_000_100_u64, "iat": 1_780_000_000_u64,
        });
        change(&mut claims);
        let claims: Claims = serde_json::from_value(claims).map_err(|_| Unauthorized::Invalid)?;
        let client_ids = vec!["app".to_owned(), "web".to_owned()];
        let leeway = Duration::from_secs(30);
        Expected { issuer: "https://issuer".into(), client_ids, leeway }.check(&claims, NOW)
    }

    #[test]
    fn a_token_must_be_for_us_from_the_issuer_and_of_now() {
        assert_eq!(check(|_| ()), Ok(()));
        assert_eq!(check(|claims| claims["iss"] = json!("https://issuer/")), Err(Unauthorized::Issuer));
        assert_eq!(check(|claims| claims["exp"] = json!(1_779_999_971_u64)), Ok(()));
        assert_eq!(check(|claims| claims["exp"] = json!(1_779_999_969_u64)), Err(Unauthorized::Expired));
        assert_eq!(check(|claims| claims["nbf"] = json!(1_780_000_030_u64)), Ok(()));
        assert_eq!(check(|claims| claims["nbf"] = json!(1_780_000_031_u64)), Err(Unauthorized::NotYet));
        assert_eq!(check(|claims| claims["iat"] = json!(1_780_000_031_u64)), Err(Unauthorized::NotYet));
        assert_eq!(check(|claims| claims["exp"] = json!("soon")), Err(Unauthorized::Invalid));
        assert_eq!(check(|claims| claims["sub"] = json!("")), Err(Unauthorized::Subject));
        assert_eq!(check(|claims| claims["sub"] = json!("a".repeat(256))), Err(Unauthorized::Subject));
    }

    #[test]
    fn an_audience_is_ours_and_of_several_the_party_it_was_issued_to_too() {
        let none = |claims: &mut Value| drop(claims.as_object_mut().unwrap().remove("aud"));
        assert_eq!(check(|claims| claims["aud"] = json!("other")), Err(Unauthorized::Audience));
        assert_eq!(check(|claims| claims["aud"] = json!(["web"])), Ok(()));
        assert_eq!(check(|claims| claims["aud"] = json!([])), Err(Unauthorized::Audience));
        assert_eq!(check(|claims| claims["aud"] = json!(["app", "other"])), Err(Unauthorized::Audience));
        assert_eq!(
            check(|claims| (claims["aud"], claims["azp"]) = (json!(["app", "other"]), json!("web"))),
            Ok(())
        );
        assert_eq!(check(none), Err(Unauthorized::Audience));
        let without = |token_use: &str, client_id: &str| {
            check(|claims| {
                none(claims);
                (claims["token_use"], claims["client_id"]) = (json!(token_use), json!(client_id));
            })
        };
        assert_eq!(without("access", "app"), Ok(()));
        assert_eq!(without("access", "other"), Err(Unauthorized::Audience));
        assert_eq!(without("id", "app"), Err(Unauthorized::Audience));
        assert_eq!(check(|claims| claims["token_use"] = json!("refresh")), Err(Unauthorized::Use));
    }

    #[test]
    fn a_profile_holds_what_the_token_says_and_nothing_hostile() {
        let profile = |more: Value| {
            let mut claims = json!({ "iss": "i", "sub": "s-1", "exp": 1 });
            claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value::<Claims>(claims).unwrap().profile()
        };
        let ada = profile(json!({
            "email": "Ada@Example.com", "email_verified": "true", "given_name": "Ada", "family_name": "L",
            "picture": "https://example.com/a.png",
        }));
        assert_eq!((ada.email.as_deref(), ada.email_verified), (Some("ada@example.com"), true));
        assert_eq!((ada.name.as_deref(), ada.picture.is_some()), (Some("Ada L"), true));
        let odd = profile(json!({
            "email": 7, "email_verified": true, "name": "a\u{1b}[2J", "picture": "javascript:alert(1)",
        }));
        assert_eq!(odd, Profile { login: "s-1".into(), ..Profile::default() });
        assert!(!profile(json!({ "email": "a@b", "email_verified": 1 })).email_verified);
        assert_eq!(profile(json!({ "name": "é".repeat(300) })).name.unwrap().chars().count(), 200);
    }
}
