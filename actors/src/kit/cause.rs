//! What brought a change about: who, and in which request.

use super::machine::Actor;

/// The longest id of a request, in bytes.
const LENGTH_MAX: usize = 64;

/// The id of a request, as its answer, the log and the audit log have it: 1 to 64 ASCII letters, digits and
/// hyphens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestId {
    bytes: [u8; LENGTH_MAX],
    length: u8,
}

impl RequestId {
    /// Takes a text for an id; `None` when it is none.
    pub fn new(text: &str) -> Option<Self> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_plain || !(1..=LENGTH_MAX).contains(&text.len()) {
            return None;
        }
        let mut bytes = [0; LENGTH_MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: u8::try_from(text.len()).ok()? })
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        // It was made of ASCII only.
        str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "RequestId({})", self.as_str())
    }
}

/// What brought a change about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Who.
    pub actor: Actor,
    /// In which request, if it was one.
    pub request: Option<RequestId>,
}

impl From<Actor> for Cause {
    fn from(actor: Actor) -> Self {
        Self { actor, request: None }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.actor.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_request_is_plain_and_short() {
        let longest = "a".repeat(64);
        assert_eq!(RequestId::new(&longest).unwrap().as_str(), longest);
        assert_eq!(RequestId::new("r-1").unwrap().as_str(), "r-1");
        for wrong in ["", "a b", "é", "a\n", &"a".repeat(65)] {
            assert_eq!(RequestId::new(wrong), None, "{wrong:?}");
        }
    }
}
