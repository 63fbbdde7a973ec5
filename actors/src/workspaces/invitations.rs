//! Invitations to a workspace: whoever logs in with an invited address becomes a member.

use cendriix_persistence::{
    codec::decode,
    store::{Save, Scan},
};
use cendriix_protocol::{
    ids::{UserId, WorkspaceId},
    workspaces::{Invite, Member},
};
use serde_json::json;

use super::{
    MEMBERS_MAX, WORKSPACES_MAX, Workspaces, address, claimed,
    members::pending,
    rules,
    stored::{Invitation, invitation_key, invited, invited_address, invited_to, joined, uninvited},
};
use crate::{
    Error, audit,
    caller::Caller,
    content,
    idempotency::Claim,
    kinds::space,
    kit::{Actor, machine::Given},
};

impl Workspaces {
    /// The addresses that are invited to a workspace.
    pub(super) async fn invitations(&self, id: WorkspaceId) -> Result<Vec<(String, Invitation)>, Error> {
        let rows = self.store.rows(Scan::prefix(space::INVITATIONS, id.0.as_bytes(), MEMBERS_MAX)).await?;
        let read = rows.iter().map(|(key, value)| Ok((invited_address(key), decode("invitation", value)?)));
        read.collect()
    }

    /// Invites somebody; whoever logs in with that e-mail address joins. A claim that was made before answers
    /// with what became of the invitation.
    ///
    /// # Errors
    ///
    /// When the caller may not, the address is wrong, or they are a member or invited already.
    pub async fn invite(
        &self,
        caller: &Caller,
        id: WorkspaceId,
        invite: &Invite,
        claim: Option<&Claim>,
    ) -> Result<Member, Error> {
        self.changing(id, |current| async move {
            let caller = self.enter(caller, id).await?;
            rules::change(caller.role, None, Some(invite.role), 0)?;
            let email =
                address(&invite.email).ok_or_else(|| Error::field("email", "is no e-mail address"))?;
            let given = Given { at: self.clock.now(), by: caller.actor(), random: 0 };
            let earlier = match claim {
                Some(claim) => claim.earlier(&*self.store, given.at).await?,
                None => None,
            };
            let members = self.members(&caller, id).await?;
            let count = members.len();
            let there = members.into_iter().find(|member| member.email == email);
            match (there, earlier) {
                (Some(member), Some(_)) => return Ok((None, member)),
                (None, Some(_)) => {
                    return Err(Error::conflict(format!(
                        "{email} was invited with this Idempotency-Key \
                        and is gone since; take a new key to invite them again"
                    )));
                }
                (Some(_), None) => {
                    return Err(Error::conflict(format!("{email} is a member or invited already")));
                }
                (None, None) => (),
            }
            if count >= MEMBERS_MAX {
                return Err(Error::conflict(format!("a workspace has at most {MEMBERS_MAX} members")));
            }
            let invitation = Invitation { role: invite.role, invited_by: caller.user, at: given.at };
            let resource = audit::Resource { kind: "workspace", id: id.0 };
            let payload = json!({ "email": email, "role": invite.role });
            let mut save = Save {
                rows: invited(id, &email, &invitation)?.into(),
                audit: vec![audit::draft(id, &given, "member.invited", resource, &payload)],
                ..Save::default()
            };
            claimed(&mut save, claim, id.0, &given);
            Ok((Some(current.with(save)?), pending(email, invite.role)))
        })
        .await
    }

    /// Takes an invitation back.
    ///
    /// # Errors
    ///
    /// When the caller may not, or nobody is invited with that address.
    pub async fn withdraw(&self, caller: &Caller, id: WorkspaceId, email: &str) -> Result<(), Error> {
        self.changing(id, |current| async move {
            let caller = self.enter(caller, id).await?;
            let missing = || Error::Missing { what: "invitation" };
            let email = address(email).ok_or_else(missing)?;
            let row = self.store.row(&invitation_key(id, &email)).await?.ok_or_else(missing)?;
            let invitation: Invitation = decode("invitation", &row)?;
            rules::change(caller.role, None, Some(invitation.role), 0)?;
            let given = Given { at: self.clock.now(), by: caller.actor(), random: 0 };
            let resource = audit::Resource { kind: "workspace", id: id.0 };
            let payload = json!({ "email": email, "role": invitation.role });
            let save = Save {
                rows: uninvited(id, &email).into(),
                audit: vec![audit::draft(id, &given, "member.uninvited", resource, &payload)],
                ..Save::default()
            };
            Ok((Some(current.with(save)?), ()))
        })
        .await
    }

    /// Makes a person a member wherever that address is invited. The address must be theirs beyond doubt.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub(crate) async fn join_invited(&self, user: UserId, email: &str) -> Result<(), Error> {
        let prefix = invited_to(email);
        for (key, _) in self.store.rows(Scan::prefix(space::INVITED_TO, &prefix, WORKSPACES_MAX)).await? {
            let Some(id) = content::id_at(&key, prefix.len()).map(WorkspaceId) else { continue };
            match self.join(user, email, id).await {
                // The workspace was deleted meanwhile.
                Ok(()) | Err(Error::Missing { .. }) => (),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn join(&self, user: UserId, email: &str, id: WorkspaceId) -> Result<(), Error> {
        self.changing(id, |current| async move {
            // Two log-ins at once: the second finds the invitation gone.
            let Some(row) = self.store.row(&invitation_key(id, email)).await? else { return Ok((None, ())) };
            let invitation: Invitation = decode("invitation", &row)?;
            let given = Given { at: self.clock.now(), by: Actor::User(user).into(), random: 0 };
            let mut save = Save { rows: uninvited(id, email).into(), ..Save::default() };
            // Whoever is a member already keeps the role they have.
            if self.role(id, user).await?.is_none() {
                save.rows.extend(joined(id, user, invitation.role, given.at)?);
                let resource = audit::Resource { kind: "user", id: user.0 };
                let payload = json!({ "role": invitation.role });
                save.audit.push(audit::draft(id, &given, "member.joined", resource, &payload));
            }
            Ok((Some(current.with(save)?), ()))
        })
        .await
    }
}
