//! Agent steps: turns of a model and calls of tools, under a policy.

pub mod tools;
