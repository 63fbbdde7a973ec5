//! The command line's client of the public API.

use std::time::Duration;

use cendriix_protocol::{
    error::ErrorBody,
    identity::{Login, Provider, Session},
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
    token: String,
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

impl Client {
    /// Finds the server and logs in.
    pub(super) async fn connect(
        config: &Config,
        server: Option<&str>,
        token: Option<String>,
    ) -> Result<Self, Failure> {
        let base = match server {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => control(config)?.url,
        };
        let http = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_WITHIN).build();
        let http = http.map_err(Failure::of)?;
        let mut client = Self { http, base, token: String::new(), looks_max: LOOKS_MAX };
        client.token = match token {
            Some(token) => token,
            None => client.login().await?,
        };
        Ok(client)
    }

    /// Whether a server that goes away is expected to come back.
    pub(super) fn patient(self, patient: bool) -> Self {
        Self { looks_max: if patient { LOOKS_MAX } else { 1 }, ..self }
    }

    /// The local operator logs in; only a server in `dev` mode believes them.
    async fn login(&self) -> Result<String, Failure> {
        let name = std::env::var("USER").unwrap_or_else(|_| "operator".to_owned());
        let login = Login {
            provider: Provider::Github,
            oauth_id: format!("local:{name}"),
            email: format!("{name}@localhost"),
            display_name: name,
            avatar_url: None,
        };
        let request = self.http.post(format!("{}/v1/auth/login", self.base)).json(&login);
        let session: Session = read(self.send(request, READ_WITHIN).await?).await?;
        Ok(session.token)
    }

    async fn send(&self, request: RequestBuilder, within: Duration) -> Result<Response, Failure> {
        let sent = request.timeout(within).send().await;
        refused(sent.map_err(|error| self.unreachable(&error))?).await
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        Failure::lost(format!(
            "no server answers at {} ({error}); start one with `cendriix serve`",
            self.base
        ))
    }

    /// Asks and reads the answer.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let request =
            self.http.request(Method::GET, format!("{}/v1{path}", self.base)).bearer_auth(&self.token);
        read(self.send(request, READ_WITHIN).await?).await
    }

    /// Sends and reads the answer. `wait`: answer when it rests, or after so many seconds.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
        wait: Option<u64>,
    ) -> Result<T, Failure> {
        let mut request =
            self.http.post(format!("{}/v1{path}", self.base)).bearer_auth(&self.token).json(body);
        if let Some(seconds) = wait {
            request = request.header("prefer", format!("wait={seconds}"));
        }
        read(self.send(request, WITHIN).await?).await
    }

    /// Asks for something to be taken away.
    pub(super) async fn delete(&self, path: &str) -> Result<(), Failure> {
        let request = self.http.delete(format!("{}/v1{path}", self.base)).bearer_auth(&self.token);
        self.send(request, WITHIN).await.map(drop)
    }

    /// Opens an event stream after an event.
    pub(super) async fn stream(&self, path: &str, after: u64) -> Result<Response, Failure> {
        let request = self.http.get(format!("{}/v1{path}", self.base)).bearer_auth(&self.token);
        let request = request.header("last-event-id", after.to_string());
        refused(request.send().await.map_err(|error| self.unreachable(&error))?).await
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
