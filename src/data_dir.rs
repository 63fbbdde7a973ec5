//! The data directory: what lies where, and how the command line finds the server that holds it.
//!
//! ```text
//! data/store.redb      the database          data/keys/           signing keys, bootstrap token (no backup)
//! data/blobs/          large things          data/control.json    where the server listens (0600, while it
//! data/repositories/   projects (bare git)                        runs)
//! data/trees/          work trees
//! ```

use std::{
    fs, io,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// A data directory.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

/// How to reach the server that holds a data directory. Whoever can read it is the operator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Control {
    /// Where it listens, such as `http://127.0.0.1:8080`.
    pub url: String,
    /// The operator's secret for `/control`.
    pub token: String,
    /// Its process.
    pub pid: u32,
    /// Whether it ends with the command that started it.
    #[serde(default)]
    pub passing: bool,
}

impl Control {
    /// How to reach a server at an address.
    pub fn new(address: SocketAddr, token: String) -> Self {
        Self { url: format!("http://{address}"), token, pid: std::process::id(), passing: false }
    }
}

impl DataDir {
    /// The directory at `path`; nothing is touched.
    pub fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes the directory, readable by its owner only, when it is not there.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn create(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        // It may stand in somebody's work tree, and holds keys.
        match fs::OpenOptions::new().write(true).create_new(true).open(self.0.join(".gitignore")) {
            Ok(mut file) => file.write_all(b"*\n"),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The database.
    pub fn store(&self) -> PathBuf {
        self.0.join("store.redb")
    }

    /// The repositories that the server keeps.
    pub fn repositories(&self) -> PathBuf {
        self.0.join("repositories")
    }

    /// Large things.
    pub fn blobs(&self) -> PathBuf {
        self.0.join("blobs")
    }

    /// Signing keys.
    pub fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    fn control_file(&self) -> PathBuf {
        self.0.join("control.json")
    }

    /// Tells the command line where the server is.
    ///
    /// # Errors
    ///
    /// When the disk refuses.
    pub fn announce(&self, control: &Control) -> io::Result<()> {
        let path = self.control_file();
        drop(fs::remove_file(&path));
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(serde_json::to_string(control)?.as_bytes())
    }

    /// Takes the announcement back.
    pub fn withdraw(&self) {
        drop(fs::remove_file(self.control_file()));
    }

    /// How to reach the server that holds the directory; `None` when none has announced itself.
    pub fn control(&self) -> Option<Control> {
        serde_json::from_slice(&fs::read(self.control_file()).ok()?).ok()
    }
}
