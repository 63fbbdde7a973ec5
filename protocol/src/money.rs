//! Money: integer millionths of a US dollar inside, a JSON number of dollars outside.

use std::{fmt, iter::Sum, ops::Add};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::ToSchema;

/// An amount in millionths of a US dollar, never negative; on the wire a number of dollars.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = f64)]
pub struct MicroUsd(pub u64);

/// The greatest amount accepted from outside: a billion dollars, still exact as a JSON number.
pub const MAX: MicroUsd = MicroUsd(1_000_000_000_000_000);

impl MicroUsd {
    /// The amount as dollars, for people and for JSON.
    #[expect(clippy::cast_precision_loss, reason = "amounts up to MAX are exact in an f64")]
    pub fn dollars(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// The nearest amount to a number of dollars; `None` when it is negative, not finite or above [`MAX`].
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to lie within 0..=MAX"
    )]
    pub fn from_dollars(dollars: f64) -> Option<Self> {
        let fits = dollars.is_finite() && (0.0..=MAX.dollars()).contains(&dollars);
        fits.then(|| Self((dollars * 1e6).round() as u64))
    }
}

impl Add for MicroUsd {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for MicroUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self(0), Add::add)
    }
}

impl fmt::Display for MicroUsd {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = if self.0 == 0 || self.0.is_multiple_of(10_000) { 2 } else { 6 };
        write!(out, "${:.decimals$}", self.dollars())
    }
}

impl Serialize for MicroUsd {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if out.is_human_readable() { out.serialize_f64(self.dollars()) } else { out.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for MicroUsd {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            let dollars = f64::deserialize(from)?;
            Self::from_dollars(dollars)
                .ok_or_else(|| D::Error::custom("expected an amount in dollars, zero or more"))
        } else {
            u64::deserialize(from).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_survive_the_wire_and_negative_amounts_do_not_enter() {
        assert_eq!(serde_json::to_string(&MicroUsd(250_000)).unwrap(), "0.25");
        assert_eq!(serde_json::from_str::<MicroUsd>("1").unwrap(), MicroUsd(1_000_000));
        assert!(serde_json::from_str::<MicroUsd>("-0.01").is_err());
        assert_eq!(MicroUsd::from_dollars(f64::NAN), None);
        assert_eq!(
            (MicroUsd(1_500_000).to_string(), MicroUsd(42).to_string()),
            ("$1.50".into(), "$0.000042".into())
        );
    }
}
