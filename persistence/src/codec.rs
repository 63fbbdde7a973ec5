//! How stored values are written: `MessagePack` with names, so that fields can be added, and fixed layouts
//! for headers.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::store::{Header, StoreError};

/// Writes a value.
///
/// # Errors
///
/// When the type cannot be written as `MessagePack`, which is a mistake in the type.
pub fn encode<T: Serialize>(value: &T) -> Result<Bytes, StoreError> {
    match rmp_serde::to_vec_named(value) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => Err(StoreError::Unreadable { what: "value to write", detail: error.to_string() }),
    }
}

/// Reads a value; `what` names it in the error.
///
/// # Errors
///
/// When the bytes are not of that type.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    rmp_serde::from_slice(bytes).map_err(|error| StoreError::Unreadable { what, detail: error.to_string() })
}

const HEADER_LEN: usize = 8 * 5 + 2 + 1;
const WORKING: u8 = 1;
const PARKED: u8 = 2;

/// Writes a header: epoch, version, seq, snapshot's seq, due instant (0 for none), schema, flags; all
/// big-endian.
pub(crate) fn write_header(header: &Header) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    let words = [header.epoch, header.version, header.seq, header.snapshot_seq, header.due_at.unwrap_or(0)];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_be_bytes());
    }
    bytes[40..42].copy_from_slice(&header.schema.to_be_bytes());
    bytes[42] = if header.working { WORKING } else { 0 } | if header.parked { PARKED } else { 0 };
    bytes
}

/// Reads a header.
pub(crate) fn read_header(bytes: &[u8]) -> Result<Header, StoreError> {
    let unreadable =
        || StoreError::Unreadable { what: "header", detail: format!("it has {} bytes", bytes.len()) };
    let word = |index: usize| number(bytes.get(index * 8..)).ok_or_else(unreadable);
    let [high, low, flags] = *bytes.get(40..).unwrap_or_default() else { return Err(unreadable()) };
    Ok(Header {
        epoch: word(0)?,
        version: word(1)?,
        seq: word(2)?,
        snapshot_seq: word(3)?,
        due_at: Some(word(4)?).filter(|at| *at > 0),
        schema: u16::from_be_bytes([high, low]),
        working: flags & WORKING != 0,
        parked: flags & PARKED != 0,
    })
}

/// Reads the big-endian number that the bytes begin with.
pub(crate) fn number(bytes: Option<&[u8]>) -> Option<u64> {
    let bytes: [u8; 8] = bytes?.get(..8)?.try_into().ok()?;
    Some(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header = Header {
            epoch: 3,
            version: 9,
            seq: 20,
            snapshot_seq: 18,
            due_at: Some(1_700_000_000_000),
            schema: 2,
            working: true,
            parked: false,
        };
        assert_eq!(read_header(&write_header(&header)).unwrap(), header);
        let idle = Header { due_at: None, working: false, parked: true, ..header };
        assert_eq!(read_header(&write_header(&idle)).unwrap(), idle);
        assert!(read_header(b"short").is_err());
    }
}
