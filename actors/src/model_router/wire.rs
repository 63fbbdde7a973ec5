//! The router as clients see it.

use cendriix_protocol::model_router::{
    BreakerState, Completion, ErrorClass, FinishReason, Model, ModelHealth, Models, ModelsHealth,
};

use super::{
    Asked, ModelRouter, Snapshot,
    breaker::Position,
    catalogue::{Entry, Source},
    chat::Finish,
    provider::Class,
};
use crate::{Error, caller::Caller};

impl ModelRouter {
    /// All models by where they come from.
    ///
    /// # Errors
    ///
    /// When the caller may not.
    pub fn models(&self, caller: &Caller) -> Result<Models, Error> {
        caller.may()?;
        let of = |source: Source| {
            let entries = self.catalogue().entries().iter();
            entries.filter(|entry| entry.source == source).map(Model::from).collect()
        };
        Ok(Models {
            orchestrated: of(Source::Orchestrated),
            bedrock: of(Source::Bedrock),
            cendriix_custom: of(Source::Custom),
            native: of(Source::Native),
        })
    }

    /// How all models do, as clients see it.
    ///
    /// # Errors
    ///
    /// When the caller may not.
    pub fn model_health(&self, caller: &Caller) -> Result<ModelsHealth, Error> {
        caller.may()?;
        Ok(ModelsHealth { models: self.health().into_iter().map(ModelHealth::from).collect() })
    }
}

impl From<&Entry> for Model {
    fn from(entry: &Entry) -> Self {
        Self {
            model_id: entry.id.clone(),
            provider: entry.provider.clone(),
            context_tokens: entry.context_in,
            max_output_tokens: entry.max_output,
            input_usd_per_million_tokens: entry.price.input,
            output_usd_per_million_tokens: entry.price.output,
            cached_input_usd_per_million_tokens: entry.price.cached,
            capabilities: entry.capabilities.clone(),
            note: entry.note.map(str::to_owned),
        }
    }
}

impl From<Snapshot> for ModelHealth {
    fn from(snapshot: Snapshot) -> Self {
        let Snapshot { model, endpoint, breaker, latency_ms } = snapshot;
        Self {
            model_id: model,
            endpoint,
            state: match breaker.position {
                Position::Closed => BreakerState::Closed,
                Position::Open => BreakerState::Open,
                Position::HalfOpen => BreakerState::HalfOpen,
            },
            failures: breaker.failures,
            opened_at: breaker.opened_at,
            retry_at: breaker.retry_at,
            last_error_class: breaker.last_error.map(ErrorClass::from),
            latency_ms,
        }
    }
}

impl From<Class> for ErrorClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Caller => Self::Caller,
            Class::TooLong => Self::TooLong,
            Class::Auth => Self::Auth,
            Class::Quota => Self::Quota,
            Class::RateLimited => Self::RateLimited,
            Class::TimedOut => Self::TimedOut,
            Class::Failed => Self::Failed,
            Class::BadAnswer => Self::BadAnswer,
            Class::Stopped => Self::Stopped,
        }
    }
}

impl From<Asked> for Completion {
    fn from(asked: Asked) -> Self {
        Self {
            model_id: asked.model,
            provider: asked.provider,
            response: asked.answer.text,
            input_tokens: asked.usage.input_tokens,
            output_tokens: asked.usage.output_tokens,
            latency_ms: asked.latency_ms,
            estimated_cost_usd: asked.cost,
            used_fallback: asked.used_fallback,
            finish_reason: match asked.answer.finish {
                Finish::Stop | Finish::ToolCalls => FinishReason::Stop,
                Finish::Length => FinishReason::Length,
                Finish::Refused | Finish::NeedsModel(_) => FinishReason::Refused,
            },
        }
    }
}
