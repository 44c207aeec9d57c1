//! Makes authorities and certificates for tests of mutual TLS.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use treesync::wire::{TlsFiles, TlsMaterial, TlsSource};

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("an authority"))
    }

    /// For an end whose certificate this authority signed, and which trusts `trusted`.
    pub(crate) fn material(&self, host: &str, trusted: &[&Authority]) -> TlsMaterial {
        self.sign(&named(host), trusted)
    }

    /// As [`Authority::material`], in files.
    pub(crate) fn issue(&self, folder: &Path, host: &str, trusted: &Authority) -> TlsSource {
        write(folder, &self.material(host, &[trusted]))
    }

    /// As [`Authority::issue`], for an end whose certificate has expired long ago.
    pub(crate) fn issue_expired(&self, folder: &Path, host: &str, trusted: &Authority) -> TlsSource {
        let mut params = named(host);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
        write(folder, &self.sign(&params, &[trusted]))
    }

    /// As [`Authority::issue`], for an end whose certificate is for a time to come.
    pub(crate) fn issue_early(&self, folder: &Path, host: &str, trusted: &Authority) -> TlsSource {
        let mut params = named(host);
        params.not_before = rcgen::date_time_ymd(3001, 1, 1);
        write(folder, &self.sign(&params, &[trusted]))
    }

    fn sign(&self, params: &CertificateParams, trusted: &[&Authority]) -> TlsMaterial {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        TlsMaterial {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            authorities_pem: trusted.iter().map(|authority| authority.0.pem()).collect(),
        }
    }
}

fn named(host: &str) -> CertificateParams {
    CertificateParams::new(vec![host.to_owned()]).expect("a name")
}

/// Writes the files of an end, which may be there already.
pub(crate) fn write(folder: &Path, material: &TlsMaterial) -> TlsSource {
    std::fs::create_dir_all(folder).expect("a folder");
    let files = TlsFiles { certificate: folder.join("cert.pem"), key: folder.join("key.pem"), authority: folder.join("ca.pem") };
    std::fs::write(&files.certificate, &material.certificate_pem).expect("written");
    std::fs::write(&files.key, &material.key_pem).expect("written");
    std::fs::write(&files.authority, &material.authorities_pem).expect("written");
    files.into()
}
