//! TLS, with an authority of the test's own.

use std::{fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cendriix::{Config, Server, config::Tls};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use reqwest::{Client, Version};
use tempfile::TempDir;

use super::{GIVE_UP, Raw, holds_at_most, within};
use crate::kit::{
    TestServer,
    process::{Process, printed},
};

/// An authority, and what it signs for `localhost`.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn pem(label: &str, der: &[u8]) -> String {
    let lines = STANDARD.encode(der).into_bytes();
    let lines: Vec<_> = lines.chunks(64).map(String::from_utf8_lossy).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = pem("CERTIFICATE", params.self_signed(&key).unwrap().der());
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes a pair into a folder, that `change` has changed.
    fn sign_with(&self, folder: &Path, change: impl FnOnce(&mut CertificateParams)) -> Tls {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let tls = Tls { cert: folder.join("cert.pem"), key: folder.join("key.pem"), look_ms: 10 };
        fs::write(&tls.cert, pem("CERTIFICATE", cert.der())).unwrap();
        fs::write(&tls.key, pem("PRIVATE KEY", &key.serialize_der())).unwrap();
        tls
    }

    fn sign(&self, folder: &Path) -> Tls {
        self.sign_with(folder, |_| ())
    }

    /// A client that trusts this authority alone.
    fn client(&self, change: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder) -> Client {
        let trusted = reqwest::Certificate::from_pem(self.pem.as_bytes()).unwrap();
        let builder = Client::builder().no_proxy().timeout(GIVE_UP).tls_certs_only([trusted]);
        change(builder).build().unwrap()
    }
}

async fn serving(tls: Tls) -> TestServer {
    TestServer::start_with(|config| config.server.tls = tls).await
}

fn health(server: &TestServer) -> String {
    format!("https://localhost:{}/healthz", server.server.addr().port())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_protocols_are_served_under_tls_and_nothing_without_it() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let server = serving(authority.sign(folder.path())).await;
    let one = authority.client(reqwest::ClientBuilder::http1_only).get(health(&server)).send().await.unwrap();
    assert_eq!((one.status().as_u16(), one.version()), (200, Version::HTTP_11));
    let two = authority.client(|builder| builder).get(health(&server)).send().await.unwrap();
    assert_eq!((two.status().as_u16(), two.version()), (200, Version::HTTP_2));
    assert!(Authority::new().client(|builder| builder).get(health(&server)).send().await.is_err());
    assert!(!Raw::open(&server).await.asks_for_health(&server).await, "it answers without TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_go_on_is_cut_off() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let tls = authority.sign(folder.path());
    let server = TestServer::start_with(|config| {
        config.server.tls = tls;
        config.server.header_timeout_ms = 500;
    })
    .await;
    let mut raw = Raw::open(&server).await;
    raw.send(b"\x16\x03\x01").await;
    assert_eq!(raw.closed().await, "");
    holds_at_most(&server, 0).await;
    let answer = authority.client(|builder| builder).get(health(&server)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_without_a_restart_and_a_broken_one_replaces_nothing() {
    let (old, new, folder) = (Authority::new(), Authority::new(), TempDir::new().unwrap());
    let tls = old.sign(folder.path());
    let server = serving(tls.clone()).await;
    fs::write(&tls.cert, "no certificate").unwrap();
    let answer = old.client(|builder| builder).get(health(&server)).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    new.sign(folder.path());
    let renewed = async {
        // Each client connects anew.
        while new.client(|builder| builder).get(health(&server)).send().await.is_err() {}
    };
    within(renewed).await;
    assert!(old.client(|builder| builder).get(health(&server)).send().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_serve_are_refused_with_what_to_do() {
    let (authority, folder, data) = (Authority::new(), TempDir::new().unwrap(), TempDir::new().unwrap());
    let refused = async |tls: Tls| {
        let mut config = Config::default();
        config.server.listen = ([127, 0, 0, 1], 0).into();
        config.server.tls = tls;
        config.storage.data = data.path().join("data");
        Server::start(config).await.unwrap_err().to_string()
    };
    let good = authority.sign(folder.path());
    let absent = refused(Tls { cert: folder.path().join("absent.pem"), ..good.clone() }).await;
    assert!(absent.contains("absent.pem") && absent.contains("server.tls needs"), "{absent}");
    let swapped = refused(Tls { cert: good.key.clone(), key: good.cert.clone(), ..good.clone() }).await;
    assert!(swapped.contains("key.pem holds no certificate in PEM"), "{swapped}");
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    let mismatched = refused(Tls { key: authority.sign(&other).key, ..good.clone() }).await;
    assert!(mismatched.contains("is not that of the certificate"), "{mismatched}");
    let expired = authority.sign_with(&other, |params| params.not_after = date_time_ymd(2001, 1, 1));
    let expired = refused(expired).await;
    assert!(expired.contains("has expired") && expired.contains("renew"), "{expired}");
    let early = authority.sign_with(&other, |params| params.not_before = date_time_ymd(4000, 1, 1));
    let early = refused(early).await;
    assert!(early.contains("is not valid yet"), "{early}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_reaches_its_own_server_whatever_its_certificate_says() {
    let (authority, folder) = (Authority::new(), TempDir::new().unwrap());
    let tls = authority.sign_with(folder.path(), |params| params.subject_alt_names.clear());
    let data = folder.path().join("data");
    let _server = Process::serve_with(&data, |command| {
        command.env("CENDRIIX_SERVER__TLS__CERT", &tls.cert).env("CENDRIIX_SERVER__TLS__KEY", &tls.key);
    })
    .await;
    let runs = data.clone();
    let listed = tokio::task::spawn_blocking(move || printed(&runs, &["--json", "runs", "list"]));
    assert!(listed.await.unwrap().contains("runs"));
    let backup = folder.path().join("b.tar").display().to_string();
    tokio::task::spawn_blocking(move || printed(&data, &["backup", &backup])).await.unwrap();
}
