//! Identifiers: one newtype per thing, all of them `UUIDv8` that sort by time and carry their shard.
//!
//! Layout (RFC 9562 §5.8): 48 bits of milliseconds since 1970, 4 bits of version, 10 bits of shard and 2
//! random bits, 2 bits of variant, 62 random bits. **Invariant:** a derived child has the milliseconds and
//! the shard of its parent, so whoever owns the parent owns the child.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// How many shards entities are spread over; the owner of a shard owns everything in it.
pub const SHARDS: u16 = 1024;

const SHARD_SHIFT: u32 = 66;
const MILLIS_SHIFT: u32 = 80;

/// Makes an id from an instant, a shard (0..1024, the rest is ignored) and random bits (64 of them are used).
pub fn compose(millis: u64, shard: u16, random: u128) -> Uuid {
    let shard = u128::from(shard % SHARDS);
    Uuid::new_v8(
        ((u128::from(millis) << MILLIS_SHIFT) | (shard << SHARD_SHIFT) | (random & RANDOM)).to_be_bytes(),
    )
}

/// The bits left to chance: two beside the shard and those after the variant.
const RANDOM: u128 = (0b11 << 64) | ((1 << 62) - 1);

/// The shard an id belongs to.
pub fn shard_of(id: Uuid) -> u16 {
    let bits = (id.as_u128() >> SHARD_SHIFT) & u128::from(SHARDS - 1);
    u16::try_from(bits).unwrap_or(0)
}

/// The milliseconds since 1970 at which an id was made.
pub fn millis_of(id: Uuid) -> u64 {
    u64::try_from(id.as_u128() >> MILLIS_SHIFT).unwrap_or(0)
}

/// The id of a child: its parent's instant and shard, and `digest` (of parent, node and attempt) for the
/// rest.
pub fn derive(parent: Uuid, digest: u128) -> Uuid {
    compose(millis_of(parent), shard_of(parent), digest)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(transparent)]
        #[schema(value_type = String, format = Uuid)]
        pub struct $name(pub Uuid);

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(out)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::try_parse(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )+};
}

ids! {
    /// A workspace: the tenant that everything else belongs to.
    WorkspaceId,
    /// A person, or the local operator of a `dev` server.
    UserId,
    /// A workflow; its versions are numbered.
    WorkflowId,
    /// A run of a workflow.
    RunId,
    /// A gate of a run, where a person decides.
    GateId,
    /// An agent at work on one step of a run.
    AgentStepId,
    /// Where the commands of one attempt of a run are contained.
    SandboxId,
    /// A skill, plugin, playbook, policy or guardrail.
    EntityId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_instant_and_its_shard_and_sorts_by_time() {
        let early = compose(1_700_000_000_000, 1023, u128::MAX);
        let late = compose(1_700_000_000_001, 0, 0);
        assert_eq!((millis_of(early), shard_of(early)), (1_700_000_000_000, 1023));
        assert_eq!((late.get_version_num(), shard_of(late)), (8, 0));
        assert!(early < late);
    }

    #[test]
    fn a_child_lives_on_the_shard_of_its_parent() {
        let parent = compose(1_700_000_000_000, 77, 5);
        let child = derive(parent, 0xfeed_beef);
        assert_eq!((millis_of(child), shard_of(child)), (millis_of(parent), 77));
        assert_ne!(parent, child);
    }
}
