//! How lenient our numbers are: an integer may come as `740` or as `740.0`, which JSON Schema calls the same.

use serde::{Deserialize, Deserializer, de::Error as _};

/// Reads a non-negative integer that may be written with a zero fraction; `null` and absence are `None`.
///
/// # Errors
///
/// When the number is negative, has a fraction or does not fit.
pub fn integer<'de, D: Deserializer<'de>, T: TryFrom<u64>>(from: D) -> Result<Option<T>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(from)? else { return Ok(None) };
    let whole = number.as_u64().or_else(|| number.as_f64().and_then(whole));
    let fits = whole.and_then(|whole| T::try_from(whole).ok());
    fits.map(Some).ok_or_else(|| D::Error::custom("expected a whole number, zero or more"))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be whole and within 2^53"
)]
fn whole(number: f64) -> Option<u64> {
    let fits = number.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&number);
    fits.then_some(number as u64)
}
