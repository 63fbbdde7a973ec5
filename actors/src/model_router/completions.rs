//! `POST /model-router/complete`: one request of a person, its answer, and its rows in the ledger.

use cendriix_persistence::store::{Outcome, Save};
use cendriix_protocol::{
    error::FieldErrors,
    model_router::{Complete, Completion, MAX_TOKENS},
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    Ask, Asked, Bill, ModelRouter, Refused, Unfit,
    chat::{Finish, Message, Request},
    provider::Call,
    rules,
};
use crate::{
    Error, audit,
    caller::Caller,
    content,
    kit::machine::Given,
    metering::ledger::{self, Entry},
};

impl ModelRouter {
    /// Asks for a completion and keeps what it cost. It is stopped, and kept as cancelled, when the future is
    /// dropped.
    ///
    /// # Errors
    ///
    /// When the caller may not, fields are wrong, no model fits or none answers.
    pub async fn complete(&self, caller: &Caller, body: Complete) -> Result<Completion, Error> {
        caller.may()?;
        rules::check(&body).map_err(Error::Invalid)?;
        let stop = self.0.stop.child_token();
        let call = Call { deltas: None, stop: stop.clone() };
        let (reply, done) = oneshot::channel();
        let (router, caller) = (self.clone(), caller.clone());
        self.0.tasks.spawn("completion", async move {
            // Whoever waited may be gone; the rows are written all the same.
            drop(reply.send(router.settled(&caller, body, call).await));
        });
        let guard = stop.drop_guard();
        let completed = done.await;
        guard.disarm();
        completed.map_err(|_| Error::Unavailable("the server is stopping; try again".into()))?
    }

    async fn settled(&self, caller: &Caller, body: Complete, call: Call) -> Result<Completion, Error> {
        let result = self.ask(ask(body, call)).await;
        self.charge(caller, &result).await?;
        completion(result?)
    }

    /// Writes into the ledger what an ask used that belongs to no run.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub async fn charge(&self, caller: &Caller, result: &Result<Asked, Refused>) -> Result<(), Error> {
        let bill =
            Bill { call: self.0.clock.id(), workspace: caller.workspace, run: None, step: None, agent: None };
        let given = Given { at: self.0.clock.now(), by: caller.actor(), random: 0 };
        let entries = bill.entries(result, given.at);
        if !entries.is_empty() {
            let draft = |entry: &Entry| {
                let resource = audit::Resource { kind: "model_call", id: entry.call };
                audit::draft(caller.workspace, &given, "model.called", resource, &told(entry))
            };
            let audit = entries.iter().map(draft).collect();
            let save = Save { rows: entries.iter().map(ledger::row).collect(), audit, ..Save::default() };
            match self.0.store.save(save).await {
                Outcome::Saved => {}
                outcome @ (Outcome::Conflict | Outcome::Refused(_) | Outcome::Full | Outcome::Unknown) => {
                    return Err(content::unsaved(outcome));
                }
            }
        }
        Ok(())
    }
}

fn ask(body: Complete, call: Call) -> Ask {
    let request = Request {
        system: body.system_prompt,
        messages: vec![Message::User { text: body.prompt }],
        task_type: body.task_type,
        max_tokens: body.max_tokens.unwrap_or(MAX_TOKENS),
        ..Request::default()
    };
    Ask {
        request,
        prefer: None,
        required_capabilities: body.required_capabilities,
        policy_hint: body.policy_hint,
        max_cost: body.max_cost_usd,
        call,
    }
}

/// What the audit log says of a call; never what was said in it.
fn told(entry: &Entry) -> Value {
    json!({
        "model": entry.model,
        "provider": entry.provider,
        "inputTokens": entry.input_tokens,
        "outputTokens": entry.output_tokens,
        "costMicroUsd": entry.cost.0,
        "outcome": match entry.outcome {
            ledger::Outcome::Succeeded => "succeeded",
            ledger::Outcome::Failed => "failed",
            ledger::Outcome::Cancelled => "cancelled",
            ledger::Outcome::Unreconciled => "unreconciled",
        },
    })
}

fn completion(asked: Asked) -> Result<Completion, Error> {
    if let Finish::NeedsModel(sentence) = asked.answer.finish {
        return Err(Error::conflict(sentence));
    }
    Ok(asked.into())
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let said = refused.to_string();
        match refused {
            Refused::UnknownModel { .. } => Self::field("modelId", said),
            Refused::NoneFits(unfit) => {
                let mut fields = FieldErrors::new();
                for (model, why) in unfit {
                    let field = match why {
                        Unfit::Lacks(_) => "requiredCapabilities",
                        Unfit::TooLong { .. } => "prompt",
                        Unfit::TooDear { .. } => "maxCostUsd",
                    };
                    fields.entry(field.to_owned()).or_default().push(format!("{model} {why}"));
                }
                Self::Invalid(fields)
            }
            Refused::Wrong(_) => Self::field("prompt", said),
            // Asking again does not help until somebody sets a model.
            Refused::NoModels => Self::conflict(said),
            Refused::Stopped(_) | Refused::Failed(_) => Self::Unavailable(said),
        }
    }
}
