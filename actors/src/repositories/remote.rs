//! Repositories on other servers: what is kept of them here, and how it and they are brought together.
//!
//! ```text
//! the server's main ── fetch ──▶ refs/remote/main ──▶ the main branch of the mirror ── work, as anywhere
//! the server's main ◀── push, only from where it was ── the merge ──▶ the mirror's main, once it is there
//! ```
//!
//! **Invariant:** the main branch of a mirror is one that the server had; what the server did not take is
//! not in it.
//! **Invariant:** a branch of the server moves only from the commit that was seen there.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cendriix_protocol::ids::RunId;
use git2::{BranchType, Oid, Repository};
use tokio::sync::{OwnedMutexGuard, Semaphore};

use super::{
    Address, CommitId, Failure, Merge, RACES_MAX, Repositories, Source, branches, commits,
    failure::shown,
    heads::{Heads, explain, is_refusal},
    merge,
    names::{self, HEADS, SHOWN},
    program::{self, Call, Program, Silent},
};
use crate::{egress::Guard, reason::chain, secret::Secret};

/// What was fetched last; no branch, so that it never counts as one.
const FETCHED: &str = "refs/remote/main";
/// How long the look-up of a name may take.
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);
/// How many calls of the program go on at the same time.
const CALLS_MAX: usize = 8;
/// Who logs in where a token has no name of its own; the hosting services take any.
const NOBODY: &str = "x-access-token";

/// How repositories on other servers are reached.
#[derive(Clone, Debug)]
pub struct Remotes {
    /// What may be reached.
    pub guard: Guard,
    /// What is shown to whom: by host, or by host and the beginning of a path. `user:password`, or a token
    /// alone.
    pub tokens: BTreeMap<String, Secret>,
    /// The most bytes that the packs of a repository may take here.
    pub bytes_max: u64,
    /// How long one exchange may take.
    pub within: Duration,
}

impl Default for Remotes {
    fn default() -> Self {
        Self {
            guard: Guard::default(),
            tokens: BTreeMap::new(),
            bytes_max: 2 << 30,
            within: Duration::from_mins(10),
        }
    }
}

/// Reaches other servers.
#[derive(Debug)]
pub(super) struct Far {
    remotes: Remotes,
    program: Program,
    /// How many calls of the program may go on.
    calls: Semaphore,
    /// Who fetches or pushes, by mirror.
    turns: Mutex<BTreeMap<PathBuf, Weak<tokio::sync::Mutex<()>>>>,
}

/// An exchange with one server, at addresses that were checked.
struct Line<'f> {
    far: &'f Far,
    address: &'f Address,
    protocol: String,
    settings: Vec<(String, String)>,
    /// What must not be shown when the server says it.
    secrets: Vec<String>,
}

/// What became of moving a branch of the server.
enum Put {
    Done,
    /// It is not where it was seen.
    Moved,
}

impl Far {
    pub(super) fn new(remotes: Remotes) -> Self {
        Self {
            remotes,
            program: Program::default(),
            calls: Semaphore::new(CALLS_MAX),
            turns: Mutex::default(),
        }
    }

    /// Waits until nobody else in this process fetches into or pushes from a mirror.
    async fn turn(&self, mirror: PathBuf) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let turn = turns.get(&mirror).and_then(Weak::upgrade).unwrap_or_default();
            turns.insert(mirror, Arc::downgrade(&turn));
            turn
        };
        turn.lock_owned().await
    }

    /// The token for an address: the one with the longest place that the address is in.
    fn token(&self, address: &Address) -> Option<&Secret> {
        // A token for the usual port of https is not shown without TLS.
        let names_port = |place: &str| place.split('/').next().is_some_and(|host| host.contains(':'));
        let is_in = |place: &str| {
            let rest = address.place().strip_prefix(place);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                && (!address.is_open() || names_port(place))
        };
        let found = self.remotes.tokens.iter().filter(|(place, token)| is_in(place) && !token.is_empty());
        found.max_by_key(|(place, _)| place.len()).map(|(_, token)| token)
    }

    async fn line<'f>(&'f self, address: &'f Address) -> Result<Line<'f>, Failure> {
        let unreachable = |error| Failure::Refused(format!("cannot reach {address}: {}", chain(&error)));
        let vetted = self.remotes.guard.vet(address.as_str()).map_err(unreachable)?;
        let resolved = tokio::time::timeout(RESOLVE_WITHIN, vetted.resolve()).await;
        let late = |_| Failure::Refused(format!("the host of {address} could not be found in time"));
        let addresses = resolved.map_err(late)?.map_err(unreachable)?;
        let url = &vetted.url;
        let mut line = Line {
            far: self,
            address,
            protocol: url.scheme().to_owned(),
            settings: Vec::new(),
            secrets: Vec::new(),
        };
        if let (Some(host), Some(port)) = (url.domain(), url.port_or_known_default()) {
            line.settings.push(pinned(host, port, &addresses));
        }
        if let Some(token) = self.token(address) {
            let token = token.reveal();
            let pair = if token.contains(':') { token.to_owned() } else { format!("{NOBODY}:{token}") };
            let basic = STANDARD.encode(&pair);
            let server = url.origin().ascii_serialization();
            line.settings
                .push((format!("http.{server}/.extraHeader"), format!("Authorization: Basic {basic}")));
            let password = pair.split_once(':').map_or("", |(_, password)| password).to_owned();
            line.secrets = vec![basic, token.to_owned(), password];
            line.secrets.retain(|secret| !secret.is_empty());
        }
        Ok(line)
    }
}

/// Has git connect to these addresses, and look none up.
fn pinned(host: &str, port: u16, addresses: &[IpAddr]) -> (String, String) {
    let listed = addresses.iter().map(|address| match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    });
    let listed = listed.collect::<Vec<_>>().join(",");
    ("http.curloptResolve".to_owned(), format!("{host}:{port}:{listed}"))
}

impl Line<'_> {
    async fn ask(
        &self,
        mirror: Option<&Path>,
        arguments: &[&str],
        is_traced: bool,
    ) -> Result<program::Answer, Failure> {
        let _turn = self.far.calls.acquire().await.map_err(|_| Failure::Stopping)?;
        let call = Call {
            repository: mirror,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            settings: self.settings.clone(),
            protocol: &self.protocol,
            within: self.far.remotes.within,
            // What is pushed is here already.
            bytes_max: arguments.contains(&"fetch").then_some(self.far.remotes.bytes_max),
            is_traced,
        };
        let mut answer = self.far.program.ask(&call).await.map_err(|silent| match silent {
            Silent::Failed(failure) => failure,
            silent @ (Silent::Late(_) | Silent::TooLarge(_) | Silent::TooMuch | Silent::DiskFull) => {
                Failure::Refused(format!("{}: {silent}", self.address))
            }
        })?;
        for secret in &self.secrets {
            answer.said = answer.said.replace(secret.as_str(), "(hidden)");
            answer.stdout = answer.stdout.replace(secret.as_str(), "(hidden)");
        }
        Ok(answer)
    }

    fn refused(&self, answer: &program::Answer) -> Failure {
        Failure::Refused(explain(self.address, answer, !self.secrets.is_empty()))
    }

    /// What branches the server has.
    async fn look(&self) -> Result<Heads, Failure> {
        let asked = ["ls-remote", "--symref", "--", self.address.as_str(), "HEAD", "refs/heads/*"];
        let answer = self.ask(None, &asked, true).await?;
        if answer.succeeded { Heads::read(self.address, &answer) } else { Err(self.refused(&answer)) }
    }

    /// Brings the main branch here.
    async fn fetch(&self, mirror: &Path, branch: &str) -> Result<(), Failure> {
        let arguments = [
            "fetch",
            "--quiet",
            "--force",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--no-recurse-submodules",
            "--",
            self.address.as_str(),
            &format!("+{branch}:{FETCHED}"),
        ];
        let answer = self.ask(Some(mirror), &arguments, false).await?;
        if answer.succeeded { Ok(()) } else { Err(self.refused(&answer)) }
    }

    /// Moves a branch of the server, if it is still where it was seen.
    async fn put(
        &self,
        mirror: &Path,
        branch: &str,
        from: Option<&CommitId>,
        to: &CommitId,
    ) -> Result<Put, Failure> {
        let expected = from.map_or("", CommitId::as_str);
        let arguments = [
            "push",
            "--porcelain",
            "--no-verify",
            &format!("--force-with-lease={branch}:{expected}"),
            "--",
            self.address.as_str(),
            &format!("{to}:{branch}"),
        ];
        let (refused, is_final) = match self.ask(Some(mirror), &arguments, false).await {
            Ok(answer) if answer.succeeded => return Ok(Put::Done),
            Ok(answer) => (self.refused(&answer), is_refusal(&answer)),
            Err(failure) => (failure, false),
        };
        // An answer may have been lost: what became of it, the server tells. Where it did not refuse, it may
        // be at work on it still.
        match self.look().await {
            Ok(heads) => match heads.tip(branch) {
                Some(tip) if tip == to => Ok(Put::Done),
                tip if tip != from => Ok(Put::Moved),
                _ if is_final => Err(refused),
                _ => Err(Failure::Unknown(refused.to_string())),
            },
            Err(_) if is_final => Err(refused),
            Err(_) => Err(Failure::Unknown(refused.to_string())),
        }
    }
}

impl Repositories {
    /// Brings what is kept of a repository on another server up to date; nothing for others.
    ///
    /// # Errors
    ///
    /// When the server cannot be reached, has no such repository, or does not let us in.
    pub async fn refresh(&self, source: &Source) -> Result<(), Failure> {
        let Source::Remote { address, .. } = source else { return Ok(()) };
        let _turn = self.far.turn(self.home.path(source)).await;
        let line = self.far.line(address).await?;
        self.fetch(source, &line).await.map(drop)
    }

    /// Fetches, in one's turn.
    async fn fetch(&self, source: &Source, line: &Line<'_>) -> Result<Heads, Failure> {
        let mut heads = line.look().await?;
        let mirror = self.home.path(source);
        let branch = heads.main.clone();
        let Some(wanted) = heads.tip(&branch).cloned() else {
            self.settle(source, branch, None).await?;
            return Ok(heads);
        };
        let wanted = wanted.oid()?;
        let swept = mirror.clone();
        let is_here = self
            .reading(source, move |repo| {
                program::sweep(&swept)?;
                Ok(commits::tip(repo, FETCHED)? == Some(wanted) && repo.find_commit(wanted).is_ok())
            })
            .await?;
        let tip = if is_here {
            wanted
        } else {
            line.fetch(&mirror, &branch).await?;
            let lost = || Failure::Refused(format!("{branch} of {} is no commit", line.address));
            self.reading(source, |repo| Ok(commits::tip(repo, FETCHED)?)).await?.ok_or_else(lost)?
        };
        self.settle(source, branch.clone(), Some(tip)).await?;
        heads.branches.insert(branch, tip.into());
        Ok(heads)
    }

    /// Lets the mirror's main branch be what the server's is.
    async fn settle(&self, source: &Source, branch: String, tip: Option<Oid>) -> Result<(), Failure> {
        self.writing(source, move |_, repo| settle(repo, &branch, tip)).await
    }

    /// Shows a run on the other server.
    pub(super) async fn show_there(
        &self,
        source: &Source,
        address: &Address,
        run: RunId,
        title: &str,
        commit: &CommitId,
    ) -> Result<String, Failure> {
        let mirror = self.home.path(source);
        let _turn = self.far.turn(mirror.clone()).await;
        let name = names::branch(run, title);
        let branch = format!("{HEADS}{name}");
        let line = self.far.line(address).await?;
        for _ in 0..RACES_MAX {
            let there = line.look().await?.tip(&branch).cloned();
            let (tip, wanted) = (there.clone(), commit.clone());
            let may_move = self.reading(source, move |repo| match tip {
                None => Ok(true),
                // What somebody else made is not even here.
                Some(tip) if repo.find_commit(tip.oid()?).is_err() => Ok(false),
                Some(tip) => Ok(branches::is_of(repo, run, wanted.oid()?, tip.oid()?)?),
            });
            if !may_move.await? {
                return Err(branches::foreign(&name));
            }
            if there.as_ref() == Some(commit) {
                return Ok(name);
            }
            if let Put::Done = line.put(&mirror, &branch, there.as_ref(), commit).await? {
                return Ok(name);
            }
        }
        Err(Failure::Raced(name))
    }

    /// Merges on the other server: the merge is made here and becomes main there, then here.
    pub(super) async fn merge_there(
        &self,
        source: &Source,
        address: &Address,
        wanted: Merge,
    ) -> Result<CommitId, Failure> {
        let mirror = self.home.path(source);
        let _turn = self.far.turn(mirror.clone()).await;
        let line = self.far.line(address).await?;
        for _ in 0..RACES_MAX {
            let branch = self.fetch(source, &line).await?.main;
            let asked = wanted.clone();
            let made = self.reading(source, move |repo| merge::make(repo, &asked)).await?;
            let (from, merged) = (made.main.map(CommitId::from), CommitId::from(made.merged));
            if from.as_ref() == Some(&merged) {
                return Ok(merged);
            }
            if let Put::Done = line.put(&mirror, &branch, from.as_ref(), &merged).await? {
                self.settle(source, branch, Some(made.merged)).await?;
                return Ok(merged);
            }
        }
        Err(Failure::Refused(format!("the main branch of {address} moves on all the time; try again later")))
    }
}

/// Lets the main branch of a mirror be at a commit, or be about to be; no other branch is left that could be
/// taken for it.
fn settle(repo: &Repository, main: &str, tip: Option<Oid>) -> Result<(), Failure> {
    // First what is gone: its name may be in the way of the other one.
    for branch in repo.branches(Some(BranchType::Local))? {
        let mut branch = branch?.0.into_reference();
        let name = shown(branch.name_bytes());
        if (name != main || tip.is_none()) && !name.starts_with(SHOWN) {
            branch.delete()?;
        }
    }
    for name in [FETCHED, main] {
        if let Some(tip) = tip.filter(|tip| commits::tip(repo, name).ok().flatten() != Some(*tip)) {
            repo.reference(name, tip, true, "cendriix")?;
        }
    }
    Ok(repo.set_head(main)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn far(tokens: &[(&str, &str)]) -> Far {
        let tokens = tokens.iter().map(|(place, token)| ((*place).to_owned(), Secret::new(*token)));
        let guard = Guard::new(["localhost:1".to_owned()]);
        Far::new(Remotes { tokens: tokens.collect(), guard, ..Remotes::default() })
    }

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn a_token_is_for_its_place_only_and_the_nearest_is_taken() {
        let far = far(&[("example.com", "all"), ("example.com/team", "team"), ("example.com:444", "port")]);
        for (url, token) in [
            ("https://example.com/a", Some("all")),
            ("https://example.com/team/a", Some("team")),
            ("https://example.com/teams/a", Some("all")),
            ("https://example.com:444/team/a", Some("port")),
            ("https://example.com.evil.example/a", None),
            ("https://evil.example/example.com/a", None),
            ("http://example.com/team/a", None),
            ("http://example.com:444/a", Some("port")),
        ] {
            assert_eq!(far.token(&address(url)).map(Secret::reveal), token, "{url}");
        }
        assert!(!format!("{far:?}").contains("\"team\")"), "{far:?}");
    }

    #[test]
    fn a_main_branch_that_is_renamed_below_its_own_name_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let repo = Repository::init_bare(folder.path()).unwrap();
        let tip = commits::empty(&repo, cendriix_protocol::time::Timestamp(1_000)).unwrap();
        for main in ["refs/heads/release", "refs/heads/release/1", "refs/heads/release"] {
            settle(&repo, main, Some(tip)).unwrap();
            let own = repo.branches(Some(BranchType::Local)).unwrap();
            let own: Vec<String> = own.map(|it| shown(it.unwrap().0.get().name_bytes())).collect();
            assert_eq!(own, [main]);
        }
    }

    #[tokio::test]
    async fn a_line_is_pinned_to_what_was_checked_and_shows_the_token_to_that_server_only() {
        let far = far(&[("localhost:1", "t")]);
        let there = address("http://localhost:1/a");
        let line = far.line(&there).await.unwrap();
        let (key, value) = &line.settings[0];
        assert!(key == "http.curloptResolve" && value.starts_with("localhost:1:"), "{value}");
        let wanted = format!("Authorization: Basic {}", STANDARD.encode("x-access-token:t"));
        assert_eq!(line.settings[1], ("http.http://localhost:1/.extraHeader".to_owned(), wanted));
        for (url, said) in [
            ("https://localhost:2/a", "egress.allow"),
            ("http://localhost:2/a", "https://"),
            ("https://169.254.169.254/a", "egress.allow"),
            ("https://no-such-host.invalid/a", "cannot be found"),
        ] {
            let there = address(url);
            let refused = far.line(&there).await.err().unwrap().to_string();
            assert!(refused.contains(said), "{refused}");
        }
    }

    #[tokio::test]
    async fn git_connects_to_the_pinned_address_and_looks_nothing_up() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = server.local_addr().unwrap().port();
        let (far, there) = (far(&[]), address(&format!("http://no-such-host.invalid:{port}/a")));
        let ips = [[127, 0, 0, 1].into()];
        let settings = vec![pinned("no-such-host.invalid", port, &ips)];
        let line =
            Line { far: &far, address: &there, protocol: "http".into(), settings, secrets: Vec::new() };
        let (looked, accepted) = tokio::join!(line.look(), async { drop(server.accept().await.unwrap()) });
        let ((), said) = (accepted, looked.unwrap_err().to_string());
        assert!(!said.contains("resolve"), "{said}");
    }

    #[test]
    fn sources_are_written_and_read_as_ever() {
        let workspace = cendriix_protocol::ids::WorkspaceId(uuid::Uuid::from_u128(1));
        let sources = vec![
            Source::Managed { workspace, project: uuid::Uuid::from_u128(2) },
            Source::Path("/home/ada/words".into()),
            Source::Remote { workspace, address: address("https://example.com/team/words.git") },
        ];
        crate::golden::holds::<Vec<Source>>("repository-sources", &sources);
    }

    #[tokio::test]
    async fn one_at_a_time_fetches_into_a_mirror() {
        let far = far(&[]);
        let turn = far.turn("a".into()).await;
        drop(far.turn("b".into()).await);
        let waits = far.turn("a".into());
        tokio::pin!(waits);
        assert!(futures::poll!(&mut waits).is_pending());
        drop(turn);
        drop(waits.await);
        assert!(far.turns.lock().unwrap().len() <= 2);
    }
}
