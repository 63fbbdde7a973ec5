//! Models: one way to ask any of them.
//!
//! - [`chat`]: what a model is asked and what it answers, in no provider's own words.
//! - [`provider`]: what stands between the two: an adapter to a provider, or the built-in engine.

pub mod chat;
pub mod provider;
