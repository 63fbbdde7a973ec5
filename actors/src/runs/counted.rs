//! What of a run's events is counted.

use super::state::{Decision, Event, GateKind};
use crate::kit::meters::RunMeters;

/// Counts what happened.
pub(super) fn count(meters: &RunMeters, events: &[Event]) {
    for event in events {
        match event {
            Event::Created(_) => meters.created.inc(),
            Event::Retried { .. } => meters.retried.inc(),
            Event::Ended { status, .. } => meters.ended(status.name()),
            Event::StepSucceeded { .. } => meters.step_ended("succeeded"),
            Event::StepFailed { .. } => meters.step_ended("failed"),
            Event::GateOpened { gate } => meters.gate_opened(kind(gate.kind)),
            Event::GateClosed { decision, .. } => meters.gate_closed(name(decision)),
            Event::Planned { .. }
            | Event::Moved { .. }
            | Event::StepStarted { .. }
            | Event::StepEnded { .. }
            | Event::Checked { .. }
            | Event::FixAdded { .. }
            | Event::CommitPinned { .. }
            | Event::CaughtUp { .. }
            | Event::StepAsked { .. }
            | Event::AskedEnded { .. }
            | Event::OutcomeUnknown { .. }
            | Event::LookedInVain { .. }
            | Event::CancelRequested { .. } => (),
        }
    }
}

fn kind(kind: GateKind) -> &'static str {
    match kind {
        GateKind::Plan => "plan",
        GateKind::Step => "step",
        GateKind::Policy => "policy",
        GateKind::Budget => "budget",
        GateKind::Merge => "merge",
        GateKind::Deploy => "deploy",
        GateKind::UnknownOutcome => "unknown_outcome",
    }
}

fn name(decision: &Decision) -> &'static str {
    match decision {
        Decision::Approved { .. } => "approved",
        Decision::Denied { .. } => "denied",
        Decision::Expired => "expired",
        Decision::Withdrawn => "withdrawn",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::meters::{GATE_DECISIONS, GATE_KINDS, RUN_ENDS};

    #[test]
    fn every_name_has_a_counter() {
        let kinds = [
            GateKind::Plan,
            GateKind::Step,
            GateKind::Policy,
            GateKind::Budget,
            GateKind::Merge,
            GateKind::Deploy,
            GateKind::UnknownOutcome,
        ];
        assert_eq!(kinds.map(kind), GATE_KINDS);
        let decisions = [
            Decision::Approved { note: None },
            Decision::Denied { reason: None },
            Decision::Expired,
            Decision::Withdrawn,
        ];
        assert_eq!(decisions.each_ref().map(name), GATE_DECISIONS);
        for status in [super::super::state::Status::Merged, super::super::state::Status::Cancelled] {
            assert!(status.is_end() && RUN_ENDS.contains(&status.name()));
        }
    }
}
