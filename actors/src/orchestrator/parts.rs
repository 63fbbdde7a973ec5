//! The parts that a planner takes a ticket apart into, checked before anybody relies on them.

use std::collections::{BTreeMap, BTreeSet};

use cendriix_protocol::{
    error::FieldErrors,
    model_router::TaskType,
    money::MicroUsd,
    orchestrator::EditedStep,
    runs::{PlanStep, ReversibilityTier},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::kind_name;
use crate::{
    runs::{Plan, Step, StepKind},
    workflows::Compiled,
};

/// The most steps that a ticket is taken apart into.
const PARTS_MAX: usize = 64;
/// The most steps of a plan that a client edits.
const EDITED_MAX: usize = 1_000;
/// The longest id of a step, in bytes.
const ID_MAX: usize = 48;
/// The longest name of a step, in characters.
const NAME_MAX: usize = 200;
/// The most reasons that are kept.
const REASONS_MAX: usize = 8;

/// The form of a planner's answer.
pub(super) fn schema() -> Value {
    let text = json!({ "type": "string" });
    let texts = json!({ "type": "array", "items": text });
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["steps"],
        "properties": { "steps": { "type": "array", "minItems": 1, "maxItems": PARTS_MAX, "items": {
            "type": "object",
            "additionalProperties": false,
            "required": ["id", "name", "agent", "taskType", "dependsOn", "prompt", "confidenceScore",
                "reasons"],
            "properties": {
                "id": text,
                "name": text,
                "agent": { "type": "string", "enum": ["dev", "qa", "sre", "security"] },
                "taskType": { "type": "string", "enum": ["code_generation", "reasoning", "summarisation",
                    "classification", "general"] },
                "dependsOn": texts,
                "prompt": text,
                "confidenceScore": { "type": "number", "minimum": 0, "maximum": 1 },
                "reasons": texts,
            },
        } } },
    })
}

/// One step as a planner says it; what else it says is its own affair.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    id: String,
    name: String,
    #[serde(default = "dev")]
    agent: String,
    #[serde(default)]
    task_type: TaskType,
    #[serde(default)]
    depends_on: Vec<String>,
    prompt: String,
    #[serde(default)]
    confidence_score: f64,
    #[serde(default)]
    reasons: Vec<String>,
}

fn dev() -> String {
    "dev".to_owned()
}

/// The parts of a ticket, each after those it depends on.
#[derive(Clone, Debug)]
pub(super) struct Parts(Vec<Part>);

impl Parts {
    /// Reads what a planner answered, also when it put a fence or a sentence around it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Said {
            steps: Vec<Part>,
        }
        let (from, to) = (text.find('{'), text.rfind('}'));
        let object = from.zip(to).and_then(|(from, to)| text.get(from..=to)).unwrap_or(text);
        let said: Said =
            serde_json::from_str(object).map_err(|error| format!("its answer is no plan: {error}"))?;
        let mut parts = said.steps;
        if parts.is_empty() || parts.len() > PARTS_MAX {
            return Err(format!("a plan needs 1 to {PARTS_MAX} steps, it has {}", parts.len()));
        }
        for part in &mut parts {
            part.name = part.name.chars().take(NAME_MAX).collect();
            part.confidence_score = part.confidence_score.clamp(0.0, 1.0);
            part.reasons.truncate(REASONS_MAX);
            if part.name.trim().is_empty() || part.prompt.trim().is_empty() {
                return Err(format!("step {:?} has no name or no prompt", part.id));
            }
        }
        let ids: Vec<(&str, &[String])> =
            parts.iter().map(|part| (part.id.as_str(), part.depends_on.as_slice())).collect();
        if let Some((path, said)) = unsound(&ids).into_iter().next() {
            return Err(format!("{path} {}", said.join("; ")));
        }
        Ok(Self(parts))
    }

    /// Says of every step why the plan is as it is.
    pub(super) fn note(&mut self, note: Option<String>) {
        if let Some(note) = note {
            for part in &mut self.0 {
                part.reasons.push(note.clone());
            }
        }
    }

    /// Puts the parts in the place of a node of the workflow.
    pub(super) fn into_plan(self, compiled: &Compiled, node: usize) -> (Plan, Vec<PlanStep>) {
        let own = &compiled.plan.steps;
        let node_id = own[node].id.clone();
        let mut taken: BTreeSet<String> = own.iter().map(|step| step.id.clone()).collect();
        // A part may have the name of one of the workflow's own nodes.
        let mut named = |id: &str| {
            let short = &node_id[..node_id.floor_char_boundary(12)];
            let others = (1..).map(|number| format!("{short}-{number}-{id}"));
            let free = std::iter::once(id.to_owned()).chain(others).find(|name| !taken.contains(name));
            let free = free.unwrap_or_else(|| id.to_owned());
            taken.insert(free.clone());
            free
        };
        let mut steps: Vec<Step> = Vec::new();
        let mut shown: Vec<PlanStep> = Vec::new();
        let mut placed: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        let place = |steps: &[Step]| u32::try_from(steps.len()).unwrap_or(u32::MAX);
        for (at, step) in own.iter().enumerate() {
            let needs: Vec<u32> = step
                .needs
                .iter()
                .flat_map(|need| placed.get(&(*need as usize)).cloned().unwrap_or_default())
                .collect();
            if at != node {
                placed.insert(at, vec![place(&steps)]);
                steps.push(Step { id: step.id.clone(), kind: step.kind, needs });
                shown.push(compiled.shown[at].clone());
                continue;
            }
            let mut parts: BTreeMap<&str, u32> = BTreeMap::new();
            let mut last: BTreeSet<u32> = BTreeSet::new();
            for part in &self.0 {
                let before: Vec<u32> =
                    part.depends_on.iter().filter_map(|id| parts.get(id.as_str()).copied()).collect();
                last.retain(|place| !before.contains(place));
                let needs = if before.is_empty() { needs.clone() } else { before };
                let here = place(&steps);
                parts.insert(&part.id, here);
                last.insert(here);
                let id = named(&part.id);
                steps.push(Step { id: id.clone(), kind: StepKind::Agent, needs });
                shown.push(part.shown(id));
            }
            placed.insert(at, last.into_iter().collect());
        }
        for (step, shown) in steps.iter().zip(&mut shown) {
            shown.depends_on = step.needs.iter().map(|need| steps[*need as usize].id.clone()).collect();
        }
        (Plan { version: 1, steps }, shown)
    }
}

impl Part {
    fn shown(&self, id: String) -> PlanStep {
        PlanStep {
            id,
            name: self.name.clone(),
            kind: kind_name(StepKind::Agent).to_owned(),
            depends_on: Vec::new(),
            estimated_cost_usd: MicroUsd(0),
            // An agent's work stays in its own tree until it is merged.
            reversibility_tier: ReversibilityTier::Reversible,
            confidence_score: self.confidence_score,
            gate: false,
            agent: Some(self.agent.clone()),
            task_type: Some(self.task_type),
            prompt: Some(self.prompt.clone()),
            reasons: self.reasons.clone(),
        }
    }
}

/// Looks at a plan that a client edited.
pub(super) fn check(steps: &[EditedStep]) -> Result<(), FieldErrors> {
    let mut errors = FieldErrors::new();
    if steps.is_empty() || steps.len() > EDITED_MAX {
        errors
            .insert("plan.steps".into(), vec![format!("needs 1 to {EDITED_MAX} steps, has {}", steps.len())]);
        return Err(errors);
    }
    let ids: Vec<(&str, &[String])> =
        steps.iter().map(|step| (step.id.as_str(), step.depends_on.as_slice())).collect();
    for (path, said) in unsound(&ids) {
        errors.insert(format!("plan.{path}"), said);
    }
    for (place, step) in steps.iter().enumerate() {
        if step.confidence_score.is_some_and(|score| !(0.0..=1.0).contains(&score)) {
            errors.insert(format!("plan.steps[{place}].confidenceScore"), vec!["needs 0 to 1".to_owned()]);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// What is wrong with the ids of steps and what they depend on.
fn unsound(steps: &[(&str, &[String])]) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut earlier: BTreeSet<&str> = BTreeSet::new();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    for (place, (id, depends_on)) in steps.iter().enumerate() {
        let mut add = |field: &str, said: String| {
            errors.entry(format!("steps[{place}].{field}")).or_default().push(said);
        };
        if id.is_empty() || id.len() > ID_MAX || id.starts_with('-') || !id.bytes().all(plain) {
            add("id", format!("needs 1 to {ID_MAX} of A-Z a-z 0-9 _ -, and no - in front"));
        }
        for need in depends_on.iter().filter(|need| !earlier.contains(need.as_str())) {
            add("dependsOn", format!("names {need:?}, which is no earlier step"));
        }
        if !earlier.insert(id) {
            add("id", "is also the id of an earlier step".to_owned());
        }
    }
    errors
}
