//! Metering: what every model call used and cost, so that each dollar of a run can be explained.

pub mod ledger;
pub mod spent;
