//! Stored values as they were written once, a file each: what is on somebody's disk must still be read.
//!
//! A type that changes gets another name for its next file and keeps the old one, which must then still load.
//! `CENDRIIX_WRITE_GOLDEN=1` writes the files that are missing, and no others.

use std::{fs, path::PathBuf};

use cendriix_persistence::codec::{decode, encode};
use serde::{Serialize, de::DeserializeOwned};

/// Holds `value` against its file: the file is what would be written for it, and reads as something that is
/// written so.
pub(crate) fn holds<T: Serialize + DeserializeOwned>(name: &str, value: &impl Serialize) {
    let bytes = same(&format!("{name}.rmp"), &encode(value).unwrap());
    let read: T = decode("golden value", &bytes).unwrap();
    assert_eq!(encode(&read).unwrap(), bytes, "{name} is not written as it was read");
}

/// Holds bytes against their file and gives the file's.
pub(crate) fn same(file: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/golden").join(file);
    if !path.exists() && std::env::var_os("CENDRIIX_WRITE_GOLDEN").is_some() {
        fs::write(&path, bytes).unwrap();
    }
    let golden =
        fs::read(&path).unwrap_or_else(|error| panic!("{file}: {error}; CENDRIIX_WRITE_GOLDEN=1 writes it"));
    assert_eq!(golden, bytes, "{file} is no longer what would be written");
    golden
}
