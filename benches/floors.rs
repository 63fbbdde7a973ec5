//! What the machine can do at most: an HTTP server that does nothing, and bare syncs to the disk.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use axum::{Router, routing::get, serve::ListenerExt as _};
use tokio::net::TcpListener;

use crate::{
    Done,
    http::Target,
    load::{self, Tally, Until, count},
    server,
};

/// The argument with which the bench starts itself as the server that does nothing.
pub(crate) const HELLO: &str = "hello";

/// How long each floor is measured.
const MEASURED: Duration = Duration::from_secs(2);

/// Serves `hello` on a free port, says which one, and does not return.
pub(crate) fn serve_hello() -> Done {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let socket = TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{}", socket.local_addr()?);
        std::io::stdout().flush()?;
        let socket = socket.tap_io(|stream| drop(stream.set_nodelay(true)));
        axum::serve(socket, Router::new().route("/", get(|| async { "hello" }))).await?;
        Ok(())
    })
}

struct Hello(Child);

impl Drop for Hello {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Requests to an axum server that does nothing, in a process of its own.
pub(crate) async fn hello(connections: usize) -> Done<Tally> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut hello = Hello(command.arg(HELLO).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
    let said = hello.0.stdout.take().ok_or("no stdout")?;
    let mut addr = String::new();
    BufReader::new(said).read_line(&mut addr)?;
    let target = Target::stranger(addr.trim().parse()?);
    let request = target.get("/");
    load::run(&target, connections, Until::Time(MEASURED), move |_, _| request.clone(), load::any).await
}

/// How often a second 4 KiB can be appended to a file and synced, where the data of servers is.
pub(crate) fn syncs() -> Done<f64> {
    let home = server::home()?;
    let mut file = std::fs::File::create(home.path().join("synced"))?;
    let block = vec![7_u8; 4 << 10];
    let begun = Instant::now();
    let mut synced = 0_u32;
    while begun.elapsed() < MEASURED {
        file.write_all(&block)?;
        file.sync_data()?;
        synced += 1;
    }
    Ok(count(synced) / begun.elapsed().as_secs_f64())
}
