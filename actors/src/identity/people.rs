//! People: each known by an account, which is theirs for ever. **Invariant:** no e-mail address leads to an
//! account, and only one that is theirs beyond doubt accepts invitations.

use cendriix_persistence::{
    codec::{decode, encode},
    placement::Owner,
    store::{Guard, Key, Outcome, Row, RowKey, Save},
};
use cendriix_protocol::{
    identity::{Login, Provider},
    ids::{UserId, WorkspaceId},
    time::Timestamp,
    workspaces::Plan,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Identity, oidc};
use crate::{
    Error,
    audit::{self, sha256},
    content,
    kinds::{self, space},
    kit::{Actor, machine::Given},
    workspaces::{address, record},
};

/// A person as they are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Empty where the issuer told none.
    pub email: String,
    pub display_name: String,
    pub avatar_url: Option<String>,
    pub created_at: Timestamp,
    /// The workspace that was made with the person.
    pub home: WorkspaceId,
    /// Whether the e-mail address is theirs beyond doubt.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub email_verified: bool,
}

fn yes() -> bool {
    true
}

/// Somebody who logs in.
#[derive(Debug)]
pub(super) struct Arrival {
    account: RowKey,
    email: Option<String>,
    email_verified: bool,
    name: Option<String>,
    picture: Option<String>,
    /// The name of somebody who comes without one.
    login: String,
    /// The plan of the workspace that is made with them.
    plan: Plan,
    /// Whether a person who is known is changed to what is said of them.
    refreshes: bool,
}

impl Arrival {
    /// Whoever a profile says, believed as it is.
    ///
    /// # Errors
    ///
    /// When fields are missing or wrong.
    pub(super) fn believed(login: &Login) -> Result<Self, Error> {
        let (provider, email) = check(login)?;
        let provider = match provider {
            Provider::Github => "github",
            Provider::Google => "google",
        };
        let oauth_id = login.oauth_id.as_deref().unwrap_or_default();
        Ok(Self {
            account: account(&format!("{provider}\n{oauth_id}")),
            email: Some(email),
            email_verified: true,
            name: login.display_name.clone(),
            picture: login.avatar_url.clone(),
            login: oauth_id.to_owned(),
            plan: Plan::Enterprise,
            refreshes: false,
        })
    }

    /// Whoever a token of an issuer is about.
    pub(super) fn verified(issuer: &str, token: &oidc::Verified) -> Self {
        let profile = token.profile.clone();
        Self {
            account: account(&format!("oidc\n{issuer}\n{}", token.subject)),
            email: profile.email,
            email_verified: profile.email_verified,
            name: profile.name,
            picture: profile.picture,
            login: profile.login,
            plan: Plan::Starter,
            refreshes: true,
        }
    }

    /// The operator of this server.
    pub(super) fn operator() -> Self {
        Self {
            account: account("local\nadmin"),
            email: Some("admin@localhost".to_owned()),
            email_verified: false,
            name: None,
            picture: None,
            login: "Administrator".to_owned(),
            plan: Plan::Enterprise,
            refreshes: false,
        }
    }

    /// The address that accepts invitations.
    pub(super) fn proven_email(&self) -> Option<&str> {
        self.email.as_deref().filter(|_| self.email_verified)
    }

    fn person(&self, created_at: Timestamp, home: WorkspaceId) -> Person {
        Person {
            email: self.email.clone().unwrap_or_default(),
            display_name: self.name.as_ref().unwrap_or(&self.login).clone(),
            avatar_url: self.picture.clone(),
            created_at,
            home,
            email_verified: self.email_verified,
        }
    }

    /// What a person who is known becomes; what is not said stays.
    fn refreshed(&self, person: &Person) -> Person {
        let mut after = person.clone();
        if let Some(email) = &self.email {
            (after.email, after.email_verified) = (email.clone(), self.email_verified);
        }
        after.display_name = self.name.clone().unwrap_or(after.display_name);
        after.avatar_url = self.picture.clone().or(after.avatar_url);
        after
    }
}

impl Identity {
    /// The person of an account, who is made with a workspace of their own at the first time.
    pub(super) async fn person_of(&self, arrival: &Arrival) -> Result<UserId, Error> {
        match self.known(&arrival.account).await? {
            Some(user) => {
                if arrival.refreshes {
                    self.refresh(user, arrival).await?;
                }
                Ok(user)
            }
            None => self.register(arrival).await,
        }
    }

    async fn known(&self, account: &RowKey) -> Result<Option<UserId>, Error> {
        let row = self.store.row(account).await?;
        Ok(row.and_then(|row| content::id_at(&row, 0)).map(UserId))
    }

    async fn register(&self, arrival: &Arrival) -> Result<UserId, Error> {
        let (user, home) = (UserId(self.clock.id()), WorkspaceId(self.clock.id()));
        let epoch = self.epoch(user)?;
        let given = Given { at: self.clock.now(), by: Actor::User(user).into(), random: 0 };
        let person = arrival.person(given.at, home);
        let name = own(&person.display_name);
        let mut save = self.workspaces.founding(home, &name, arrival.plan, user, &given)?;
        save.changes.push(record(kinds::USER, user.0, epoch, 0, encode(&person)?));
        save.guards.push(Guard::Absent(arrival.account.clone()));
        let value = Some(bytes::Bytes::copy_from_slice(user.0.as_bytes()));
        save.rows.push(Row { key: arrival.account.clone(), value });
        match self.store.save(save).await {
            Outcome::Saved => Ok(user),
            // The same account logged in at the same time.
            Outcome::Refused(_) => self.known(&arrival.account).await?.ok_or(Error::Missing { what: "user" }),
            outcome @ (Outcome::Conflict | Outcome::Full | Outcome::Unknown) => {
                Err(content::unsaved(outcome))
            }
        }
    }

    /// Changes a person to what their issuer says of them.
    async fn refresh(&self, user: UserId, arrival: &Arrival) -> Result<(), Error> {
        let (before, version) = self.person(user).await?;
        let after = arrival.refreshed(&before);
        if after == before {
            return Ok(());
        }
        let change = record(kinds::USER, user.0, self.epoch(user)?, version, encode(&after)?);
        let given = Given { at: self.clock.now(), by: Actor::User(user).into(), random: 0 };
        let resource = audit::Resource { kind: "user", id: user.0 };
        let payload = json!({ "emailVerified": after.email_verified });
        let entry = audit::draft(before.home, &given, "user.changed", resource, &payload);
        let save = Save { changes: vec![change], audit: vec![entry], ..Save::default() };
        match self.store.save(save).await {
            // Another log-in of theirs was quicker, and said the same or will be followed by one that does.
            Outcome::Saved | Outcome::Conflict => Ok(()),
            outcome @ (Outcome::Refused(_) | Outcome::Full | Outcome::Unknown) => {
                Err(content::unsaved(outcome))
            }
        }
    }

    /// A person, and the version they were read at.
    pub(super) async fn person(&self, user: UserId) -> Result<(Person, u64), Error> {
        let stored = self.store.load(Key { kind: kinds::USER, id: user.0 }).await?;
        let stored = stored.ok_or(Error::Missing { what: "user" })?;
        Ok((decode("user", &stored.snapshot)?, stored.header.version))
    }

    pub(super) fn epoch(&self, user: UserId) -> Result<u64, Error> {
        match self.placement.owner(user.0) {
            Owner::Me { epoch } => Ok(epoch),
            Owner::Node { .. } => Err(Error::Unavailable("another node owns this user".into())),
        }
    }
}

/// The name of somebody's own workspace.
pub(super) fn own(display_name: &str) -> String {
    let name: String = display_name.chars().take(80).collect();
    format!("{name}'s workspace")
}

fn account(name: &str) -> RowKey {
    RowKey { space: space::IDENTITIES, key: sha256(name.as_bytes()).to_vec() }
}

/// The provider and the e-mail address of a profile that is as it should be.
fn check(login: &Login) -> Result<(Provider, String), Error> {
    let mut errors = cendriix_protocol::error::FieldErrors::new();
    if login.provider.is_none() {
        errors.insert("provider".into(), vec!["is needed: github or google".into()]);
    }
    for (path, text) in [("oauthId", &login.oauth_id), ("displayName", &login.display_name)] {
        let text = text.as_deref().unwrap_or_default();
        let length = text.chars().count();
        if text.trim().is_empty() || length > 200 {
            errors.insert(path.into(), vec![format!("needs 1 to 200 characters, has {length}")]);
        }
    }
    if login.avatar_url.as_ref().is_some_and(|url| url.len() > 2000 || !url.starts_with("https://")) {
        errors.insert(
            "avatarUrl".into(),
            vec!["needs to be an https:// address of at most 2,000 bytes".into()],
        );
    }
    let email = login.email.as_deref().and_then(address);
    if email.is_none() {
        errors.insert("email".into(), vec!["is no e-mail address".into()]);
    }
    let whole = login.provider.zip(email).filter(|_| errors.is_empty());
    whole.ok_or(Error::Invalid(errors))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::golden;

    fn ada() -> Person {
        Person {
            email: "ada@example.com".into(),
            display_name: "Ada".into(),
            avatar_url: Some("https://example.com/ada.png".into()),
            created_at: Timestamp(1_780_000_000_000),
            home: WorkspaceId(Uuid::from_u128(1)),
            email_verified: true,
        }
    }

    #[test]
    fn people_are_written_and_read_as_ever() {
        golden::holds::<Person>("person", &ada());
        golden::holds::<Person>("person-unverified", &Person { email_verified: false, ..ada() });
    }

    #[test]
    fn what_a_token_does_not_say_stays() {
        let token = Arrival { email: None, email_verified: false, name: None, ..Arrival::operator() };
        assert_eq!(token.refreshed(&ada()), ada());
        let changed = Arrival { email: Some("a@b".into()), ..token }.refreshed(&ada());
        assert_eq!((changed.email.as_str(), changed.email_verified), ("a@b", false));
    }
}
