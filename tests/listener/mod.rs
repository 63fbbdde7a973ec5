//! The listener among clients that mean it no good: whoever takes too much or too long is let go, and
//! everybody else is answered.

mod abuse;
mod ending;
mod http2;
mod tls;

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
};

use crate::kit::TestServer;

/// What is waited for at most before a test gives up: a bound on failures, which tells nothing of success.
const GIVE_UP: Duration = Duration::from_mins(1);

/// Waits for something, and gives up some time.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(GIVE_UP, future).await.unwrap_or_else(|_| panic!("nothing happened"))
}

/// Does something beside the test.
#[expect(clippy::disallowed_methods, reason = "it ends with the test that waits for it")]
fn beside<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(future)
}

/// A connection without any manners of its own.
struct Raw(TcpStream);

impl Raw {
    async fn open(server: &TestServer) -> Self {
        Self(TcpStream::connect(server.server.addr()).await.unwrap())
    }

    /// A connection from another address of this machine.
    async fn open_from(server: &TestServer, address: [u8; 4]) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((address, 0))).unwrap();
        Self(socket.connect(server.server.addr()).await.unwrap())
    }

    /// Sends; `false` when the other side has closed.
    async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Asks for the health over and over on one connection; `false` when the other side has closed.
    async fn asks_for_health(&mut self, server: &TestServer) -> bool {
        let request = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n\r\n", server.server.addr());
        if !self.send(request).await {
            return false;
        }
        let mut answer = String::new();
        let mut piece = [0; 1024];
        while !answer.contains(r#"{"status":"ok"}"#) {
            match within(self.0.read(&mut piece)).await {
                Ok(read) if read > 0 => answer.push_str(&String::from_utf8_lossy(&piece[..read])),
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    /// What still comes until the other side closes.
    async fn closed(&mut self) -> String {
        let mut rest = Vec::new();
        // It may also be cut off, when it closes before it has read everything.
        within(self.0.read_to_end(&mut rest)).await.ok();
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Sends one piece after the other, a moment apart, until the other side closes; gives what it said.
    async fn drips(self, piece: &'static [u8]) -> String {
        let (mut reads, mut writes) = self.0.into_split();
        let drips = async {
            let mut moments = tokio::time::interval(Duration::from_millis(20));
            while writes.write_all(piece).await.is_ok() {
                moments.tick().await;
            }
        };
        let mut said = Vec::new();
        let hears = async {
            within(reads.read_to_end(&mut said)).await.ok();
        };
        tokio::select! {
            () = drips => (),
            () = hears => (),
        }
        reads.read_to_end(&mut said).await.ok();
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// Another client is answered as if nothing were.
async fn others_are_answered(server: &TestServer) {
    within(server.stranger().get("/healthz")).await.expect(200);
}

/// Waits until the server holds no more than so many connections.
async fn holds_at_most(server: &TestServer, most: usize) {
    let looks = async {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        while server.server.app().connections.taken() > most {
            looks.tick().await;
        }
    };
    within(looks).await;
}
