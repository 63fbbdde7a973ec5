//! The server that holds the data directory, the address, and who may come in.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use super::Finding;
use crate::{
    config::{AuthMode, Config},
    data_dir::{Control, DataDir},
};

/// How long a server may take to say that it is there.
const HERE_WITHIN: Duration = Duration::from_secs(3);

/// How many processes are looked at for who holds a port.
const PROCESSES_MAX: usize = 10_000;

/// Looks at the server, the address and who may come in.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let control = DataDir::at(&config.storage.data).control();
    let answers = match &control {
        Some(control) => answers(control).await,
        None => false,
    };
    let mut found = vec![server(control.as_ref(), answers)];
    let held = control.filter(|_| answers).and_then(|control| control.url.rsplit(':').next()?.parse().ok());
    found.push(address(config.server.listen, held));
    if let Some(admin) = config.admin.listen {
        let serves = answers && TcpListener::bind(admin).is_err();
        found.push(address(admin, serves.then_some(admin.port())));
    }
    found.push(open(config));
    found
}

async fn answers(control: &Control) -> bool {
    let Ok(http) = reqwest::Client::builder().no_proxy().timeout(HERE_WITHIN).build() else { return false };
    http.get(format!("{}/healthz", control.url)).send().await.is_ok_and(|answer| answer.status().is_success())
}

fn server(control: Option<&Control>, answers: bool) -> Finding {
    const NAME: &str = "server";
    match control {
        None => Finding::good(NAME, "none runs on this data directory"),
        Some(Control { url, pid, .. }) if answers => {
            Finding::good(NAME, format!("process {pid} answers at {url}"))
        }
        Some(Control { url, pid, .. }) if fs::exists(format!("/proc/{pid}")).unwrap_or(false) => {
            Finding::weak(
                NAME,
                format!("process {pid} is there, but nothing answers at {url}"),
                format!("see what process {pid} is; if it is a cendriix that hangs, stop it: kill {pid}"),
            )
        }
        Some(Control { pid, .. }) => Finding::weak(
            NAME,
            format!("process {pid} ended without saying so (control.json is still there)"),
            "nothing has to be done: the next start takes up where it ended",
        ),
    }
}

/// Whether an address can be listened on; `held` is the port of the server that runs already.
fn address(wanted: SocketAddr, held: Option<u16>) -> Finding {
    const NAME: &str = "address";
    if held == Some(wanted.port()) {
        return Finding::good(NAME, format!("{wanted} is held by the running server"));
    }
    let Err(error) = TcpListener::bind(wanted) else {
        return Finding::good(NAME, format!("{wanted} is free"));
    };
    if error.kind() == std::io::ErrorKind::AddrInUse {
        let holder = holder(wanted.port()).unwrap_or_else(|| "a process of somebody else".to_owned());
        let mend = "choose another with --listen, or stop what uses it";
        return Finding::bad(NAME, format!("{wanted} is in use by {holder}"), mend);
    }
    let mend = if error.kind() == std::io::ErrorKind::PermissionDenied {
        "choose a port from 1024 on with --listen, or give the program CAP_NET_BIND_SERVICE"
    } else {
        "choose an address that this machine has with --listen"
    };
    Finding::bad(NAME, format!("{wanted} cannot be listened on: {error}"), mend)
}

/// The process that listens on a port, as far as this user may see it.
fn holder(port: u16) -> Option<String> {
    let listening = |file: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().skip(1).filter_map(|line| socket(line, port)).collect::<Vec<_>>()
    };
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().flat_map(listening).collect();
    let holds = |pid: &str| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut links = files.filter_map(|file| fs::read_link(file.path()).ok());
        links.any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
    };
    let names = fs::read_dir("/proc").ok()?.take(PROCESSES_MAX).flatten();
    let mut pids = names.filter_map(|name| name.file_name().into_string().ok());
    let pid = pids.find(|name| name.bytes().all(|byte| byte.is_ascii_digit()) && holds(name))?;
    let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(format!("process {pid} ({})", program.trim()))
}

/// Reads a line of the kernel's table: the socket's name, when it listens on the port.
fn socket(line: &str, port: u16) -> Option<String> {
    const LISTENS: &str = "0A";
    let columns: Vec<&str> = line.split_whitespace().collect();
    let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
    let number = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
    (number == port && *state == LISTENS).then(|| format!("socket:[{inode}]"))
}

/// Who may come in, and who may listen in.
fn open(config: &Config) -> Finding {
    const NAME: &str = "who may come in";
    let (listen, is_read) = (config.server.listen, !config.server.tls.is_on());
    let is_local = listen.ip().is_loopback();
    match config.auth.mode {
        AuthMode::Dev if is_local => {
            Finding::good(NAME, "this machine only; every client is believed (auth.mode = \"dev\")")
        }
        AuthMode::Dev => Finding::weak(
            NAME,
            format!("everybody who reaches {listen} can log in as anybody (auth.mode = \"dev\")"),
            "set auth.mode = \"oidc\", or listen on 127.0.0.1",
        ),
        AuthMode::Oidc if is_read && !is_local => Finding::weak(
            NAME,
            format!("who logs in at {}; others on the way can read along (no TLS)", config.auth.oidc.issuer),
            "set server.tls, or listen on 127.0.0.1 and put a server with TLS in front",
        ),
        AuthMode::Oidc => Finding::good(NAME, format!("who logs in at {}", config.auth.oidc.issuer)),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn whoever_holds_a_port_is_named() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = socket.local_addr().unwrap();
        let found = address(addr, None);
        assert_eq!(found.verdict, Verdict::Bad);
        assert!(found.said.contains(&std::process::id().to_string()), "{}", found.said);
        assert_eq!(address(addr, Some(addr.port())).verdict, Verdict::Good);
        drop(socket);
        assert_eq!(address(addr, None).verdict, Verdict::Good);
    }

    #[test]
    fn a_public_address_without_log_in_is_told() {
        let mut config = Config::default();
        assert_eq!(open(&config).verdict, Verdict::Good);
        config.server.listen = ([0, 0, 0, 0], 8080).into();
        config.auth.dev_allow_public = true;
        assert_eq!(open(&config).verdict, Verdict::Weak);
        config.auth.mode = AuthMode::Oidc;
        assert!(open(&config).mend.unwrap().contains("server.tls"));
        config.server.tls.cert = "cert.pem".into();
        assert_eq!(open(&config).verdict, Verdict::Good);
    }

    #[test]
    fn a_server_that_is_gone_is_told_from_one_that_hangs() {
        let gone = Control { pid: u32::MAX, ..Control::new(([127, 0, 0, 1], 1).into(), String::new()) };
        assert!(server(Some(&gone), false).said.contains("ended without saying so"));
        let hangs = Control::new(([127, 0, 0, 1], 1).into(), String::new());
        assert!(server(Some(&hangs), false).mend.unwrap().contains("kill"));
    }
}
