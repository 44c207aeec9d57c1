//! Makes authorities and certificates for tests of mutual TLS.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use treesync::wire::TlsFiles;

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// Files of an end whose certificate this authority signed, and which trusts `trusted`.
    pub(crate) fn issue(&self, folder: &Path, host: &str, trusted: &Authority) -> TlsFiles {
        self.sign(folder, &CertificateParams::new(vec![host.to_owned()]).expect("a name"), trusted)
    }

    /// As [`Authority::issue`], for an end whose certificate has expired long ago.
    pub(crate) fn issue_expired(&self, folder: &Path, host: &str, trusted: &Authority) -> TlsFiles {
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        self.sign(folder, &params, trusted)
    }

    fn sign(&self, folder: &Path, params: &CertificateParams, trusted: &Authority) -> TlsFiles {
        std::fs::create_dir_all(folder).expect("a folder");
        let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem"), authority: folder.join("ca.pem") };
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        std::fs::write(&files.certificate, certificate.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        std::fs::write(&files.authority, trusted.0.pem()).expect("written");
        files
    }
}
