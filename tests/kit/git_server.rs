//! A server of git repositories over HTTP: git's own `http-backend`, with an optional token in front.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpListener, task::JoinHandle};

use super::git;

/// How the server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As it should.
    Fine,
    /// It does what is pushed to main, and its answer is lost.
    LosesAnswers,
    /// The same, and from then on it answers nobody.
    Breaks,
    /// It does nothing of what is pushed to main, and does not say so.
    DropsPushes,
    /// It answers nobody.
    Broken,
}

#[derive(Debug)]
struct Inner {
    home: TempDir,
    token: Option<String>,
    mood: Mutex<Mood>,
    asked: Mutex<Vec<String>>,
}

/// The server; it ends when dropped.
#[derive(Debug)]
pub(crate) struct GitServer {
    pub(crate) pair: String,
    inner: Arc<Inner>,
    serving: JoinHandle<()>,
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl GitServer {
    /// A server without repositories, which wants a token if one is given.
    #[expect(clippy::disallowed_methods, reason = "a server of a test, ended with it")]
    pub(crate) async fn start(token: Option<&str>) -> Self {
        let socket = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let pair = socket.local_addr().unwrap().to_string();
        let inner = Arc::new(Inner {
            home: tempfile::tempdir().unwrap(),
            token: token.map(str::to_owned),
            mood: Mutex::new(Mood::Fine),
            asked: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        let serving = tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
        Self { pair, inner, serving }
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.pair)
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.inner.mood.lock().unwrap() = mood;
    }

    /// The paths that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.inner.asked.lock().unwrap().clone()
    }

    /// Makes an empty repository whose HEAD names `branch`.
    pub(crate) fn empty(&self, name: &str, branch: &str) -> PathBuf {
        let path = self.inner.home.path().join(name);
        std::fs::create_dir_all(&path).unwrap();
        git(&path, &["init", "-q", "--bare", &format!("--initial-branch={branch}")]);
        git(&path, &["config", "http.receivepack", "true"]);
        path
    }

    /// Makes a repository with a commit on `branch`.
    pub(crate) fn with_a_commit(&self, name: &str, branch: &str) -> PathBuf {
        let path = self.empty(name, branch);
        commit(&path, branch, "first.txt", "one\n");
        path
    }
}

/// Has somebody else commit a file to a branch of a bare repository.
pub(crate) fn commit(bare: &Path, branch: &str, file: &str, content: &str) {
    let desk = tempfile::tempdir().unwrap();
    git(bare, &["clone", "-q", ".", &desk.path().display().to_string()]);
    let is_there = !git(bare, &["branch", "--list", branch]).is_empty();
    git(desk.path(), &["checkout", "-q", if is_there { "-f" } else { "-B" }, branch]);
    std::fs::write(desk.path().join(file), content).unwrap();
    git(desk.path(), &["add", "."]);
    git(desk.path(), &["commit", "-qm", &format!("By hand: {file}")]);
    git(desk.path(), &["push", "-q", "origin", branch]);
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 64 << 20).await.unwrap();
    inner.asked.lock().unwrap().push(parts.uri.path().to_owned());
    let wanted = inner
        .token
        .as_ref()
        .map(|token| format!("Basic {}", STANDARD.encode(format!("x-access-token:{token}"))));
    let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let mood = *inner.mood.lock().unwrap();
    if mood == Mood::Broken {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    if wanted.is_some() && shown != wanted.as_deref() {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"git\"")])
            .into_response();
    }
    if parts.uri.path().starts_with("/elsewhere") {
        return (StatusCode::FOUND, [(header::LOCATION, "/team/words.git")]).into_response();
    }
    if parts.uri.path().starts_with("/page") {
        return "<html>a page</html>".into_response();
    }
    // The command of a push stands in front of its pack, uncompressed.
    let moves_main = body.windows(16).take(200).any(|part| part == b" refs/heads/main");
    if mood == Mood::DropsPushes && moves_main {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let answered = backend(&inner, &parts.method, &parts.uri, &parts.headers, &body).await;
    match mood {
        Mood::LosesAnswers | Mood::Breaks if moves_main => {
            if mood == Mood::Breaks {
                *inner.mood.lock().unwrap() = Mood::Broken;
            }
            StatusCode::BAD_GATEWAY.into_response()
        }
        Mood::Fine | Mood::LosesAnswers | Mood::Breaks | Mood::DropsPushes | Mood::Broken => answered,
    }
}

/// Asks `git http-backend`, as a CGI program.
async fn backend(
    inner: &Inner,
    method: &Method,
    uri: &axum::http::Uri,
    headers: &HeaderMap,
    body: &Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let mut child = tokio::process::Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", inner.home.path())
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_USER", "somebody")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = body.clone();
    let fed = async move {
        // It need not read all of it.
        drop(stdin.write_all(&body).await);
    };
    let ((), output) = tokio::join!(fed, child.wait_with_output());
    let output = output.unwrap().stdout;
    let end = output.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let head = std::str::from_utf8(&output[..end]).unwrap();
    let mut response = Response::builder().status(200);
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        response = match name {
            "Status" => response.status(value.split(' ').next().unwrap().parse::<u16>().unwrap()),
            name => response.header(name, value),
        };
    }
    response.body(axum::body::Body::from(output[end + 4..].to_vec())).unwrap()
}
