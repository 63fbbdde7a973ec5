//! Log-in: a profile becomes a person, with a workspace of their own and a token for it.

pub mod tokens;

use std::sync::Arc;

use cendriix_persistence::{
    codec::{decode, encode},
    placement::{Owner, Placement},
    store::{Guard, Key, Outcome, Row, RowKey, SharedStore},
};
use cendriix_protocol::{
    identity::{Login, Me, Provider, Session, User},
    ids::{UserId, WorkspaceId},
    time::Timestamp,
    workspaces::{Plan, Switched},
};
use serde::{Deserialize, Serialize};

use self::tokens::Tokens;
use crate::{
    Error,
    audit::sha256,
    caller::Caller,
    content,
    kinds::{self, space},
    kit::{Actor, Clock, machine::Given},
    workspaces::{self, Workspaces, record},
};

/// A person as they are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    pub email: String,
    pub display_name: String,
    pub avatar_url: Option<String>,
    pub created_at: Timestamp,
    /// The workspace that was made with the person.
    pub home: WorkspaceId,
}

/// Who there is. A clone is the same.
#[derive(Clone, Debug)]
pub struct Identity {
    store: SharedStore,
    placement: Arc<dyn Placement>,
    clock: Clock,
    tokens: Tokens,
    workspaces: Workspaces,
}

impl Identity {
    /// The people kept in `store`.
    pub fn new(
        store: SharedStore,
        placement: Arc<dyn Placement>,
        clock: Clock,
        tokens: Tokens,
        workspaces: Workspaces,
    ) -> Self {
        Self { store, placement, clock, tokens, workspaces }
    }

    /// Issues and checks our own tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Logs a profile in, as it is: only for a server that trusts its clients. The first log-in makes the
    /// person and a workspace of their own.
    ///
    /// # Errors
    ///
    /// When the profile is wrong or the store fails.
    pub async fn login(&self, login: &Login) -> Result<Session, Error> {
        let email = check(login)?;
        let account = RowKey { space: space::IDENTITIES, key: account(login.provider, &login.oauth_id) };
        let user = match self.known(&account).await? {
            Some(user) => user,
            None => self.register(login, &email, account).await?,
        };
        self.workspaces.join_invited(user, &email).await?;
        let (person, version) = self.person(user).await?;
        let token = self.issue(user, self.place(user, &person, version).await?)?;
        Ok(Session { token, user: shown(user, person) })
    }

    /// The workspace that a log-in leads to: the personal one, else the newest that they belong to. Whoever
    /// belongs to none gets a new one of their own.
    async fn place(&self, user: UserId, person: &Person, version: u64) -> Result<WorkspaceId, Error> {
        if self.workspaces.role(person.home, user).await?.is_some() {
            return Ok(person.home);
        }
        if let Some(newest) = self.workspaces.joined(user, 1, None).await?.first() {
            return Ok(*newest);
        }
        let home = WorkspaceId(self.clock.id());
        let given = Given { at: self.clock.now(), by: Actor::User(user).into(), random: 0 };
        let epoch = self.epoch(user)?;
        let mut save =
            self.workspaces.founding(home, &own(&person.display_name), Plan::Enterprise, user, &given)?;
        let person = Person { home, ..person.clone() };
        save.changes.push(record(kinds::USER, user.0, epoch, version, encode(&person)?));
        match self.store.save(save).await {
            Outcome::Saved => Ok(home),
            outcome @ (Outcome::Conflict | Outcome::Refused(_) | Outcome::Full | Outcome::Unknown) => {
                Err(content::unsaved(outcome))
            }
        }
    }

    fn epoch(&self, user: UserId) -> Result<u64, Error> {
        match self.placement.owner(user.0) {
            Owner::Me { epoch } => Ok(epoch),
            Owner::Node { .. } => Err(Error::Unavailable("another node owns this user".into())),
        }
    }

    async fn known(&self, account: &RowKey) -> Result<Option<UserId>, Error> {
        let row = self.store.row(account).await?;
        Ok(row.and_then(|row| content::id_at(&row, 0)).map(UserId))
    }

    async fn register(&self, login: &Login, email: &str, account: RowKey) -> Result<UserId, Error> {
        let (user, home) = (UserId(self.clock.id()), WorkspaceId(self.clock.id()));
        let epoch = self.epoch(user)?;
        let given = Given { at: self.clock.now(), by: Actor::User(user).into(), random: 0 };
        let person = Person {
            email: email.to_owned(),
            display_name: login.display_name.clone(),
            avatar_url: login.avatar_url.clone(),
            created_at: given.at,
            home,
        };
        let name = own(&login.display_name);
        let mut save = self.workspaces.founding(home, &name, Plan::Enterprise, user, &given)?;
        save.changes.push(record(kinds::USER, user.0, epoch, 0, encode(&person)?));
        save.guards.push(Guard::Absent(account.clone()));
        let value = Some(bytes::Bytes::copy_from_slice(user.0.as_bytes()));
        save.rows.push(Row { key: account.clone(), value });
        match self.store.save(save).await {
            Outcome::Saved => Ok(user),
            // The same account logged in at the same time.
            Outcome::Refused(_) => self.known(&account).await?.ok_or(Error::Missing { what: "user" }),
            outcome @ (Outcome::Conflict | Outcome::Full | Outcome::Unknown) => {
                Err(content::unsaved(outcome))
            }
        }
    }

    /// A person, and the version they were read at.
    async fn person(&self, user: UserId) -> Result<(Person, u64), Error> {
        let stored = self.store.load(Key { kind: kinds::USER, id: user.0 }).await?;
        let stored = stored.ok_or(Error::Missing { what: "user" })?;
        Ok((decode("user", &stored.snapshot)?, stored.header.version))
    }

    fn issue(&self, user: UserId, workspace: WorkspaceId) -> Result<String, Error> {
        let token = self.tokens.issue(user, workspace, self.clock.now());
        token.ok_or_else(|| Error::Unavailable("the token could not be signed".into()))
    }

    /// Who the caller is, and where they belong; of an API key, whose it is and its own workspace.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn me(&self, caller: &Caller) -> Result<Me, Error> {
        let (person, _) = self.person(caller.user).await?;
        let (workspaces, _) = self.workspaces.list(caller, 200, None).await?;
        Ok(Me { user: shown(caller.user, person), workspaces, api_key: None })
    }

    /// A token for another workspace of the caller.
    ///
    /// # Errors
    ///
    /// When they are no member of it.
    pub async fn switch(&self, caller: &Caller, workspace: WorkspaceId) -> Result<Switched, Error> {
        let workspace = self.workspaces.of(caller, workspace).await?;
        Ok(Switched { token: self.issue(caller.user, workspace.id)?, workspace })
    }
}

fn own(display_name: &str) -> String {
    format!("{display_name}'s workspace")
}

fn shown(id: UserId, person: Person) -> User {
    User { id, email: person.email, display_name: person.display_name, avatar_url: person.avatar_url }
}

fn account(provider: Provider, oauth_id: &str) -> Vec<u8> {
    let provider = match provider {
        Provider::Github => "github",
        Provider::Google => "google",
    };
    sha256(format!("{provider}\n{oauth_id}").as_bytes()).to_vec()
}

fn check(login: &Login) -> Result<String, Error> {
    let mut errors = cendriix_protocol::error::FieldErrors::new();
    for (path, text) in [("oauthId", &login.oauth_id), ("displayName", &login.display_name)] {
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
    let email = workspaces::address(&login.email);
    if email.is_none() {
        errors.insert("email".into(), vec!["is no e-mail address".into()]);
    }
    email.filter(|_| errors.is_empty()).ok_or(Error::Invalid(errors))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::golden;

    #[test]
    fn people_are_written_and_read_as_ever() {
        let person = Person {
            email: "ada@example.com".into(),
            display_name: "Ada".into(),
            avatar_url: Some("https://example.com/ada.png".into()),
            created_at: Timestamp(1_780_000_000_000),
            home: WorkspaceId(Uuid::from_u128(1)),
        };
        golden::holds::<Person>("person", &person);
    }
}
