//! The hash chain of the audit log: each workspace has its own, numbered from 1 without a gap.
//!
//! `hash = SHA-256(prev ‖ seq ‖ digest)`, where `prev` is the hash of the entry before (32 zero bytes for the
//! first), `seq` its number as eight bytes big-endian and `digest` the SHA-256 of the entry's canonical JSON
//! (RFC 8785).
//! **Invariant:** no entry can be changed, left out or put in without breaking every hash after it.

use aws_lc_rs::digest;
use bytes::Bytes;
use uuid::Uuid;

use crate::{codec::number, store::StoreError};

/// An entry of the log in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number, from 1.
    pub seq: u64,
    /// The hash of the entry before.
    pub prev: [u8; 32],
    /// Its own hash.
    pub hash: [u8; 32],
    /// The entry.
    pub body: Bytes,
}

/// The end of a chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The number of the last entry; 0 when there is none.
    pub seq: u64,
    /// Its hash.
    pub hash: [u8; 32],
}

impl Head {
    /// The hash of the entry that follows, whose canonical form has that digest.
    pub fn following(&self, digest: &[u8; 32]) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&self.hash);
        context.update(&(self.seq + 1).to_be_bytes());
        context.update(digest);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }

    /// Whether `link`, whose canonical form has that digest, continues the chain here.
    pub fn continues(&self, link: &Link, digest: &[u8; 32]) -> bool {
        link.seq == self.seq + 1 && link.prev == self.hash && link.hash == self.following(digest)
    }
}

/// The key of an entry: workspace, then number.
pub(crate) fn key(workspace: Uuid, seq: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(workspace.as_bytes());
    key[16..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// The value of an entry: the hash before, its own hash, its body.
pub(crate) fn write(prev: &[u8; 32], hash: &[u8; 32], body: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(64 + body.len());
    value.extend_from_slice(prev);
    value.extend_from_slice(hash);
    value.extend_from_slice(body);
    value
}

/// Reads an entry from its key and value.
pub(crate) fn read(key: &[u8], value: &[u8]) -> Result<Link, StoreError> {
    let unreadable =
        || StoreError::Unreadable { what: "audit entry", detail: "its key or value is too short".into() };
    let seq = number(key.get(16..)).ok_or_else(unreadable)?;
    let (prev, rest) = value.split_first_chunk::<32>().ok_or_else(unreadable)?;
    let (hash, body) = rest.split_first_chunk::<32>().ok_or_else(unreadable)?;
    Ok(Link { seq, prev: *prev, hash: *hash, body: Bytes::copy_from_slice(body) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kit::sha256;

    /// As any other program computes them that follows the formula at the top of this file.
    const KNOWN: [(&[u8], &str); 2] = [
        (b"came", "72a3de28b8ba1327303784be4afe9c3a04df62b74a1c447a8733b736be15bb02"),
        (b"went", "4a1658c6a415deb2b6db52ebab969a6e54964511ab3095fa9f2d61b72dc91666"),
    ];

    #[test]
    fn hashes_are_those_of_the_published_formula() {
        let mut head = Head::default();
        for (body, expected) in KNOWN {
            head = Head { seq: head.seq + 1, hash: head.following(&sha256(body)) };
            let seen: Vec<String> = head.hash.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(seen.concat(), expected);
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let (workspace, prev, hash) = (Uuid::from_u128(7), [1; 32], [2; 32]);
        let link = read(&key(workspace, 5), &write(&prev, &hash, b"body")).unwrap();
        assert_eq!(link, Link { seq: 5, prev, hash, body: Bytes::from_static(b"body") });
        assert!(read(&key(workspace, 5), &[0; 63]).is_err());
        assert!(read(&[0; 20], &[0; 64]).is_err());
    }
}
