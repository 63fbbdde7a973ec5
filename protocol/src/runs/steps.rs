//! The steps of a plan. Many answers repeat the same ones, so they can be written ahead.

use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::PlanStep;

/// The steps of a plan, in order.
#[derive(Clone, Debug, Default)]
pub struct PlanSteps {
    steps: Vec<PlanStep>,
    /// The steps as they are answered.
    written: Option<Box<RawValue>>,
}

impl PlanSteps {
    /// Steps that many answers repeat; they are written once, here.
    pub fn written_ahead(steps: Vec<PlanStep>) -> Self {
        let written = to_raw_value(&steps).ok();
        Self { steps, written }
    }
}

impl From<Vec<PlanStep>> for PlanSteps {
    fn from(steps: Vec<PlanStep>) -> Self {
        Self { steps, written: None }
    }
}

impl Deref for PlanSteps {
    type Target = [PlanStep];
    fn deref(&self) -> &[PlanStep] {
        &self.steps
    }
}

impl PartialEq for PlanSteps {
    fn eq(&self, other: &Self) -> bool {
        self.steps == other.steps
    }
}

impl Serialize for PlanSteps {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match &self.written {
            Some(written) => written.serialize(out),
            None => self.steps.serialize(out),
        }
    }
}

impl<'de> Deserialize<'de> for PlanSteps {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Vec::deserialize(from).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        money::MicroUsd,
        runs::{ReversibilityTier, RunPlan},
    };

    #[test]
    fn steps_that_were_written_ahead_read_as_any_others() {
        let step = PlanStep {
            id: "a".into(),
            name: "first \"step\"".into(),
            kind: "transform".into(),
            depends_on: vec!["b".into()],
            estimated_cost_usd: MicroUsd(12),
            reversibility_tier: ReversibilityTier::Reversible,
            confidence_score: 0.5,
            gate: false,
            agent: None,
            task_type: None,
            prompt: None,
            reasons: Vec::new(),
        };
        let plan = |steps| RunPlan { steps, ..RunPlan::default() };
        let ahead = plan(PlanSteps::written_ahead(vec![step.clone()]).into());
        let text = serde_json::to_string(&ahead).unwrap();
        assert_eq!(text, serde_json::to_string(&plan(PlanSteps::from(vec![step]).into())).unwrap());
        assert_eq!(serde_json::from_str::<RunPlan>(&text).unwrap(), ahead);
    }
}
