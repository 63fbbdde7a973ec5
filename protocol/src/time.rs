//! Instants: milliseconds inside, RFC 3339 in UTC on the wire.

use std::{fmt, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use utoipa::ToSchema;

/// An instant in milliseconds since 1970 (UTC); on the wire an RFC 3339 string such as
/// `2026-06-01T12:00:00.000Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, ToSchema)]
#[schema(value_type = String, format = DateTime)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The instant `by` later; stays at the end of time instead of passing it.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this instant is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(instant) => write!(out, "{instant:.3}"),
            Err(_) => write!(out, "{}", self.0),
        }
    }
}

impl std::str::FromStr for Timestamp {
    type Err = jiff::Error;
    fn from_str(text: &str) -> Result<Self, jiff::Error> {
        let instant: jiff::Timestamp = text.parse()?;
        Ok(Self(u64::try_from(instant.as_millisecond()).unwrap_or(0)))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if out.is_human_readable() { out.collect_str(self) } else { out.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            let text = String::deserialize(from)?;
            text.parse()
                .map_err(|_| D::Error::custom("expected an RFC 3339 instant such as 2026-06-01T12:00:00Z"))
        } else {
            u64::deserialize(from).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_a_string_on_the_wire_and_a_number_in_store() {
        let instant = Timestamp(1_780_315_200_500);
        let wire = serde_json::to_string(&instant).unwrap();
        assert_eq!(wire, r#""2026-06-01T12:00:00.500Z""#);
        assert_eq!(serde_json::from_str::<Timestamp>(&wire).unwrap(), instant);
        let stored = rmp_serde::to_vec_named(&instant).unwrap();
        assert_eq!(stored.len(), 9);
        assert_eq!(rmp_serde::from_slice::<Timestamp>(&stored).unwrap(), instant);
    }

    #[test]
    fn other_offsets_are_understood_and_nonsense_is_refused_with_an_example() {
        assert_eq!("2026-06-01T14:00:00+02:00".parse::<Timestamp>().unwrap(), Timestamp(1_780_315_200_000));
        let error = serde_json::from_str::<Timestamp>(r#""tomorrow""#).unwrap_err().to_string();
        assert!(error.contains("RFC 3339"), "{error}");
    }
}
