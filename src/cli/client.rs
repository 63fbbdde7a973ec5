//! The command line's client of the public API.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cendriix_protocol::{
    error::ErrorBody,
    identity::{BootstrapLogin, LoginBody, ProfileLogin, Provider, Session},
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::{Serialize, de::DeserializeOwned};

use super::Failure;
use crate::{
    Config,
    data_dir::{Control, DataDir},
};

/// How long a request that only reads may take; event streams are exempt.
const READ_WITHIN: Duration = Duration::from_secs(90);
/// How long one that changes something may take: the server may have to fetch a large repository for it.
const WITHIN: Duration = Duration::from_mins(11);
/// How long a server may take to be connected to.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// How often a server that went away is looked for, each half a second.
const LOOKS_MAX: u32 = 30;

/// A client that is logged in.
#[derive(Clone, Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    token: Arc<Mutex<String>>,
    /// What it logs in with again once its token has ended; nothing where the token was given.
    login: Option<LoginBody>,
    /// How often a server that went away is looked for.
    pub(super) looks_max: u32,
}

/// The server that holds the data directory.
pub(super) fn control(config: &Config) -> Result<Control, Failure> {
    let data = DataDir::at(&config.storage.data);
    data.control().ok_or_else(|| {
        Failure::new(format!(
            "no server runs on {}; start one with `cendriix serve`, or name one with --server URL",
            data.path().display()
        ))
    })
}

/// The server to talk to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'a> {
    /// One that somebody named.
    Named(&'a str),
    /// One that this command started.
    Own(&'a str),
    /// The one that holds the data directory.
    Here,
}

impl Client {
    /// Finds the server and logs in.
    pub(super) async fn connect(
        config: &Config,
        target: Target<'_>,
        token: Option<String>,
    ) -> Result<Self, Failure> {
        let base = match target {
            Target::Named(url) => url.trim_end_matches('/').to_owned(),
            Target::Own(url) => url.to_owned(),
            Target::Here => control(config)?.url,
        };
        let http = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_WITHIN).build();
        let http = http.map_err(Failure::of)?;
        let login = if token.is_none() { Some(operator(config, target)?) } else { None };
        let token = Arc::new(Mutex::new(token.unwrap_or_default()));
        let client = Self { http, base, token, login, looks_max: LOOKS_MAX };
        client.log_in().await?;
        Ok(client)
    }

    /// Whether a server that goes away is expected to come back.
    pub(super) fn patient(self, patient: bool) -> Self {
        Self { looks_max: if patient { LOOKS_MAX } else { 1 }, ..self }
    }

    /// Gets a token, unless one was given.
    async fn log_in(&self) -> Result<(), Failure> {
        let Some(login) = &self.login else { return Ok(()) };
        let request = self.http.post(format!("{}/v1/auth/login", self.base)).json(login);
        let sent = request.timeout(READ_WITHIN).send().await.map_err(|error| self.unreachable(&error))?;
        let session: Session = read(refused(sent).await.map_err(not_believed)?).await?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = session.token;
        Ok(())
    }

    fn token(&self) -> String {
        self.token.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends a request with the token; one that has ended is renewed first.
    async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let again = request.try_clone().filter(|_| self.login.is_some());
        let sent = request.bearer_auth(self.token()).send().await;
        let response = sent.map_err(|error| self.unreachable(&error))?;
        match again {
            Some(again) if response.status() == StatusCode::UNAUTHORIZED => {
                self.log_in().await?;
                let sent = again.bearer_auth(self.token()).send().await;
                refused(sent.map_err(|error| self.unreachable(&error))?).await
            }
            Some(_) | None => refused(response).await,
        }
    }

    fn to(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}/v1{path}", self.base))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::lost(format!(
            "no server answers at {} ({error}); start one with `cendriix serve`",
            self.base
        ))
    }

    /// Asks and reads the answer.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        read(self.send(self.to(Method::GET, path).timeout(READ_WITHIN)).await?).await
    }

    /// Sends and reads the answer. `wait`: answer when it rests, or after so many seconds.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
        wait: Option<u64>,
    ) -> Result<T, Failure> {
        let mut request = self.to(Method::POST, path).timeout(WITHIN).json(body);
        if let Some(seconds) = wait {
            request = request.header("prefer", format!("wait={seconds}"));
        }
        read(self.send(request).await?).await
    }

    /// Asks for something to be taken away.
    pub(super) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.send(self.to(Method::DELETE, path).timeout(WITHIN)).await.map(drop)
    }

    /// Opens an event stream after an event.
    pub(super) async fn stream(&self, path: &str, after: u64) -> Result<Response, Failure> {
        self.send(self.to(Method::GET, path).header("last-event-id", after.to_string())).await
    }
}

/// What the local operator logs in with. The bootstrap token goes to the data directory's own server only.
fn operator(config: &Config, target: Target<'_>) -> Result<LoginBody, Failure> {
    let believes = config.auth.believes_its_clients() || matches!(target, Target::Named(_));
    if believes {
        let name = std::env::var("USER").unwrap_or_else(|_| "operator".to_owned());
        return Ok(LoginBody::Profile(ProfileLogin {
            provider: Provider::Github,
            oauth_id: format!("local:{name}"),
            email: format!("{name}@localhost"),
            display_name: name,
            avatar_url: None,
        }));
    }
    let keys = DataDir::at(&config.storage.data).keys();
    let token = config.auth.bootstrap(&keys).map_err(|error| Failure::with(3, error))?;
    let token = token.ok_or_else(|| Failure::with(3, NOT_BELIEVED))?;
    Ok(LoginBody::Bootstrap(BootstrapLogin { bootstrap_token: token.reveal().to_owned() }))
}

const NOT_BELIEVED: &str = "this server wants to know who you are: give an API key or a token of its issuer \
    with --token (or CENDRIIX_TOKEN), or, as its operator, its configuration with auth.bootstrap_token";

/// Says what to do where the server does not take the local operator's word.
fn not_believed(failure: Failure) -> Failure {
    if failure.is_about_credentials() {
        Failure::with(3, format!("{failure}\n{NOT_BELIEVED}"))
    } else {
        failure
    }
}

/// Asks the operator's door of a server.
pub(super) async fn operate<T: DeserializeOwned>(
    control: &Control,
    path: &str,
    body: &(impl Serialize + Sync),
) -> Result<T, Failure> {
    let http = reqwest::Client::builder().no_proxy().build().map_err(Failure::of)?;
    let request = http.post(format!("{}/control{path}", control.url)).bearer_auth(&control.token).json(body);
    let sent = request.send().await;
    read(
        refused(sent.map_err(|error| Failure::new(format!("{} does not answer: {error}", control.url)))?)
            .await?,
    )
    .await
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<T, Failure> {
    response.json().await.map_err(|error| Failure::new(format!("the answer could not be read: {error}")))
}

async fn refused(response: Response) -> Result<Response, Failure> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return Ok(response);
    }
    let code = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => 3,
        StatusCode::NOT_FOUND => 4,
        StatusCode::CONFLICT => 5,
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::BAD_REQUEST => 2,
        _ => 1,
    };
    let Ok(body) = response.json::<ErrorBody>().await else {
        return Err(Failure::with(code, format!("the server answered {status}")));
    };
    let mut said = vec![body.message];
    said.extend(body.field_errors.iter().map(|(path, said)| format!("  {path}: {}", said.join("; "))));
    said.extend(body.current_status.map(|status| format!("  it is {status}")));
    let possible = body.allowed_actions.filter(|actions| !actions.is_empty());
    said.extend(possible.map(|actions| format!("  possible: {}", actions.join(", "))));
    Err(Failure::with(code, said.join("\n")))
}

#[cfg(test)]
mod tests {
    use cendriix_protocol::runs::Runs;

    use super::*;
    use crate::Server;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_command_that_outlives_its_token_logs_in_again() {
        let home = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.listen = ([127, 0, 0, 1], 0).into();
        config.storage.data = home.path().join("data");
        config.sandbox.helper = "/bin/false".into();
        let server = Server::start_for_command(config.clone()).await.unwrap();
        let url = format!("http://{}", server.addr());
        let client = Client::connect(&config, Target::Own(&url), None).await.unwrap();
        let with_token = Client::connect(&config, Target::Own(&url), Some(client.token())).await.unwrap();
        let (tokens, clock) = (server.app().identity.tokens(), &server.app().clock);
        tokens.rotate(true, clock.now()).unwrap();
        let refused = with_token.get::<Runs>("/runs").await.unwrap_err();
        assert!(
            refused.to_string().contains("log in again"),
            "a token that was given is not replaced: {refused}"
        );
        client.get::<Runs>("/runs").await.unwrap();
        tokens.rotate(true, clock.now()).unwrap();
        client
            .post::<serde_json::Value>("/workspaces", &serde_json::json!({ "name": "n" }), None)
            .await
            .unwrap();
        server.stop().await;
    }
}
