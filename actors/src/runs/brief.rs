//! What a run tells the agents of its steps.

use std::fmt::Write as _;

use cendriix_protocol::{
    agent_steps::StepPolicy,
    ids::RunId,
    model_router::TaskType,
    runs::{PlanStep, Ticket},
    workflows::NodeKind,
};
use serde_json::Value;

use super::{
    inputs,
    state::{Check, Run},
};
use crate::{
    Error,
    agent_steps::conversation::Brief,
    content::{self, Contents},
    workflows::{Compiled, Workflows},
};

/// How much of a failing check's report an agent is told, in bytes.
const REPORT_MAX: usize = 16 << 10;

/// What runs tell their agents. A clone is the same.
#[derive(Clone, Debug)]
pub struct Briefs {
    contents: Contents,
    workflows: Workflows,
}

impl Briefs {
    /// Reads what runs say from where they are kept.
    pub fn new(contents: Contents, workflows: Workflows) -> Self {
        Self { contents, workflows }
    }

    /// What the agent of a step is told.
    ///
    /// # Errors
    ///
    /// When the run is not there or what it refers to cannot be read.
    pub async fn of(&self, id: RunId, place: u32) -> Result<Brief, Error> {
        let missing = Error::Missing { what: "run" };
        let run: Run = self.contents.machine(id.0).await?.ok_or(missing)?;
        let step = run.plan.steps.get(place as usize).ok_or(Error::Missing { what: "step" })?;
        let compiled = self.workflows.version(run.workspace, run.workflow, run.workflow_version).await?;
        let is_fix = place as usize + (run.fix_steps as usize) >= run.plan.steps.len();
        let mut brief = if is_fix {
            self.fix(&run).await?
        } else if compiled.node(&step.id).is_some() {
            self.node(&run, place as usize, &compiled).await?
        } else {
            self.planned(&run, &step.id).await?
        };
        brief.model = run.model.clone().or(brief.model);
        if let Some(earlier) = &run.earlier {
            write!(brief.prompt, "\n\n> An earlier attempt failed: {}", earlier.message.replace('\n', " "))
                .ok();
        }
        Ok(brief)
    }

    async fn ticket(&self, run: &Run) -> Result<Ticket, Error> {
        let input = self.contents.read::<Run>(run.workspace, run.id.0, &run.input).await?;
        let input: Value = content::json("input", &input)?;
        let text = |name: &str| input.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(match (text("title"), text("body")) {
            (Some(title), body) => Ticket { title, body: body.unwrap_or_default() },
            // A workflow of one's own may have any input.
            (None, _) => Ticket { title: run.title.clone(), body: input.to_string() },
        })
    }

    /// A step that a planner made.
    async fn planned(&self, run: &Run, id: &str) -> Result<Brief, Error> {
        let missing = || Error::Missing { what: "step of the plan" };
        let (_, detail) = run.planned.as_ref().ok_or_else(missing)?;
        let detail = self.contents.read::<Run>(run.workspace, run.id.0, detail).await?;
        let steps: Vec<PlanStep> = content::json("plan", &detail)?;
        let step = steps.into_iter().find(|step| step.id == id).ok_or_else(missing)?;
        let name = step.name.clone();
        Ok(Brief {
            prompt: step.prompt.unwrap_or_else(|| name.clone()),
            name,
            system: None,
            agent: step.agent.unwrap_or_else(|| "dev".to_owned()),
            model: None,
            policy: StepPolicy { task_type: step.task_type, ..StepPolicy::default() },
        })
    }

    /// A step that the workflow says.
    async fn node(&self, run: &Run, place: usize, compiled: &Compiled) -> Result<Brief, Error> {
        let id = &run.plan.steps[place].id;
        let node = compiled.node(id).ok_or(Error::Missing { what: "node" })?;
        let NodeKind::Agent { agent, model, policy, .. } = &node.kind else {
            return Err(Error::Missing { what: "agent node" });
        };
        let prompt = match compiled.logics.get(id) {
            Some(logic) => {
                let read = inputs::of(&self.contents, run, place, &logic.reads).await?;
                let value = logic.evaluate(&read).map_err(Error::conflict)?;
                let value: Value = content::json("prompt", &value)?;
                value.as_str().map_or_else(|| value.to_string(), str::to_owned)
            }
            None => markdown(&self.ticket(run).await?),
        };
        Ok(Brief {
            name: node.name.clone().unwrap_or_else(|| id.clone()),
            prompt,
            system: None,
            agent: agent.clone().unwrap_or_else(|| "dev".to_owned()),
            model: model.clone(),
            policy: policy.clone().unwrap_or_default(),
        })
    }

    /// A step that mends what a check found.
    async fn fix(&self, run: &Run) -> Result<Brief, Error> {
        let mut prompt = markdown(&self.ticket(run).await?);
        // Else changes contradict each other: the agent that sees them is told so.
        let failed = run.checks.last().filter(|check| !check.passed && run.to_mend.is_none());
        if let Some(Check { activity, summary, report, .. }) = failed {
            let report = self.contents.read::<Run>(run.workspace, run.id.0, report).await?;
            let report: Value = content::json("report", &report)?;
            let text = report
                .get("output")
                .and_then(Value::as_str)
                .map_or_else(|| report.to_string(), str::to_owned);
            let fence = "`".repeat(longest_fence(&text).max(2) + 1);
            let kept = tail(&text, REPORT_MAX);
            write!(
                prompt,
                "\n\n## What failed\n\nAll steps of this ticket are done, but its {} did not pass: \
                 {summary}\n\n\
                 {fence}text\n{kept}\n{fence}\n",
                activity.check()
            )
            .ok();
        }
        let name = match failed.map(|check| check.activity.check()) {
            Some("review") => "Mend what the review found",
            Some(_) => "Mend what the tests found",
            None => "Join changes that contradict each other",
        };
        Ok(Brief {
            name: name.to_owned(),
            prompt,
            system: None,
            agent: "dev".to_owned(),
            model: None,
            policy: StepPolicy { task_type: Some(TaskType::CodeGeneration), ..StepPolicy::default() },
        })
    }
}

/// A ticket as one text.
fn markdown(ticket: &Ticket) -> String {
    format!("# {}\n\n{}", ticket.title.trim(), ticket.body.trim())
}

/// The most backticks that stand together in a text.
fn longest_fence(text: &str) -> usize {
    text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0)
}

/// The end of a text, at most `max` bytes of it.
pub(super) fn tail(text: &str, max: usize) -> &str {
    let mut from = text.len().saturating_sub(max);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}
