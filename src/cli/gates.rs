//! Gates, as a person answers them at the terminal.

use std::collections::BTreeSet;

use cendriix_protocol::{
    ids::{GateId, RunId},
    runs::{Approve, Gate, GateKind, Reject, Resolution, Run, RunDiff, RunEventKind},
};

use super::{
    Failure,
    client::Client,
    output::{self, Paint},
    runs::only_waits,
};

/// So many lines of a diff are shown before a merge.
const DIFF_LINES: usize = 400;

/// What became of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// It was decided.
    Decided,
    /// Nobody here can decide it.
    Nobody,
    /// The person wants to leave it open.
    Left,
}

/// Tells which gates are left to somebody, and when. That of an interrupted merge is so only once the main
/// branch told nothing: until then it may close by itself.
#[derive(Debug, Default)]
pub(super) struct Opening {
    is_merge: bool,
    looked_for: Option<GateId>,
}

impl Opening {
    /// The gate that somebody has to answer from this event on.
    pub(super) fn hear(&mut self, event: &RunEventKind) -> Option<GateId> {
        if let RunEventKind::OutcomeUnknown { activity } = event {
            self.is_merge = activity == "merge";
            return self.looked_for.take();
        }
        if let RunEventKind::GateClosed { gate_id, .. } = event {
            self.looked_for = self.looked_for.filter(|gate| gate != gate_id);
        }
        let RunEventKind::GateOpened { gate } = event else { return None };
        if gate.kind == GateKind::UnknownOutcome && self.is_merge {
            self.looked_for = Some(gate.id);
            return None;
        }
        Some(gate.id)
    }

    /// Whether there is a gate that may close by itself.
    pub(super) fn is_open(&self) -> bool {
        self.looked_for.is_some()
    }
}

/// Gates that were shown and that nobody here has decided.
#[derive(Debug, Default)]
pub(super) struct Undecided(BTreeSet<GateId>);

impl Undecided {
    /// Takes in what happened to a gate.
    pub(super) fn hear(&mut self, event: &RunEventKind) {
        if let RunEventKind::GateClosed { gate_id, .. } = event {
            self.0.remove(gate_id);
        }
    }

    /// Takes in that nobody here decides a gate.
    pub(super) fn leave(&mut self, gate: GateId) {
        self.0.insert(gate);
    }

    /// Whether there are any.
    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a run waits at these gates and for nothing else.
    pub(super) fn hold_up(&self, run: &Run) -> bool {
        only_waits(run) && run.gates.iter().all(|gate| self.0.contains(&gate.id))
    }
}

/// Who answers gates.
#[derive(Debug)]
pub(super) struct Answers {
    /// Whether `--approve` was given.
    approve: bool,
    /// Whether a person sits at the terminal.
    pub(super) person: bool,
    /// The commits whose merge was approved here.
    approved: BTreeSet<String>,
}

impl Answers {
    pub(super) fn new(approve: bool, person: bool) -> Self {
        Self { approve, person, approved: BTreeSet::new() }
    }

    /// Has a gate decided, by what was said in advance or by the person.
    pub(super) async fn decide(
        &mut self,
        client: &Client,
        run: &Run,
        gate: &Gate,
    ) -> Result<Answered, Failure> {
        if gate.kind == GateKind::Merge {
            show_change(client, run.id, Some(DIFF_LINES)).await?;
        }
        let routine = match gate.kind {
            // What stood in the way of a merge that was approved already, only a person can clear away.
            GateKind::Merge => gate.pinned.as_ref().is_none_or(|commit| !self.approved.contains(commit)),
            GateKind::Plan | GateKind::Step | GateKind::Deploy => true,
            GateKind::Policy | GateKind::Budget | GateKind::UnknownOutcome => false,
        };
        if self.approve && routine {
            approve(client, run.id, gate, Some("--approve".to_owned()), None).await?;
            self.approved.extend(gate.pinned.clone().filter(|_| gate.kind == GateKind::Merge));
            return Ok(Answered::Decided);
        }
        if !self.person {
            return Ok(Answered::Nobody);
        }
        ask(client, run, gate).await
    }
}

/// The command that approves a gate.
pub(super) fn approval(run: RunId, gate: &Gate) -> String {
    output::command(&format!("runs approve {run} --gate {}", gate.id))
}

async fn ask(client: &Client, run: &Run, gate: &Gate) -> Result<Answered, Failure> {
    let unknown = gate.kind == GateKind::UnknownOutcome;
    let choices = if unknown { "[h]appened, [r]epeat it, [l]eave" } else { "[y]es, [n]o, [d]iff, [l]eave" };
    loop {
        let said = output::ask(&format!("{}? {choices}: ", question(run, gate))).await;
        let Some(said) = said else { return Ok(Answered::Left) };
        match (said.trim().to_lowercase().as_str(), unknown) {
            ("y" | "yes", false) => approve(client, run.id, gate, None, None).await?,
            ("h" | "happened", true) => {
                approve(client, run.id, gate, None, Some(Resolution::Happened)).await?;
            }
            ("r" | "repeat", true) => approve(client, run.id, gate, None, Some(Resolution::Repeat)).await?,
            ("n" | "no", false) => {
                let reason = output::ask("Why? ").await.map(|reason| reason.trim().to_owned());
                let reason = reason.filter(|reason| !reason.is_empty());
                let body = Reject { reason, gate_id: Some(gate.id) };
                decided(client.post(&format!("/runs/{}/reject", run.id), &body, None).await)?;
            }
            ("d" | "diff", false) => {
                show_change(client, run.id, None).await?;
                continue;
            }
            ("l" | "leave" | "q", _) => return Ok(Answered::Left),
            _ => continue,
        }
        return Ok(Answered::Decided);
    }
}

fn question(run: &Run, gate: &Gate) -> String {
    match (&gate.pinned, &run.repository) {
        (Some(commit), Some(repository)) if gate.kind == GateKind::Merge => {
            let name = repository.project.as_ref().or(repository.url.as_ref()).unwrap_or(&repository.path);
            format!("Merge commit {commit:.10} into the main branch of {}", output::plain(name))
        }
        _ => output::plain(&gate.subject),
    }
}

async fn approve(
    client: &Client,
    run: RunId,
    gate: &Gate,
    note: Option<String>,
    resolution: Option<Resolution>,
) -> Result<(), Failure> {
    let body = Approve { note, gate_id: Some(gate.id), resolution };
    decided(client.post(&format!("/runs/{run}/approve"), &body, None).await)
}

/// A gate that somebody else decided meanwhile is decided too.
fn decided(answer: Result<Run, Failure>) -> Result<(), Failure> {
    match answer {
        Err(failure) if failure.is_conflict() => {
            output::note("somebody else has decided this gate");
            Ok(())
        }
        answer => answer.map(drop),
    }
}

/// Shows what a run has changed so far, at most so many lines of it.
pub(super) async fn show_change(client: &Client, run: RunId, most: Option<usize>) -> Result<(), Failure> {
    let diff: RunDiff = client.get(&format!("/runs/{run}/diff")).await?;
    show_diff(&diff, most);
    Ok(())
}

/// Shows a diff.
pub(super) fn show_diff(diff: &RunDiff, most: Option<usize>) {
    let paint = Paint::of_stdout();
    let lines: Vec<&str> = diff.patch.lines().collect();
    let shown = most.unwrap_or(lines.len()).min(lines.len());
    for line in &lines[..shown] {
        let colour = match line.as_bytes() {
            [b'+', ..] => Paint::GREEN,
            [b'-', ..] => Paint::RED,
            [b'@', b'@', ..] => Paint::CYAN,
            [b'd', b'i', b'f', b'f', b' ', ..] => Paint::BOLD,
            _ => "",
        };
        output::told(&paint.with(colour, &output::plain(line)));
    }
    if shown < lines.len() {
        let whole = output::command(&format!("runs diff {}", diff.run_id));
        output::told(&format!("… {} lines more: {whole}", lines.len() - shown));
    } else if diff.truncated {
        output::told("… the rest is too long to be shown");
    }
    stat(diff);
}

/// Shows which files differ, and by how much.
pub(super) fn stat(diff: &RunDiff) {
    for file in &diff.files {
        let count =
            |sign: char, lines: Option<u64>| lines.map_or("bin".to_owned(), |lines| format!("{sign}{lines}"));
        output::told(&format!(
            "  {:8} {} {} {}",
            file.change,
            count('+', file.added),
            count('-', file.removed),
            output::plain(&file.path)
        ));
    }
}
