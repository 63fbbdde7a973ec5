//! Log-in: whoever is vouched for becomes a person, with a workspace of their own and a token for it.

mod keys;
pub mod oidc;
mod people;
mod places;
pub mod tokens;

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use cendriix_persistence::{
    placement::Placement,
    store::{Outcome, Save, SharedStore},
};
use cendriix_protocol::{
    identity::{Login, Me, Session, User, Via},
    ids::{UserId, WorkspaceId},
    workspaces::{Plan, Role, Switched},
};
use serde_json::json;

pub use self::people::Person;
use self::{
    oidc::{Issuer, Refused, Verified},
    people::Arrival,
    tokens::{Grant, Tokens},
};
use crate::{
    Error,
    audit::{self, sha256},
    caller::Caller,
    content,
    kit::{Actor, Clock, directory::Shared, machine::Given},
    secret::Secret,
    workspaces::Workspaces,
};

/// The least length of a bootstrap token, in bytes.
pub const BOOTSTRAP_MIN: usize = 32;

/// How people come in.
#[derive(Debug)]
pub struct Settings {
    /// Our own tokens.
    pub tokens: Tokens,
    /// Who is believed.
    pub door: Door<oidc::Settings>,
    /// The operator's way in, if there is one.
    pub bootstrap: Option<Secret>,
}

/// Who is believed.
#[derive(Clone, Debug)]
pub enum Door<I> {
    /// The client itself.
    Dev,
    /// An issuer.
    Oidc(I),
}

/// Somebody whose token is good, and who belongs to its workspace.
#[derive(Clone, Copy, Debug)]
pub struct Present {
    /// Who.
    pub user: UserId,
    /// The workspace of the token.
    pub workspace: WorkspaceId,
    /// Their role in it, read now.
    pub role: Role,
    /// How they came in.
    pub via: Via,
}

/// Who there is. A clone is the same.
#[derive(Clone, Debug)]
pub struct Identity {
    store: SharedStore,
    placement: Arc<dyn Placement>,
    clock: Clock,
    tokens: Tokens,
    door: Door<Issuer>,
    bootstrap: Option<Secret>,
    workspaces: Workspaces,
}

impl Identity {
    /// The people of a store; begins to fetch the keys of the issuer, if one is trusted.
    pub fn start(settings: Settings, shared: &Shared, workspaces: Workspaces) -> Self {
        let Settings { tokens, door, bootstrap } = settings;
        let clock = shared.clock.clone();
        let door = match door {
            Door::Dev => Door::Dev,
            Door::Oidc(issuer) => Door::Oidc(Issuer::start(issuer, clock.clone(), shared.tasks.clone())),
        };
        let (store, placement) = (Arc::clone(&shared.store), Arc::clone(&shared.placement));
        Self { store, placement: placement as Arc<dyn Placement>, clock, tokens, door, bootstrap, workspaces }
    }

    /// Issues and checks our own tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Logs somebody in: by the bootstrap token, by a token of the issuer, or by a profile as it is where
    /// clients are believed. The first log-in makes the person and a workspace of their own.
    ///
    /// # Errors
    ///
    /// When what they show is missing, wrong or not good, the issuer cannot be asked, or the store fails.
    pub async fn login(&self, login: &Login) -> Result<Session, Error> {
        let (user, workspace, via) = match (&login.bootstrap_token, &login.id_token, &self.door) {
            (Some(_), Some(_), _) => {
                return Err(Error::field("idToken", "send one of idToken and bootstrapToken, not both"));
            }
            (Some(token), None, _) => {
                let (user, workspace) = self.operator(token).await?;
                (user, workspace, Via::Bootstrap)
            }
            (None, Some(token), Door::Oidc(issuer)) => {
                let (user, verified) = self.vouched(issuer, token).await?;
                (user, self.place_of(user, &verified, issuer).await?.0, Via::Oidc)
            }
            (None, Some(_), Door::Dev) => {
                let said = "this server trusts no issuer; send a profile, or set auth.mode to \"oidc\"";
                return Err(Error::field("idToken", said));
            }
            (None, None, Door::Oidc(issuer)) => {
                let said = format!("is needed: an ID token or access token of {}", issuer.name());
                return Err(Error::field("idToken", said));
            }
            (None, None, Door::Dev) => {
                let user = self.arrive(&Arrival::believed(login)?).await?;
                (user, self.personal(user, Plan::Enterprise).await?, Via::Dev)
            }
        };
        let token = self.issue(Grant { user, workspace, via })?;
        Ok(Session { token, user: shown(user, self.person(user).await?.0) })
    }

    /// Takes somebody in: makes them a person at the first time, and a member wherever they are invited.
    async fn arrive(&self, arrival: &Arrival) -> Result<UserId, Error> {
        let user = self.person_of(arrival).await?;
        if let Some(email) = arrival.proven_email() {
            self.workspaces.join_invited(user, email).await?;
        }
        Ok(user)
    }

    /// Takes in whom a token of the issuer is about.
    async fn vouched(&self, issuer: &Issuer, token: &str) -> Result<(UserId, Arc<Verified>), Error> {
        let verified = issuer.verify(token).await.map_err(|refused| match refused {
            Refused::Unauthorized(_) => Error::Unauthorized(refused.to_string()),
            Refused::Unavailable => Error::Unavailable(refused.to_string()),
        })?;
        let user = self.arrive(&Arrival::verified(issuer.name(), &verified)).await?;
        // It is set once, here or by another request with the same token, to the same.
        verified.user.set(user).ok();
        issuer.remember(token, Arc::clone(&verified));
        Ok((user, verified))
    }

    /// Lets the operator in, and says so in the audit log of their workspace.
    async fn operator(&self, token: &str) -> Result<(UserId, WorkspaceId), Error> {
        let good = self.bootstrap.as_ref().is_some_and(|expected| {
            // Hashes are as long as each other, so nothing tells how long the token is.
            let (shown, expected) = (sha256(token.as_bytes()), sha256(expected.reveal().as_bytes()));
            verify_slices_are_equal(&shown, &expected).is_ok()
        });
        if !good {
            tracing::warn!("a log-in with a wrong bootstrap token was refused");
            let said = "the bootstrap token is wrong, or this server has none (auth.bootstrap_token)";
            return Err(Error::Unauthorized(said.to_owned()));
        }
        let user = self.arrive(&Arrival::operator()).await?;
        let workspace = self.personal(user, Plan::Enterprise).await?;
        let given = Given { at: self.clock.now(), by: Actor::User(user).into(), random: 0 };
        let resource = audit::Resource { kind: "user", id: user.0 };
        let entry =
            audit::draft(workspace, &given, "operator.logged_in", resource, &json!({ "via": "bootstrap" }));
        match self.store.save(Save { audit: vec![entry], ..Save::default() }).await {
            Outcome::Saved => {
                tracing::info!(%user, "the operator logged in with the bootstrap token");
                Ok((user, workspace))
            }
            outcome @ (Outcome::Conflict | Outcome::Refused(_) | Outcome::Full | Outcome::Unknown) => {
                Err(content::unsaved(outcome))
            }
        }
    }

    /// Who shows a token, ours or the issuer's, and where they are.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthorized`] when it is not good or they do not belong there (any more).
    pub async fn authenticate(&self, token: &str) -> Result<Present, Error> {
        let ours = self.tokens.check(token, self.clock.now());
        if let (Err(_), Door::Oidc(issuer)) = (&ours, &self.door)
            && let Some((user, verified)) = self.of_issuer(issuer, token).await?
        {
            let (workspace, role) = self.place_of(user, &verified, issuer).await?;
            return Ok(Present { user, workspace, role, via: Via::Oidc });
        }
        let unauthorized = |said: &str| Error::Unauthorized(said.to_owned());
        let claims = ours.map_err(|error| unauthorized(&error.to_string()))?;
        if claims.via == Via::Dev && matches!(self.door, Door::Oidc(_)) {
            return Err(unauthorized("the token was issued to a client that was believed; log in again"));
        }
        let role = self.workspaces.role(claims.workspace, claims.sub).await?.ok_or_else(|| {
            unauthorized("the token is for a workspace that you do not belong to; log in again")
        })?;
        Ok(Present { user: claims.sub, workspace: claims.workspace, role, via: claims.via })
    }

    /// Whom a token of the issuer is about; `None` when it does not say that it is one.
    async fn of_issuer(
        &self,
        issuer: &Issuer,
        token: &str,
    ) -> Result<Option<(UserId, Arc<Verified>)>, Error> {
        if let Some(good) = issuer.remembered(token)
            && let Some(user) = good.user.get()
        {
            return Ok(Some((*user, good)));
        }
        if issuer.is_named_by(token) { self.vouched(issuer, token).await.map(Some) } else { Ok(None) }
    }

    fn issue(&self, to: Grant) -> Result<String, Error> {
        let jti = format!("{:032x}", self.clock.random());
        let token = self.tokens.issue(to, jti, self.clock.now());
        token.ok_or_else(|| Error::Unavailable("the token could not be signed".into()))
    }

    /// Who the caller is, how they came in, and where they belong; of an API key, whose it is and its own
    /// workspace.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn me(&self, caller: &Caller) -> Result<Me, Error> {
        let (person, _) = self.person(caller.user).await?;
        let (workspaces, _) = self.workspaces.list(caller, 200, None).await?;
        let issuer = match (caller.via, &self.door) {
            (Via::Oidc, Door::Oidc(issuer)) => Some(issuer.name().to_owned()),
            (Via::Dev | Via::Oidc | Via::Bootstrap | Via::ApiKey, _) => None,
        };
        let email_verified = person.email_verified;
        let (user, via) = (shown(caller.user, person), caller.via);
        Ok(Me { user, workspaces, via, issuer, email_verified, api_key: None })
    }

    /// A token for another workspace of the caller.
    ///
    /// # Errors
    ///
    /// When they are no member of it.
    pub async fn switch(&self, caller: &Caller, workspace: WorkspaceId) -> Result<Switched, Error> {
        let workspace = self.workspaces.of(caller, workspace).await?;
        self.note_switch(caller, workspace.id).await?;
        let to = Grant { user: caller.user, workspace: workspace.id, via: caller.via };
        Ok(Switched { token: self.issue(to)?, workspace })
    }
}

fn shown(id: UserId, person: Person) -> User {
    User { id, email: person.email, display_name: person.display_name, avatar_url: person.avatar_url }
}
