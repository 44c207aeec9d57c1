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
        std::fs::create_dir_all(folder).expect("a folder");
        let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem"), authority: folder.join("ca.pem") };
        let params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        std::fs::write(&files.certificate, certificate.pem()).expect("written");
        std::fs::write(&files.key, key.serialize_pem()).expect("written");
        std::fs::write(&files.authority, trusted.0.pem()).expect("written");
        files
    }
}
