//! Makes the cluster's certificates, keys and kubeconfig files.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};

use crate::layout::Layout;
use crate::network::{GATEWAY, KUBERNETES_SERVICE, api_address};
use crate::spec::{NodeSpec, node_address};

/// The user of [`crate::Cluster::client`], kubectl and helm.
pub(crate) const ADMIN: &str = "admin";
/// The members of this group may do everything.
const MASTERS: &str = "system:masters";

/// Who a certificate is for.
struct Subject<'a> {
    file: &'a str,
    name: &'a str,
    group: Option<&'a str>,
    alternative_names: Vec<String>,
}

impl<'a> Subject<'a> {
    fn user(file: &'a str, name: &'a str, group: Option<&'a str>) -> Self {
        Self { file, name, group, alternative_names: Vec::new() }
    }
}

/// Writes everything into the folder `pki` of the state.
pub(crate) fn create(layout: &Layout, nodes: &[NodeSpec]) -> Result<()> {
    let folder = layout.pki("");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let authority = Authority::create(layout)?;
    let service_accounts = KeyPair::generate()?;
    write_private(&layout.pki("sa.key"), &service_accounts.serialize_pem())?;
    fs::write(layout.pki("sa.pub"), service_accounts.public_key_pem())?;
    let mut server = Subject::user("apiserver", "kube-apiserver", None);
    let names = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "127.0.0.1"];
    server.alternative_names = names.map(str::to_owned).to_vec();
    server.alternative_names.extend([KUBERNETES_SERVICE.to_owned(), GATEWAY.to_string()]);
    authority.issue(layout, server)?;
    authority.issue(layout, Subject::user("kubelet-client", "apiserver-kubelet-client", Some(MASTERS)))?;
    for (file, name, group) in [
        (ADMIN, ADMIN, Some(MASTERS)),
        ("controller-manager", "system:kube-controller-manager", None),
        ("scheduler", "system:kube-scheduler", None),
        ("proxy", "system:kube-proxy", None),
    ] {
        authority.issue(layout, Subject::user(file, name, group))?;
        write_kubeconfig(layout, file)?;
    }
    for (index, node) in nodes.iter().enumerate() {
        let user = format!("system:node:{}", node.name);
        let mut subject = Subject::user(&node.name, &user, Some("system:nodes"));
        subject.alternative_names = vec![node.name.clone(), node_address(index).to_string()];
        authority.issue(layout, subject)?;
        write_kubeconfig(layout, &node.name)?;
    }
    Ok(())
}

struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn create(layout: &Layout) -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "local-cluster-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        fs::write(layout.pki("ca.crt"), issuer.pem())?;
        write_private(&layout.pki("ca.key"), &issuer.key().serialize_pem())?;
        Ok(Self { issuer })
    }

    fn issue(&self, layout: &Layout, subject: Subject<'_>) -> Result<()> {
        let mut params = CertificateParams::new(subject.alternative_names)?;
        params.distinguished_name.push(DnType::CommonName, subject.name);
        if let Some(group) = subject.group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        fs::write(layout.pki(&format!("{}.crt", subject.file)), certificate.pem())?;
        write_private(&layout.pki(&format!("{}.key", subject.file)), &key.serialize_pem())
    }
}

fn write_private(path: &Path, content: &str) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(content.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

fn write_kubeconfig(layout: &Layout, user: &str) -> Result<()> {
    let path = |name: String| layout.pki(&name);
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "local", "cluster": {
            "server": format!("https://{}", api_address()),
            "certificate-authority": path("ca.crt".into()),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": path(format!("{user}.crt")),
            "client-key": path(format!("{user}.key")),
        }}],
        "contexts": [{"name": "local", "context": {"cluster": "local", "user": user}}],
        "current-context": "local",
    });
    // JSON is YAML, and needs no care for quoting.
    write_private(&layout.kubeconfig(user), &serde_json::to_string_pretty(&config)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_component_gets_its_files_and_keys_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        create(&layout, &[NodeSpec::numbered(1)]).unwrap();
        for name in ["ca", "apiserver", "kubelet-client", "admin", "controller-manager", "scheduler", "proxy", "node1"] {
            let certificate = fs::read_to_string(layout.pki(&format!("{name}.crt"))).unwrap();
            assert!(certificate.starts_with("-----BEGIN CERTIFICATE-----"), "{name}");
            let mode = fs::metadata(layout.pki(&format!("{name}.key"))).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let public = fs::read_to_string(layout.pki("sa.pub")).unwrap();
        assert!(public.starts_with("-----BEGIN PUBLIC KEY-----"));
        let config = fs::read(layout.kubeconfig("node1")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://10.99.0.1:6443");
    }
}
