//! HTTP/1.1 over a plain socket: requests as bytes, one answer at a time, and a client that reads JSON.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::Done;

/// A connection that is kept alive.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The answer to one request.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    pub(crate) async fn open(addr: SocketAddr) -> Done<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 << 10) })
    }

    /// Sends a request and reads its answer to the end.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Done<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            let searched = self.buffer.len().saturating_sub(3);
            self.read().await?;
            if let Some(end) = self.buffer[searched..].windows(4).position(|four| four == b"\r\n\r\n") {
                break searched + end + 4;
            }
        };
        let (status, length) = parsed(&self.buffer[..head])?;
        while self.buffer.len() < head + length {
            self.read().await?;
        }
        Ok(Answer { status, body: &self.buffer[head..head + length] })
    }

    async fn read(&mut self) -> Done {
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err("the server closed the connection in the middle of an answer".into()),
            _ => Ok(()),
        }
    }
}

/// Status and content length.
fn parsed(head: &[u8]) -> Done<(u16, usize)> {
    let head = std::str::from_utf8(head)?;
    let status = head.get(9..12).ok_or("an answer without a status")?.parse()?;
    let headers = head.lines().filter_map(|line| line.split_once(':'));
    let mut lengths = headers.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = lengths.next().ok_or("an answer without a content length")?;
    Ok((status, length.trim().parse()?))
}

/// Where requests go and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    /// The lines of the headers that every request has.
    headers: String,
}

impl Target {
    /// Requests of nobody.
    pub(crate) fn stranger(addr: SocketAddr) -> Self {
        Self { addr, headers: format!("Host: {addr}\r\n") }
    }

    fn with_token(&self, token: &str) -> Self {
        Self { addr: self.addr, headers: format!("{}Authorization: Bearer {token}\r\n", self.headers) }
    }

    /// A request; `more` is whole lines of headers.
    pub(crate) fn request(&self, method: &str, path: &str, more: &str, body: &str) -> Vec<u8> {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let (headers, length) = (&self.headers, body.len());
        format!("{method} {path} HTTP/1.1\r\n{headers}{more}{kind}Content-Length: {length}\r\n\r\n{body}")
            .into()
    }

    pub(crate) fn get(&self, path: &str) -> Vec<u8> {
        self.request("GET", path, "", "")
    }

    pub(crate) fn post(&self, path: &str, body: &str) -> Vec<u8> {
        self.request("POST", path, "", body)
    }
}

/// After how long without a request a connection is not used again; the server closes it after its header
/// timeout.
const IDLE_MAX: Duration = Duration::from_secs(3);

/// One connection that prepares what is measured.
pub(crate) struct Client {
    connection: Connection,
    used: Instant,
    pub(crate) target: Target,
}

impl Client {
    /// Logs in as somebody with a workspace of their own.
    pub(crate) async fn login(addr: SocketAddr) -> Done<Self> {
        let target = Target::stranger(addr);
        let mut client = Self { connection: Connection::open(addr).await?, used: Instant::now(), target };
        let profile = json!({
            "provider": "github", "oauthId": "ada", "email": "ada@example.com", "displayName": "Ada",
        });
        let session = client.post("/v1/auth/login", &profile).await?;
        client.target = client.target.with_token(text(&session["token"])?);
        Ok(client)
    }

    pub(crate) async fn get(&mut self, path: &str) -> Done<Value> {
        self.sent(self.target.get(path)).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Done<Value> {
        self.sent(self.target.post(path, &body.to_string())).await
    }

    /// The answer to a request, which must be a good one.
    pub(crate) async fn sent(&mut self, request: Vec<u8>) -> Done<Value> {
        if self.used.elapsed() > IDLE_MAX {
            self.connection = Connection::open(self.target.addr).await?;
        }
        let Answer { status, body } = self.connection.ask(&request).await?;
        self.used = Instant::now();
        if !(200..300).contains(&status) {
            return Err(format!("{status}: {}", String::from_utf8_lossy(body)).into());
        }
        Ok(serde_json::from_slice(body)?)
    }

    /// Keeps a workflow and gives its id.
    pub(crate) async fn workflow(&mut self, definition: &Value) -> Done<String> {
        let workflow = self.post("/v1/workflows", definition).await?;
        Ok(text(&workflow["id"])?.to_owned())
    }
}

pub(crate) fn text(value: &Value) -> Done<&str> {
    value.as_str().ok_or_else(|| format!("{value} is no text").into())
}

/// The first id in an answer, which is the one of what it shows.
pub(crate) fn first_id(body: &[u8]) -> Option<String> {
    let (_, rest) = std::str::from_utf8(body).ok()?.split_once(r#""id":""#)?;
    rest.split_once('"').map(|(id, _)| id.to_owned())
}
