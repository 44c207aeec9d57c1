//! Mutual TLS of both ends: where certificates come from, and what is made of them for each new connection.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{CertificateError, ClientConfig, RootCertStore, ServerConfig};
use tokio::sync::watch;

/// The only protocol that is spoken over it: HTTP/2 (RFC 7301).
const PROTOCOL: &[u8] = b"h2";

/// Files of one end of mutual TLS, in PEM. They are read for each new connection, so that renewed files are used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The certificate that this end shows, with its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities by one of which the other end's certificate must be signed.
    pub authority: PathBuf,
}

/// What stands in such files, in memory. The key is not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsMaterial {
    /// The certificate that this end shows, with its chain; PEM.
    pub certificate_pem: String,
    /// Its private key; PEM.
    pub key_pem: String,
    /// The authorities by one of which the other end's certificate must be signed; PEM.
    pub authorities_pem: String,
}

impl fmt::Debug for TlsMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsMaterial").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// Where one end of mutual TLS has its certificate from. New connections use the newest; those that stand stay as they
/// are, whatever becomes of the certificates with which they were made. Clones are the same.
#[derive(Clone, Debug)]
pub enum TlsSource {
    /// Files.
    Files(TlsFiles),
    /// Memory; none while there is no certificate yet. When its sender is gone the last one stays.
    Watched(watch::Receiver<Option<TlsMaterial>>),
}

impl From<TlsFiles> for TlsSource {
    fn from(files: TlsFiles) -> Self {
        Self::Files(files)
    }
}

/// Why certificates cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("TLS file {}: {problem}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// There is nothing yet.
    #[error("this end has no certificate yet")]
    Missing,
    /// They are no certificates, or do not belong together.
    #[error("the TLS {what} cannot be used: {problem}")]
    Broken {
        /// Certificate, key or authorities.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl TlsSource {
    /// The newest.
    pub(super) fn material(&self) -> Result<TlsMaterial, TlsError> {
        match self {
            Self::Files(files) => files.read(),
            Self::Watched(watched) => watched.borrow().clone().ok_or(TlsError::Missing),
        }
    }
}

impl TlsFiles {
    fn read(&self) -> Result<TlsMaterial, TlsError> {
        let text = |path: &Path, label: &str| {
            let fail = |problem: String| TlsError::File { path: path.to_owned(), problem };
            let text = fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
            if text.contains(label) { Ok(text) } else { Err(fail(format!("has no PEM block with {label:?}"))) }
        };
        Ok(TlsMaterial {
            certificate_pem: text(&self.certificate, "BEGIN CERTIFICATE")?,
            key_pem: text(&self.key, "PRIVATE KEY")?,
            authorities_pem: text(&self.authority, "BEGIN CERTIFICATE")?,
        })
    }
}

fn broken(what: &'static str, problem: &dyn fmt::Display) -> TlsError {
    TlsError::Broken { what, problem: problem.to_string() }
}

impl TlsMaterial {
    fn identity(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = CertificateDer::pem_slice_iter(self.certificate_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| broken("certificate", &error))?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(|error| broken("key", &error))?;
        Ok((chain, key))
    }

    fn roots(&self) -> Result<Arc<RootCertStore>, TlsError> {
        let mut roots = RootCertStore::empty();
        for authority in CertificateDer::pem_slice_iter(self.authorities_pem.as_bytes()) {
            let authority = authority.map_err(|error| broken("authorities", &error))?;
            roots.add(authority).map_err(|error| broken("authorities", &error))?;
        }
        Ok(roots.into())
    }

    /// What a server does with a new connection: the peer must show a certificate that is valid now.
    pub(super) fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let verifier = WebPkiClientVerifier::builder(self.roots()?).build().map_err(|error| broken("authorities", &error))?;
        let (chain, key) = self.identity()?;
        let builder = ServerConfig::builder_with_protocol_versions(&[&TLS13]).with_client_cert_verifier(verifier);
        let mut config = builder.with_single_cert(chain, key).map_err(|error| broken("certificate", &error))?;
        config.alpn_protocols.push(PROTOCOL.to_vec());
        // A session that is resumed is not asked for its certificate, which may have expired meanwhile.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// What a client does with a new connection.
    pub(super) fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let builder = ClientConfig::builder_with_protocol_versions(&[&TLS13]).with_root_certificates(self.roots()?);
        let (chain, key) = self.identity()?;
        let mut config = builder.with_client_auth_cert(chain, key).map_err(|error| broken("certificate", &error))?;
        config.alpn_protocols.push(PROTOCOL.to_vec());
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

/// Why a handshake failed, for people. Certificates out of their time are the work of a clock as often as not.
pub(super) fn handshake_problem(error: &io::Error) -> String {
    let at = |time: &UnixTime| match Timestamp::from_second(i64::try_from(time.as_secs()).unwrap_or(i64::MAX)) {
        Ok(time) => time.to_string(),
        Err(_) => format!("{} s after 1970", time.as_secs()),
    };
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { time, not_after })) => format!(
            "the certificate of the other end has expired: it was valid until {}, and the clock here says {}; it must be renewed there, \
             or one of the two clocks is wrong",
            at(not_after),
            at(time)
        ),
        Some(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext { time, not_before })) => format!(
            "the certificate of the other end is not valid yet: it is from {} on, and the clock here says {}; one of the two clocks is \
             wrong",
            at(not_before),
            at(time)
        ),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_certificate_out_of_its_time_is_told_with_the_times_and_the_clock() {
        let time = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let words = |error| handshake_problem(&io::Error::other(rustls::Error::InvalidCertificate(error)));
        let expired = words(CertificateError::ExpiredContext { time: time(1_800_000_000), not_after: time(1_700_000_000) });
        let early = words(CertificateError::NotValidYetContext { time: time(1_600_000_000), not_before: time(1_700_000_000) });
        for (words, is, now) in [(expired, "has expired", "2027-01-15T08:00:00Z"), (early, "not valid yet", "2020-09-13T12:26:40Z")] {
            let has_all = [is, "2023-11-14T22:13:20Z", now, "clock"].iter().all(|part| words.contains(part));
            assert!(has_all, "{words}");
        }
        assert!(words(CertificateError::UnknownIssuer).contains("UnknownIssuer"));
    }

    #[test]
    fn a_key_is_not_shown() {
        let material = TlsMaterial { certificate_pem: "public".into(), key_pem: "secret".into(), authorities_pem: String::new() };
        let shown = format!("{:?}", TlsSource::Watched(watch::channel(Some(material)).1));
        assert!(shown.contains("public") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let (_sender, nothing) = watch::channel(None);
        assert_eq!(TlsSource::Watched(nothing).material(), Err(TlsError::Missing));
        let material = TlsMaterial { certificate_pem: "no".into(), key_pem: "no".into(), authorities_pem: "no".into() };
        let error = material.server().expect_err("no authorities").to_string();
        assert!(error.contains("TLS authorities"), "{error}");
        let error = material.client().expect_err("no key").to_string();
        assert!(error.contains("TLS key"), "{error}");
    }
}
