//! Every port that the product opens: which they are, and whom each answers. With certificates that its own controller signed,
//! or that its own authority would have.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use demo::story::{SHOP, apply, get};
use demo::{Stage, kubeconfig_of, wait};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair, SigningKey, date_time_ymd};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use treesync::model::TreePath;
use treesync::wire::{Address, CallError, Client, TlsMaterial, TlsSource};

use super::{LIMIT, processes};

const PRODUCT: &str = "volume-dispatcher";
/// Health and metrics of the controller and of an agent, and the port where sources are published, as in the chart.
const CONTROLLER: u16 = 8080;
const AGENT: u16 = 8081;
const SYNC: u16 = 8082;
/// A node of the cluster that holds no volume of any pool.
const STRANGER: &str = "stranger";
/// How long a peer may take to end a connection that it does not want.
const PATIENCE: Duration = Duration::from_secs(20);

/// The ports are those that are documented; what is plain is public; and the one that is not refuses all but agents of nodes
/// that hold a volume of the pool.
pub(super) async fn every_port_refuses_who_has_no_business_there(stage: &Stage) -> Result<()> {
    processes_listen_nowhere_else(stage)?;
    for (component, port) in [("controller", CONTROLLER), ("agent", AGENT)] {
        only_health_and_metrics_are_plain(stage, &address_of(stage, component, port).await?).await?;
    }
    let door = Door::of(stage).await?;
    plain_text_is_not_answered(&door).await?;
    a_peer_without_a_certificate_is_not_answered(&door).await?;
    certificates_that_are_not_valid_are_refused(stage, &door).await?;
    a_node_without_a_volume_of_the_pool_is_refused(stage, &door).await?;
    println!("every port refused who has no business there");
    Ok(())
}

/// TCP ports that are listened on in the network namespace of a process.
fn listened_on(pid: i32) -> Result<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}"))?;
        // See proc_pid_net(5): the second field is the local address, the fourth the state, of which 0A is LISTEN.
        let rows = text.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let listening = rows.filter(|row| row.get(3) == Some(&"0A"));
        ports.extend(listening.filter_map(|row| u16::from_str_radix(row.get(1)?.rsplit(':').next()?, 16).ok()));
    }
    Ok(ports)
}

fn processes_listen_nowhere_else(stage: &Stage) -> Result<()> {
    for pid in processes(stage, "controller")? {
        let ports = listened_on(pid)?;
        ensure!(ports == BTreeSet::from([CONTROLLER]), "a controller listens on {ports:?}");
    }
    let mut publishers = 0;
    for pid in processes(stage, "agent")? {
        let ports = listened_on(pid)?;
        ensure!(ports.is_subset(&BTreeSet::from([AGENT, SYNC])) && ports.contains(&AGENT), "an agent listens on {ports:?}");
        publishers += usize::from(ports.contains(&SYNC));
    }
    ensure!(publishers == 1, "{publishers} agents publish the one source");
    Ok(())
}

async fn address_of(stage: &Stage, component: &str, port: u16) -> Result<SocketAddr> {
    let of = format!("--selector=app.kubernetes.io/component={component}");
    let pods = ["--namespace", PRODUCT, "get", "pods", &of, "--output=jsonpath={.items[0].status.podIP}"];
    stage.cluster.forward(SocketAddr::new(stage.cluster.kubectl(&pods).await?.parse()?, port))
}

/// What is answered to these bytes until the other end closes.
async fn answer(address: &SocketAddr, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    // One that is reset has been refused as well.
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.context("the connection is kept open")?;
    drop(read);
    Ok(answer)
}

async fn only_health_and_metrics_are_plain(stage: &Stage, address: &SocketAddr) -> Result<()> {
    let ask = async |method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        Ok::<_, anyhow::Error>(String::from_utf8_lossy(&answer(address, request.as_bytes()).await?).into_owned())
    };
    for path in ["/healthz", "/readyz", "/metrics"] {
        let said = ask("GET", path).await?;
        ensure!(said.starts_with("HTTP/1.1 200") && !said.contains("PRIVATE") && !said.contains(&stage.source), "GET {path}: {said}");
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            let said = ask(method, path).await?;
            ensure!(said.starts_with("HTTP/1.1 405"), "{method} {path}: {said}");
        }
    }
    for path in ["/", "/debug/pprof", "/config", "/metrics/../secrets"] {
        let said = ask("GET", path).await?;
        ensure!(said.starts_with("HTTP/1.1 404"), "GET {path}: {said}");
    }
    Ok(())
}

/// The port on which the source of the pool is published, and what its server must show.
struct Door {
    address: SocketAddr,
    server_name: String,
    bundle: String,
}

impl Door {
    async fn of(stage: &Stage) -> Result<Self> {
        let told = get(stage, "pvol/web-source", "{.status.node.name} {.status.node.sync.address}").await?.concat();
        let (node, address) = told.split_once(' ').context("the source is not published")?;
        let bundles: Api<ConfigMap> = Api::namespaced(stage.cluster.client().await?, PRODUCT);
        let bundle = bundles.get("volume-dispatcher-ca").await?.data.and_then(|mut data| data.remove("ca.crt"));
        let bundle = bundle.context("the authorities are not published")?;
        Ok(Self { address: stage.cluster.forward(address.parse()?)?, server_name: name_of(node), bundle })
    }

    /// Connects with a certificate, and asks how a source is.
    async fn ask(&self, certificate: (String, String), source: &str) -> Result<Client, CallError> {
        let client = self.connect(certificate, source).await?;
        client.status().await.map(|_| client)
    }

    async fn connect(&self, (certificate_pem, key_pem): (String, String), source: &str) -> Result<Client, CallError> {
        let material = TlsMaterial { certificate_pem, key_pem, authorities_pem: self.bundle.clone() };
        let tls = TlsSource::Watched(tokio::sync::watch::channel(Some(material)).1);
        let address = Address::Tcp { host: self.address.ip().to_string(), port: self.address.port() };
        Client::connect_named(&address, Some(&self.server_name), source, Some(&tls)).await
    }
}

fn name_of(node: &str) -> String {
    format!("{node}.agent.volumedispatcher.io")
}

async fn plain_text_is_not_answered(door: &Door) -> Result<()> {
    for bytes in [&b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let said = answer(&door.address, bytes).await?;
        // An alert of TLS (RFC 8446, 5.1) is no answer.
        ensure!(said.is_empty() || said[0] == 0x15, "plain text was answered with {}", String::from_utf8_lossy(&said));
    }
    Ok(())
}

async fn a_peer_without_a_certificate_is_not_answered(door: &Door) -> Result<()> {
    let (address, name) = (door.address, ServerName::try_from(door.server_name.clone())?);
    let mut roots = rustls::RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(door.bundle.as_bytes()) {
        roots.add(authority?)?;
    }
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols.push(b"h2".to_vec());
    let heard = tokio::task::spawn_blocking(move || {
        let socket = std::net::TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut stream = rustls::StreamOwned::new(rustls::ClientConnection::new(config.into(), name)?, socket);
        std::io::Write::write_all(&mut stream, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
        Ok::<_, anyhow::Error>(std::io::Read::read(&mut stream, &mut [0; 64]))
    });
    let heard = heard.await??;
    let words = heard.err().context("a peer without a certificate was answered")?.to_string();
    ensure!(words.contains("CertificateRequired"), "a peer without a certificate was refused with {words}");
    Ok(())
}

/// A certificate with a key, by an issuer.
fn sign(params: &CertificateParams, issuer: &Issuer<'_, impl SigningKey>) -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

/// Each is for a node that holds volumes, so that nothing else can be the reason.
async fn certificates_that_are_not_valid_are_refused(stage: &Stage, door: &Door) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(stage.cluster.client().await?, PRODUCT);
    let data = secrets.get("volume-dispatcher-ca").await?.data.unwrap_or_default();
    let authorities: Value = serde_json::from_slice(&data.get("authorities.json").context("the authorities")?.0)?;
    let pem = |field: &str| authorities[0][field].as_str().with_context(|| format!("the authority has no {field}"));
    let ours = Issuer::from_ca_cert_pem(pem("certificatePem")?, KeyPair::from_pem(pem("keyPem")?)?)?;
    let holder = || CertificateParams::new([name_of("node1")]);
    let (mut expired, mut early, mut authority) = (holder()?, holder()?, CertificateParams::default());
    expired.not_after = date_time_ymd(2001, 1, 1);
    early.not_before = date_time_ymd(3001, 1, 1);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    door.ask(sign(&holder()?, &ours)?, "shop/web").await.context("what is asked is answered to whom it should")?;
    let theirs = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
    let cases =
        [("expired", sign(&expired, &ours)?), ("early", sign(&early, &ours)?), ("of another authority", sign(&holder()?, &theirs)?)];
    for (what, certificate) in cases {
        let error = door.ask(certificate, "shop/web").await.err().with_context(|| format!("a certificate that is {what} was taken"))?;
        ensure!(matches!(error, CallError::Connect { .. }), "a certificate that is {what}: {error}");
    }
    Ok(())
}

/// The certificate that the controller signs for the agent of a node.
async fn certificate_of(stage: &Stage, node: &str) -> Result<(String, String)> {
    let agent = kubeconfig_of(&stage.cluster, "volume-dispatcher-agent", Some(node)).await?;
    let api: Api<CertificateSigningRequest> = Api::all(stage.cluster.client_of(&agent).await?);
    let key = KeyPair::generate()?;
    let request = CertificateParams::new([name_of(node)])?.serialize_request(&key)?.pem()?;
    let usages = ["client auth", "digital signature", "server auth"];
    let spec = json!({"signerName": "volumedispatcher.io/agent", "usages": usages, "request": ByteString(request.into_bytes())});
    let object = serde_json::from_value(json!({"metadata": {"generateName": "test-"}, "spec": spec}))?;
    let name = api.create(&PostParams::default(), &object).await?.name_any();
    let certificate = wait::until(&format!("the controller signs for {node}"), LIMIT, async || {
        Ok(api.get(&name).await?.status.and_then(|status| status.certificate))
    })
    .await?;
    Ok((String::from_utf8(certificate.0)?, key.serialize_pem()))
}

async fn a_node_without_a_volume_of_the_pool_is_refused(stage: &Stage, door: &Door) -> Result<()> {
    apply(stage, &format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {STRANGER}}}\n")).await?;
    let stranger = certificate_of(stage, STRANGER).await;
    stage.cluster.kubectl(&["delete", "node", STRANGER]).await?;
    let (stranger, pool, path) = (door.connect(stranger?, "shop/web").await?, format!("{SHOP}/web"), TreePath::parse("VERSION")?);
    let refusals = [
        stranger.status().await.err(),
        stranger.subscribe(None, "stranger", &[]).await.err(),
        stranger.compare(&[], true).await.err(),
        stranger.read(Vec::new()).await.err(),
        stranger.push(&path, true, Duration::ZERO).await.err(),
        stranger.acknowledge("stranger", &[]).await.err(),
    ];
    for (number, refusal) in refusals.into_iter().enumerate() {
        let refusal = refusal.with_context(|| format!("a node without a volume of {pool} was answered call {number}"))?;
        ensure!(matches!(refusal, CallError::Refused { .. }), "call {number} failed with {refusal}");
    }
    let words = stranger.status().await.err().context("it was answered")?.to_string();
    ensure!(words.contains("node stranger") && words.contains(&pool), "a node without a volume was told {words}");
    let holder = door.ask(certificate_of(stage, "node1").await?, "shop/web").await.context("node1 holds volumes")?;
    for refusal in [holder.push(&path, false, Duration::ZERO).await.err(), holder.delete(&path, false, Duration::ZERO).await.err()] {
        let words = refusal.context("an agent could order changes of the source")?.to_string();
        ensure!(words.contains("PathOperation"), "it was told {words}");
    }
    let other = door.connect(certificate_of(stage, "node1").await?, "shop/other").await?;
    ensure!(other.status().await.is_err(), "a source was served that no pool has");
    Ok(())
}
