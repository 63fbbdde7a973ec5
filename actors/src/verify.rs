//! Proves of a data directory that nothing acknowledged is missing: journals lead to their snapshots,
//! restarts would go on, no audit chain is broken, every commit that a run relies on is there, and the ledger
//! holds what agents say they spent.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, PoisonError},
};

use cendriix_persistence::{
    codec::decode,
    store::{Entry, Key, Scan, Store, StoreError, Stored},
    verify::{Areas, Report},
};
use uuid::Uuid;

use crate::{
    agent_steps::AgentStep,
    audit, entities, identity,
    kinds::{self, space},
    kit::stored,
    metering::ledger,
    repositories::{CommitId, Repositories, Source},
    runs::Run,
    sandboxes::Sandbox,
    workflows, workspaces,
};

/// How many rows of the ledger are read at a time.
const PAGE: usize = 1_000;

/// What was looked at and what is wrong.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    /// What was found in the store.
    pub report: Report,
    /// How many checkpoints there are in the repositories that the server keeps.
    pub checkpoints: usize,
    /// How many rows the ledger has.
    pub ledger_rows: u64,
}

struct Known<'r> {
    repositories: Option<&'r Repositories>,
    /// What each agent's step says it cost, in micro-USD.
    costs: Mutex<BTreeMap<Uuid, u64>>,
}

impl Known<'_> {
    /// The commits that a run relies on are there, in a repository that the server keeps.
    fn commits(&self, run: &Run) -> Result<(), String> {
        let (Some(repositories), Some(repository)) = (self.repositories, &run.repository) else {
            return Ok(());
        };
        if matches!(repository.source, Source::Path(_)) {
            return Ok(());
        }
        let pinned = run.commit.as_ref().and_then(|commit| commit.parse::<CommitId>().ok());
        let steps = run.progress.iter().filter_map(|progress| progress.commit.clone());
        for commit in steps.chain(pinned).chain(repository.base.clone()) {
            match repositories.holds(&repository.source, &commit) {
                Ok(true) => (),
                Ok(false) => return Err(format!("commit {commit}, which it relies on, is not there")),
                Err(failure) => return Err(format!("its repository cannot be read: {failure}")),
            }
        }
        Ok(())
    }
}

impl Areas for Known<'_> {
    fn check(&self, key: Key, stored: &Stored, journal: &[Entry]) -> Result<(), String> {
        let readable = |result: Result<(), StoreError>| result.map_err(|error| error.to_string());
        match key.kind {
            kinds::RUN => self.commits(&stored::check::<Run>(stored, journal)?),
            kinds::AGENT_STEP => {
                let step = stored::check::<AgentStep>(stored, journal)?;
                self.costs.lock().unwrap_or_else(PoisonError::into_inner).insert(key.id, step.cost.0);
                Ok(())
            }
            kinds::SANDBOX => stored::check::<Sandbox>(stored, journal).map(drop),
            kinds::WORKSPACE => {
                readable(decode::<workspaces::Stored>("workspace", &stored.snapshot).map(drop))
            }
            kinds::USER => readable(decode::<identity::Person>("user", &stored.snapshot).map(drop)),
            kinds::WORKFLOW => readable(decode::<workflows::Stored>("workflow", &stored.snapshot).map(drop)),
            kinds::ENTITY => readable(decode::<entities::Stored>("entity", &stored.snapshot).map(drop)),
            other => Err(format!("kind {other} is not known")),
        }
    }

    fn digest(&self, body: &[u8]) -> Result<[u8; 32], String> {
        audit::digest_of(body)
    }
}

/// Looks at everything in a store, and in the repositories beside it when there are any.
///
/// # Errors
///
/// When the store cannot be read at all.
pub async fn verify(store: &dyn Store, repositories: Option<&Repositories>) -> Result<Proof, StoreError> {
    let known = Known { repositories, costs: Mutex::default() };
    let report = cendriix_persistence::verify::verify(store, &known).await?;
    let mut proof = Proof { report, ..Proof::default() };
    let costs = known.costs.into_inner().unwrap_or_else(PoisonError::into_inner);
    spending(store, costs, &mut proof).await?;
    if let Some(repositories) = repositories {
        checkpoints(repositories, &mut proof).await;
    }
    Ok(proof)
}

/// The rows of each agent's step add up to what it says.
async fn spending(
    store: &dyn Store,
    mut costs: BTreeMap<Uuid, u64>,
    proof: &mut Proof,
) -> Result<(), StoreError> {
    let mut from = Bound::Unbounded;
    loop {
        let scan = Scan { from, ..Scan::prefix(space::LEDGER, &[], PAGE) };
        let rows = store.rows(scan).await?;
        let Some((last, _)) = rows.last() else { break };
        from = Bound::Excluded(last.clone());
        for (_, value) in &rows {
            proof.ledger_rows += 1;
            let row = match ledger::read(value) {
                Ok(row) => row,
                Err(error) => {
                    proof.report.fault(format!("a row of the ledger cannot be read: {error}"));
                    continue;
                }
            };
            if let Some(agent) = row.agent {
                match costs.get_mut(&agent) {
                    Some(left) => *left = left.wrapping_sub(row.cost.0),
                    None => {
                        proof.report.fault(format!("ledger row {} is of no agent that is there", row.call));
                    }
                }
            }
        }
    }
    for (agent, _) in costs.into_iter().filter(|(_, left)| *left != 0) {
        proof
            .report
            .fault(format!("agent step {agent} says that it cost something else than its ledger rows"));
    }
    Ok(())
}

/// Every file of every checkpoint can be read and is what its name says.
async fn checkpoints(repositories: &Repositories, proof: &mut Proof) {
    let sources = match repositories.kept().await {
        Ok(sources) => sources,
        Err(failure) => return proof.report.fault(format!("the repositories cannot be listed: {failure}")),
    };
    for source in sources {
        let path = repositories.path(&source);
        match repositories.verify(&source).await {
            Ok(verified) => {
                proof.checkpoints += verified.references;
                for problem in verified.problems {
                    proof.report.fault(format!("repository {}: {problem}", path.display()));
                }
            }
            Err(failure) => proof.report.fault(format!("repository {}: {failure}", path.display())),
        }
    }
}
