//! The canonical form of an entry (RFC 8785), written straight where plain JSON is canonical already.
//!
//! Sorting members and writing numbers as JavaScript does cost more than all else an entry takes, and
//! hardly an entry needs either.

use serde_json::Value;

use super::Entry;

/// The largest whole number that JavaScript, and so the canonical form, writes with all its digits.
const EXACT_MAX: u64 = 1 << 53;

/// An entry in canonical form.
pub(super) fn written(entry: &Entry<'_>) -> Vec<u8> {
    // Only maps with keys that are no strings cannot be written, and an entry has none.
    if is_canonical(entry.payload) {
        let mut body = Vec::with_capacity(512);
        if serde_json::to_writer(&mut body, entry).is_ok() {
            return body;
        }
    }
    serde_json_canonicalizer::to_vec(entry).unwrap_or_default()
}

/// Whether a value as it is written is its own canonical form: members are sorted by bytes, which for ASCII
/// is the order of RFC 8785 too, and whole numbers of up to 53 bits have one way to be written.
fn is_canonical(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => true,
        Value::Number(number) => number.as_i64().is_some_and(|number| number.unsigned_abs() <= EXACT_MAX),
        Value::Array(items) => items.iter().all(is_canonical),
        Value::Object(members) => {
            members.keys().is_sorted()
                && members.iter().all(|(name, value)| name.is_ascii() && is_canonical(value))
        }
    }
}

#[cfg(test)]
mod tests {
    use cendriix_protocol::time::Timestamp;
    use proptest::prelude::*;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::audit::Resource;

    fn values() -> impl Strategy<Value = Value> {
        let name = prop_oneof!["[a-zA-Z_\"\\\\ -]{0,4}", any::<String>(), "[\u{e000}-\u{10ffff}]{1,2}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            (-9i64..9).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "[\u{0}-\u{20}\u{7f}\"\\\\/é\u{2028}]{0,9}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(name.clone(), inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_entry_is_in_canonical_form(payload in values(), event_type in "[a-z.]{1,9}") {
            let entry = Entry {
                actor: "user:1".to_owned(),
                event_type: &event_type,
                payload: &payload,
                request_id: None,
                resource: Resource { kind: "run", id: Uuid::from_u128(3) },
                timestamp: Timestamp(1_780_000_000_000),
            };
            prop_assert_eq!(written(&entry), serde_json_canonicalizer::to_vec(&entry).unwrap());
        }
    }

    #[test]
    fn what_plain_json_writes_otherwise_is_left_to_the_rules() {
        let largest = 1_u64 << 53;
        for (value, plain) in [
            (json!({ "a": [null, true, "grüße", -3, largest] }), true),
            (json!(largest + 1), false),
            (json!(0.25), false),
            (json!({ "é": 1 }), false),
        ] {
            assert_eq!(is_canonical(&value), plain, "{value}");
        }
    }
}
