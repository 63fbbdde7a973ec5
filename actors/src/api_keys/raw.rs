//! The text of an API key: `ak_<16 hex digits: public>_<64: secret><8: checksum>`.
//!
//! The public part finds the key, the 256 random bits of the secret prove it, and the checksum (the first
//! four bytes of the SHA-256 of all before it) tells a mistyped key from an unknown one without looking
//! anywhere; scanners that look for secrets in code can use it too.

use aws_lc_rs::rand;

use crate::{Error, audit::sha256, secret::Secret};

const PREFIX: &str = "ak_";
const PUBLIC: usize = 16;
const SECRET: usize = 64;
const CHECKSUM: usize = 8;
/// The length of a key.
const LENGTH: usize = PREFIX.len() + PUBLIC + 1 + SECRET + CHECKSUM;

/// Whether a token means to be an API key.
pub fn is_meant(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// An API key as it is sent.
#[derive(Debug)]
pub struct RawKey(Secret);

impl RawKey {
    /// A key that nobody has yet.
    ///
    /// # Errors
    ///
    /// When the system gives no random bits.
    pub fn new() -> Result<Self, Error> {
        let (mut public, mut secret) = ([0; PUBLIC / 2], [0; SECRET / 2]);
        let filled = rand::fill(&mut public).and_then(|()| rand::fill(&mut secret));
        filled.map_err(|_| Error::Unavailable("the system gives no random bits; try again".into()))?;
        let before = format!("{PREFIX}{}_{}", hex(&public), hex(&secret));
        let checksum = checksum(&before);
        Ok(Self(Secret::new(before + &checksum)))
    }

    /// Reads a key as it was sent; `None` when it is mistyped.
    pub fn read(text: &str) -> Option<Self> {
        let sound = text.len() == LENGTH && text.is_ascii() && is_meant(text);
        let (before, sum) = text.split_at_checked(LENGTH - CHECKSUM).filter(|_| sound)?;
        (checksum(before) == sum).then(|| Self(Secret::new(text)))
    }

    /// The whole text, to be shown once.
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// The part that finds it.
    pub fn public(&self) -> &str {
        self.0.reveal().get(PREFIX.len()..PREFIX.len() + PUBLIC).unwrap_or_default()
    }

    /// What is kept of it.
    pub fn hash(&self) -> [u8; 32] {
        sha256(self.0.reveal().as_bytes())
    }
}

/// What a key begins with, by its public part.
pub fn prefix(public: &str) -> String {
    format!("{PREFIX}{public}")
}

fn checksum(text: &str) -> String {
    hex(&sha256(text.as_bytes())[..CHECKSUM / 2])
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_no_other_does() {
        let key = RawKey::new().unwrap();
        let text = key.reveal();
        assert_eq!(text.len(), LENGTH);
        assert!(text.starts_with(&prefix(key.public())), "{text}");
        assert_eq!(RawKey::read(text).unwrap().hash(), key.hash());
        assert_ne!(RawKey::new().unwrap().reveal(), text);
        for place in 0..LENGTH {
            let mut other = text.to_owned();
            let letter = if &text[place..=place] == "0" { "1" } else { "0" };
            other.replace_range(place..=place, letter);
            assert!(RawKey::read(&other).is_none(), "{other}");
        }
        for other in ["", "ak_", &text[1..], &format!("{text}0"), &text.to_uppercase(), &"é".repeat(46)] {
            assert!(RawKey::read(other).is_none(), "{other}");
        }
    }

    #[test]
    fn a_key_does_not_show_itself() {
        let key = RawKey::new().unwrap();
        assert!(!format!("{key:?}").contains(key.public()));
    }
}
