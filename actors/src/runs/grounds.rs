//! Which repositories runs may work on, and where they stand.

use std::path::{Component, Path, PathBuf};

use cendriix_protocol::{
    ids,
    runs::{RepositoryRef, RunRepository},
};

use super::state::{Repository, Run, Source};
use crate::{
    Error, audit,
    caller::Caller,
    repositories::{Address, Failure, Repositories},
};

/// The project of a workspace that runs work on when they name no repository.
const PROJECT: &str = "default";
/// The longest name of a project, in bytes.
const PROJECT_MAX: usize = 64;

/// Which repositories on the server's disk may be named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reachable {
    /// All: whoever can ask this server is the one who runs it.
    Everything,
    /// Those below these folders.
    Below(Vec<PathBuf>),
}

/// The repositories that runs may work on. A clone is the same.
#[derive(Clone, Debug)]
pub struct Grounds {
    repositories: Repositories,
    reachable: Reachable,
}

impl Grounds {
    /// Lets runs work on these.
    pub fn new(repositories: Repositories, reachable: Reachable) -> Self {
        Self { repositories, reachable }
    }

    /// The repository that a run is to work on, and where it stands.
    ///
    /// # Errors
    ///
    /// When it is named wrongly, may not be used, or is none.
    pub(super) async fn find(
        &self,
        caller: &Caller,
        asked: Option<&RepositoryRef>,
    ) -> Result<Repository, Error> {
        let default = RepositoryRef { project: Some(PROJECT.to_owned()), ..RepositoryRef::default() };
        let (source, project) = match asked.unwrap_or(&default) {
            RepositoryRef { project: Some(project), path: None, url: None } => {
                (managed(caller, project)?, Some(project.clone()))
            }
            RepositoryRef { project: None, path: Some(path), url: None } => (self.path(path).await?, None),
            RepositoryRef { project: None, path: None, url: Some(url) } => (remote(caller, url)?, None),
            RepositoryRef { .. } => {
                return Err(Error::field("repository", "needs exactly one of project, path and url"));
            }
        };
        let base = self.base(&source).await?;
        Ok(Repository { source, project, base, main: None })
    }

    /// The same repository as it stands by now.
    pub(super) async fn again(&self, repository: &Repository) -> Result<Repository, Error> {
        let base = self.base(&repository.source).await?;
        Ok(Repository { base, main: None, ..repository.clone() })
    }

    async fn base(&self, source: &Source) -> Result<Option<super::state::CommitId>, Error> {
        self.repositories.refresh(source).await.map_err(unusable)?;
        Ok(self.repositories.describe(source).await.map_err(unusable)?.head)
    }

    async fn path(&self, path: &str) -> Result<Source, Error> {
        if path.contains("://") {
            return Err(Error::field("repository.path", "is an address; name it as repository.url"));
        }
        let wanted = Path::new(path);
        let is_plain = wanted.is_absolute() && !wanted.components().any(|part| part == Component::ParentDir);
        if !is_plain {
            return Err(Error::field("repository.path", "needs an absolute path without `..`"));
        }
        let refused = || {
            let said =
                format!("{path} is not below a folder of repositories.allow in the server's configuration");
            Err(Error::field("repository.path", said))
        };
        if !self.allows(wanted) {
            return refused();
        }
        let source = self.repositories.open_path(wanted).await.map_err(unusable)?;
        if matches!(&source, Source::Path(found) if self.repositories.owns(found)) {
            let said = "leads into the server's own data; name a project instead";
            return Err(Error::field("repository.path", said));
        }
        // What is found around a path, or behind a link in it, is another one.
        match &source {
            Source::Path(found) if !self.allows(found) => refused(),
            Source::Path(_) | Source::Managed { .. } | Source::Remote { .. } => Ok(source),
        }
    }

    fn allows(&self, path: &Path) -> bool {
        match &self.reachable {
            Reachable::Everything => true,
            Reachable::Below(folders) => {
                let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
                folders.iter().any(|folder| {
                    let folder = folder.canonicalize().unwrap_or_else(|_| folder.clone());
                    real.starts_with(folder)
                })
            }
        }
    }

    /// The repository of a run, as clients see it.
    pub(super) fn shown(&self, run: &Run, repository: &Repository) -> RunRepository {
        RunRepository {
            project: repository.project.clone(),
            url: match &repository.source {
                Source::Remote { address, .. } => Some(address.to_string()),
                Source::Managed { .. } | Source::Path(_) => None,
            },
            path: self
                .repositories
                .path(&repository.source)
                .display()
                .to_string()
                .trim_end_matches('/')
                .to_owned(),
            base_commit: repository.base.as_ref().map(ToString::to_string),
            commit: run.commit.clone(),
            branch: run.branch.clone(),
        }
    }
}

/// The repository that the server keeps for a workspace under a name.
fn managed(caller: &Caller, name: &str) -> Result<Source, Error> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.is_empty() || name.len() > PROJECT_MAX || name.starts_with('-') || !name.bytes().all(plain) {
        let said = format!("needs 1 to {PROJECT_MAX} of a-z 0-9 -, and no - in front");
        return Err(Error::field("repository.project", said));
    }
    let named = [caller.workspace.0.as_bytes().as_slice(), b"project", name.as_bytes()].concat();
    let mut digest = [0; 16];
    digest.copy_from_slice(&audit::sha256(&named)[..16]);
    let project = ids::derive(caller.workspace.0, u128::from_be_bytes(digest));
    Ok(Source::Managed { workspace: caller.workspace, project })
}

/// The repository on another server that an address leads to.
fn remote(caller: &Caller, url: &str) -> Result<Source, Error> {
    let address =
        Address::parse(url).map_err(|failure| Error::field("repository.url", failure.to_string()))?;
    Ok(Source::Remote { workspace: caller.workspace, address })
}

fn unusable(failure: Failure) -> Error {
    if matches!(failure, Failure::NoRepository(_) | Failure::Refused(_)) {
        Error::field("repository", failure.to_string())
    } else {
        Error::from(failure)
    }
}
