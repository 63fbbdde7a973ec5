//! What becomes of the runs of a workspace that is deleted.

use cendriix_persistence::{codec::decode, store::Scan};
use cendriix_protocol::ids::{RunId, WorkspaceId};

use super::{Command, Runs, SCAN_MAX, records::ListRow};
use crate::{
    Error, content,
    kinds::space,
    kit::{Actor, Failure, Order},
};

impl Runs {
    /// The runs of a workspace that are not at an end, at most `most`.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn unfinished(&self, workspace: WorkspaceId, most: usize) -> Result<Vec<RunId>, Error> {
        let (mut unfinished, mut before) = (Vec::new(), None);
        loop {
            let scan = Scan::prefix(space::RUNS, workspace.0.as_bytes(), SCAN_MAX).newest_first(before);
            let rows = self.entities.shared().store.rows(scan).await?;
            for (key, value) in &rows {
                let row: ListRow = decode("run's line", value)?;
                unfinished.extend(content::id_at(key, 16).map(RunId).filter(|_| !row.is_end()));
                if unfinished.len() >= most {
                    return Ok(unfinished);
                }
            }
            if rows.len() < SCAN_MAX {
                return Ok(unfinished);
            }
            before = rows.into_iter().next_back().map(|(key, _)| key);
        }
    }

    /// Cancels the runs of a workspace that are not at an end, at most `most`, in nobody's name.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or a run cannot be reached.
    pub async fn cancel_all(&self, workspace: WorkspaceId, most: usize) -> Result<(), Error> {
        for run in self.unfinished(workspace, most).await? {
            match self.entities.command(run.0, Command::Cancel, Order::of(Actor::System)).await {
                // It ended by itself.
                Ok(_) | Err(Failure::Refused(_)) => (),
                Err(failure) => {
                    return Err(Error::of(failure, |refusal| Error::conflict(refusal.to_string())));
                }
            }
        }
        Ok(())
    }
}
