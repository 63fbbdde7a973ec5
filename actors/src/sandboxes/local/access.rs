//! What of the file system is within reach where there is no bubblewrap: rules of the kernel's Landlock.
//!
//! **Invariant:** what no rule names is out of reach; `/proc` is named by none, so no process can be looked
//! into.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};

use super::plan::{Place, Plan};

/// The newest rules that were tried; an older kernel enforces those it knows.
const RULES: ABI = ABI::V6;

/// Devices that programs expect; none of them keeps or tells anything.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Restricts this process and all it starts, for good; false when the kernel enforces nothing.
pub(super) fn restrict(plan: &Plan) -> Result<bool, RulesetError> {
    let readable = plan.places.iter().filter_map(|place| match place {
        Place::Shared { from, .. } | Place::Copied { from, .. } => Some(from),
        Place::Link { .. } => None,
    });
    let writable: Vec<&PathBuf> = [&plan.tree].into_iter().chain(&plan.scratch).collect();
    let all = AccessFs::from_all(RULES);
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .scope(Scope::from_all(RULES))?
        .create()?
        .add_rules(path_beneath_rules(readable, AccessFs::from_read(RULES)))?
        .add_rules(path_beneath_rules(DEVICES, AccessFs::ReadFile | AccessFs::WriteFile))?
        .add_rules(path_beneath_rules(writable, all))?
        .restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced && status.no_new_privs)
}
