//! The certificate by which other agents know this one: asked for at the start, renewed long before its end, kept in memory.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};
use treesync::wire::TlsMaterial;

use crate::domain::NodeName;
use crate::k8s::certificates::{AUTHORITIES, BUNDLE, COMMON_NAME, LIFETIME_SECONDS, SIGNER, USAGES, agent_name};
use crate::k8s::watch::{Wakers, reflect};

/// How often somebody is told that a request has no answer yet. It is waited for, however long: the API server drops a request
/// after a day, and then another is made.
const ANSWER: Duration = Duration::from_mins(1);
/// Between two looks at a request.
const LOOK: Duration = Duration::from_millis(250);
/// The first and the longest rest after a failure; it doubles in between. Each try may leave a request behind for an hour.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// A certificate and its key, PEM.
struct Issued {
    certificate: String,
    key: String,
    renew_at: Instant,
    /// The authorities that were known when it was issued.
    known: String,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("API server: {0}")]
    Kube(#[from] kube::Error),
    #[error("no request can be made: {0}")]
    Request(#[from] rcgen::Error),
    #[error("the controller refused: {0}")]
    Refused(String),
}

/// Keeps `newest` up to date for as long as `tasks` lives: none until there are both a certificate and authorities.
pub(super) fn keep(tasks: &mut JoinSet<()>, client: &Client, node: &NodeName, newest: watch::Sender<Option<TlsMaterial>>) {
    let changed = Arc::new(Notify::new());
    let bundles: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let ours = watcher::Config::default().fields(&format!("metadata.name={AUTHORITIES}"));
    let bundles = reflect(tasks, bundles, ours, Wakers::new([changed.clone()]));
    tasks.spawn(run(client.clone(), node.clone(), bundles, changed, newest));
}

async fn run(client: Client, node: NodeName, bundles: Store<ConfigMap>, changed: Arc<Notify>, newest: watch::Sender<Option<TlsMaterial>>) {
    let mut issued: Option<Issued> = None;
    let mut failures = 0;
    let mut next = Instant::now();
    loop {
        if issued.as_ref().is_some_and(|issued| is_orphaned(&issued.known, &bundle(&bundles))) && failures == 0 {
            warn!("no authority that the certificate may be of is trusted any more, so that another is asked for");
            next = Instant::now();
        }
        if Instant::now() >= next {
            match ask(&client, &node, || bundle(&bundles)).await {
                Ok(fresh) => (failures, next, issued) = (0, fresh.renew_at, Some(fresh)),
                Err(error) => {
                    failures += 1;
                    let rest = rest(failures);
                    warn!(%error, has_one = issued.is_some(), retry_in_seconds = rest.as_secs(), "there is no new certificate");
                    next = Instant::now() + rest;
                }
            }
        }
        tell(&newest, issued.as_ref(), &bundles);
        tokio::select! {
            () = changed.notified() => {}
            () = tokio::time::sleep_until(next) => {}
        }
    }
}

fn tell(newest: &watch::Sender<Option<TlsMaterial>>, issued: Option<&Issued>, bundles: &Store<ConfigMap>) {
    let authorities_pem = bundle(bundles);
    let Some(issued) = issued.filter(|_| !authorities_pem.is_empty()) else { return };
    let material = TlsMaterial { certificate_pem: issued.certificate.clone(), key_pem: issued.key.clone(), authorities_pem };
    newest.send_if_modified(|present| {
        let is_news = present.as_ref() != Some(&material);
        *present = Some(material);
        is_news
    });
}

/// The authorities that the controller publishes, PEM; nothing while it has not.
fn bundle(bundles: &Store<ConfigMap>) -> String {
    bundles.state().first().and_then(|map| map.data.as_ref()?.get(BUNDLE).cloned()).unwrap_or_default()
}

/// Whether none of the authorities that were known when a certificate was issued is left: its own is gone, which happens when
/// the controller has lost them.
fn is_orphaned(known: &str, now: &str) -> bool {
    const END: &str = "-----END CERTIFICATE-----";
    let has = |authority: &str| known.split(END).any(|other| !other.trim().is_empty() && other.trim() == authority.trim());
    !now.is_empty() && !now.split(END).any(has)
}

fn rest(failures: u32) -> Duration {
    RETRY.0.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(RETRY.1)
}

/// Asks for a certificate of a new key, and waits for it.
async fn ask(client: &Client, node: &NodeName, known: impl Fn() -> String) -> Result<Issued, Error> {
    let key = KeyPair::generate()?;
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let made = api.create(&PostParams::default(), &request(node, &key)?).await?;
    let (name, mut deadline) = (made.name_any(), Instant::now() + ANSWER);
    loop {
        let status = api.get(&name).await?.status.unwrap_or_default();
        if let Some(ByteString(certificate)) = status.certificate {
            info!(request = name, "got a certificate");
            let certificate = String::from_utf8_lossy(&certificate).into_owned();
            return Ok(Issued { certificate, key: key.serialize_pem(), renew_at: Instant::now() + renew_after(&name), known: known() });
        }
        let refused = status.conditions.into_iter().flatten().find(|condition| matches!(condition.type_.as_str(), "Denied" | "Failed"));
        if let Some(condition) = refused {
            return Err(Error::Refused(condition.message.unwrap_or(condition.type_)));
        }
        if Instant::now() >= deadline {
            warn!(request = name, "the controller has not answered for a minute, and is waited for; its log may say why");
            deadline += ANSWER;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Two thirds of its life, up to an hour less: agents that were started together do not renew together. The name of the
/// request is random.
fn renew_after(name: &str) -> Duration {
    let life = Duration::from_secs(u64::from(LIFETIME_SECONDS.unsigned_abs()));
    let jitter = name.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte))) % 3600;
    (life * 2 / 3).saturating_sub(Duration::from_secs(jitter))
}

fn request(node: &NodeName, key: &KeyPair) -> Result<CertificateSigningRequest, rcgen::Error> {
    let mut params = CertificateParams::new([agent_name(node.as_str())])?;
    params.distinguished_name.push(DnType::CommonName, COMMON_NAME);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    let spec = CertificateSigningRequestSpec {
        signer_name: SIGNER.to_owned(),
        request: ByteString(params.serialize_request(key)?.pem()?.into_bytes()),
        usages: Some(USAGES.map(str::to_owned).into()),
        expiration_seconds: Some(LIFETIME_SECONDS),
        ..CertificateSigningRequestSpec::default()
    };
    let metadata = ObjectMeta { generate_name: Some("volume-dispatcher-agent-".to_owned()), ..ObjectMeta::default() };
    Ok(CertificateSigningRequest { metadata, spec, status: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_two_thirds_of_its_life_are_over_at_the_latest() {
        let life = Duration::from_hours(24);
        for name in ["volume-dispatcher-agent-x7k2p", "volume-dispatcher-agent-9qz4m", ""] {
            assert!((life * 5 / 8..=life * 2 / 3).contains(&renew_after(name)), "{name}");
        }
        assert_ne!(renew_after("a"), renew_after("b"));
    }

    #[test]
    fn rests_double_up_to_five_minutes() {
        assert_eq!([1, 2, 3, 99].map(|failures| rest(failures).as_secs()), [1, 2, 4, 300]);
    }

    #[test]
    fn a_certificate_whose_authority_is_gone_is_asked_for_anew() {
        let pem = |body: &str| format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        let (old, both) = (pem("old"), pem("old") + &pem("new"));
        assert!(!is_orphaned(&old, &both) && !is_orphaned(&both, &pem("new")), "an overlap is a rotation");
        assert!(is_orphaned(&old, &pem("new")));
        assert!(!is_orphaned(&old, ""), "what is not known yet is no loss");
        assert!(is_orphaned("", &old), "it was issued before the authorities were seen");
    }
}
