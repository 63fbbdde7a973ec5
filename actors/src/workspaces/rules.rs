//! Who may change what about whom in a workspace.
//!
//! **Invariant:** a workspace has an owner at any time, and only owners make, unmake or invite owners.

use cendriix_protocol::workspaces::Role;

/// Why a change of members is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The caller's role does not reach that far.
    #[error("this needs role {} or higher; yours is {}", .needs.name(), .has.name())]
    Forbidden { needs: Role, has: Role },
    /// Nobody would own the workspace.
    #[error("the last owner stays: make somebody else an owner first")]
    LastOwner,
}

/// Whether somebody with the role `by` may give another one, of the role `from`, the role `to`; `None` takes
/// all roles away, and what nobody has is `from` of none. `owners` counts the workspace's owners.
///
/// # Errors
///
/// When they may not, or the last owner would go.
pub fn change(by: Role, from: Option<Role>, to: Option<Role>, owners: usize) -> Result<(), Refusal> {
    let about_owners = [from, to].contains(&Some(Role::Owner));
    if about_owners && by < Role::Owner {
        return Err(Refusal::Forbidden { needs: Role::Owner, has: by });
    }
    if from == Some(Role::Owner) && to != Some(Role::Owner) && owners <= 1 {
        return Err(Refusal::LastOwner);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 4] = [Role::Viewer, Role::Member, Role::Admin, Role::Owner];

    #[test]
    fn only_owners_touch_owners() {
        let forbidden = Err(Refusal::Forbidden { needs: Role::Owner, has: Role::Admin });
        for role in ROLES {
            assert_eq!(change(Role::Admin, Some(role), Some(Role::Owner), 9), forbidden);
            assert_eq!(change(Role::Admin, Some(Role::Owner), Some(role), 9), forbidden);
            assert_eq!(change(Role::Owner, Some(role), Some(Role::Owner), 9), Ok(()));
        }
        assert_eq!(change(Role::Admin, None, Some(Role::Owner), 9), forbidden);
        assert_eq!(change(Role::Admin, Some(Role::Owner), None, 9), forbidden);
    }

    #[test]
    fn no_change_takes_the_last_owner_away() {
        for to in [None, Some(Role::Viewer), Some(Role::Member), Some(Role::Admin)] {
            assert_eq!(change(Role::Owner, Some(Role::Owner), to, 1), Err(Refusal::LastOwner));
            assert_eq!(change(Role::Owner, Some(Role::Owner), to, 2), Ok(()));
            assert_eq!(change(Role::Admin, Some(Role::Member), to, 1), Ok(()));
        }
    }
}
