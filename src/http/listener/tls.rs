//! TLS of those who come in: the certificate is read from files, looked at before it is shown to anybody, and
//! read again when the files change.
//!
//! **Invariant:** what serves is a whole pair that was found good; files that cannot be used replace nothing.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use cendriix_protocol::time::Timestamp;
use tokio_rustls::rustls::{
    self, CertificateError, InconsistentKeys, RootCertStore, ServerConfig,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem, pem::PemObject as _},
    server::{ClientHello, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::config;

/// The largest file that is read for a certificate or a key, in bytes.
const FILE_MAX: u64 = 1 << 20;
/// What is said of a file without the part that is looked for.
const NOTHING: &str = "it has no such part";
/// How long before its end a certificate is warned about.
const SOON: Duration = Duration::from_hours(14 * 24);

/// A certificate or its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; server.tls needs the PEM files of a certificate and its key")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{path} holds no {what} in PEM: {said}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why it was not found.
        said: String,
    },
    /// The two do not belong together.
    #[error(
        "the key in {key} is not that of the certificate in {cert}; name the pair that was made together"
    )]
    Mismatched {
        /// The file of the certificate.
        cert: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// The certificate has ended or not begun.
    #[error("the certificate in {path} {said}; renew it, or set the machine's clock")]
    Untimely {
        /// The file.
        path: PathBuf,
        /// Which of the two.
        said: &'static str,
    },
    /// The library refuses.
    #[error("TLS cannot be set up: {0}")]
    Refused(#[from] rustls::Error),
}

/// The certificate that a server shows, and where it comes from.
#[derive(Debug)]
pub struct Certificate {
    files: config::Tls,
    shown: RwLock<Arc<CertifiedKey>>,
}

/// Tells files apart from what they were.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen([Option<(i64, i64, u64, u64)>; 2]);

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// When they cannot be read, do not belong together, or are not valid at `now`.
    pub fn open(files: &config::Tls, now: Timestamp) -> Result<Arc<Self>, TlsError> {
        let shown = RwLock::new(Arc::new(read(files, now)?));
        Ok(Arc::new(Self { files: files.clone(), shown }))
    }

    /// How connections are taken over into TLS, by HTTP/2 or HTTP/1.1.
    ///
    /// # Errors
    ///
    /// When the library refuses its own defaults.
    pub fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Looks for changes of the files, for ever.
    pub async fn follow(self: Arc<Self>, now: impl Fn() -> Timestamp) {
        let mut looks = tokio::time::interval(config::Server::wait(self.files.look_ms));
        let mut seen = seen(&self.files);
        loop {
            looks.tick().await;
            let found = self::seen(&self.files);
            if found == seen {
                continue;
            }
            // What is half written is looked at again: it is another file once it is whole.
            seen = found;
            match read(&self.files, now()) {
                Ok(read) => {
                    *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(read);
                    tracing::info!("the TLS certificate was read again");
                }
                Err(error) => {
                    tracing::error!(%error, "changed TLS files cannot be used, so the former pair stays");
                }
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.shown.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn seen(files: &config::Tls) -> Seen {
    let one = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.mtime(), found.mtime_nsec(), found.ino(), found.len()))
    };
    Seen([one(&files.cert), one(&files.key)])
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let length = fs::metadata(path).map_err(unreadable)?.len();
    if length > FILE_MAX {
        return Err(unreadable(io::Error::other(format!("it has {length} bytes, more than {FILE_MAX}"))));
    }
    fs::read(path).map_err(unreadable)
}

fn read(files: &config::Tls, now: Timestamp) -> Result<CertifiedKey, TlsError> {
    let malformed =
        |path: &Path, what, said: String| TlsError::Malformed { path: path.to_owned(), what, said };
    let said = |error: pem::Error| {
        if matches!(error, pem::Error::NoItemsFound) { NOTHING.to_owned() } else { error.to_string() }
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(&files.cert)?).collect();
    let chain = chain.map_err(|error| malformed(&files.cert, "certificate", said(error)))?;
    let Some(first) = chain.first() else {
        return Err(malformed(&files.cert, "certificate", NOTHING.to_owned()));
    };
    check_times(&files.cert, first, &chain[1..], now)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes(&files.key)?)
        .map_err(|error| malformed(&files.key, "private key", said(error)))?;
    let key = aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| malformed(&files.key, "private key of a known kind", error.to_string()))?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        // A key that cannot say what belongs to it is shown as it was named.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => (),
        Err(rustls::Error::InconsistentKeys(_)) => {
            return Err(TlsError::Mismatched { cert: files.cert.clone(), key: files.key.clone() });
        }
        Err(error) => return Err(error.into()),
    }
    Ok(pair)
}

/// Looks whether a certificate is valid by its dates, which are checked before who signed it: nobody is
/// trusted here, so the check always ends there.
fn check_times(
    path: &Path,
    first: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    now: Timestamp,
) -> Result<(), TlsError> {
    let malformed = |error: rustls::Error| TlsError::Malformed {
        path: path.to_owned(),
        what: "certificate of a known kind",
        said: error.to_string(),
    };
    let parsed = ParsedCertificate::try_from(first).map_err(malformed)?;
    let nobody = RootCertStore::empty();
    let known = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    let at = |time: Timestamp| {
        let time = UnixTime::since_unix_epoch(Duration::from_millis(time.0));
        verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, others, time, known).err()
    };
    let untimely = |said| Err(TlsError::Untimely { path: path.to_owned(), said });
    match at(now) {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => return untimely("has expired"),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => return untimely("is not valid yet"),
        Some(_) | None => (),
    }
    if let Some(rustls::Error::InvalidCertificate(
        CertificateError::Expired | CertificateError::ExpiredContext { .. },
    )) = at(now.after(SOON))
    {
        tracing::warn!(path = %path.display(), "the TLS certificate expires within 14 days");
    }
    Ok(())
}
