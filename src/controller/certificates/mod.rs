//! Signs the certificates by which agents know each other: for the agent of a node, and for nobody else.

mod authority;
mod keep;
mod request;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::Store;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::k8s::certificates::{AGENT_ACCOUNT, SIGNER};
use crate::k8s::watch::{Wakers, reflect};
use crate::metrics::Metrics;
use authority::{Authority, signer};
use request::{Seen, Verdict, judge};

/// How often the authorities are looked at: each hour of their year, and as soon as something was wrong with them.
const AUTHORITIES_EVERY: Duration = Duration::from_hours(1);
/// The pause after a failure.
const RETRY: Duration = Duration::from_secs(5);

/// Requests for certificates of our signer, as they come.
#[derive(Clone)]
pub(super) struct Requests {
    store: Store<CertificateSigningRequest>,
    wake: Arc<Notify>,
}

impl Requests {
    /// Starts the watch.
    pub(super) fn watch(tasks: &mut JoinSet<()>, client: &Client) -> Self {
        let wake = Arc::new(Notify::new());
        let ours = watcher::Config::default().fields(&format!("spec.signerName={SIGNER}"));
        Self { store: reflect(tasks, Api::all(client.clone()), ours, Wakers::new([wake.clone()])), wake }
    }
}

/// Runs for as long as this replica leads.
pub(super) async fn run(client: Client, clock: Clock, namespace: String, metrics: Metrics, requests: Requests) {
    let account = format!("system:serviceaccount:{namespace}:{AGENT_ACCOUNT}");
    let mut authorities: Option<(Vec<Authority>, Instant)> = None;
    // The watch shows an answer a moment after it was given.
    let mut answered = BTreeSet::new();
    loop {
        if authorities.as_ref().is_none_or(|(_, looked)| looked.elapsed() >= AUTHORITIES_EVERY) {
            match keep::ensure(&client, &namespace, clock.now()).await {
                Ok(all) => authorities = Some((all, Instant::now())),
                Err(error) => warn!(%error, retry_in_seconds = RETRY.as_secs(), "agents get no new certificates"),
            }
        }
        let pending = requests.store.state();
        answered.retain(|name| pending.iter().any(|request| request.name_any() == *name));
        let mut has_failed = authorities.is_none();
        for request in pending {
            let name = request.name_any();
            let Some((all, _)) = authorities.as_ref().filter(|_| !answered.contains(&name)) else { continue };
            match answer(&client, clock.now(), &request, (&account, all), &metrics).await {
                Ok(()) => drop(answered.insert(name)),
                Err(error) => {
                    has_failed = true;
                    warn!(request = name, %error, "a request for a certificate was not answered and is tried again");
                }
            }
        }
        tokio::select! {
            () = requests.wake.notified() => {}
            () = tokio::time::sleep(if has_failed { RETRY } else { AUTHORITIES_EVERY }) => {}
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("API server: {0}")]
    Kube(#[from] kube::Error),
    #[error("{0}")]
    Unusable(#[from] authority::Unusable),
    #[error("there is no authority")]
    NoAuthority,
}

/// Approves and signs, or denies. Harmless when done twice.
async fn answer(
    client: &Client,
    now: Timestamp,
    request: &CertificateSigningRequest,
    (account, all): (&str, &[Authority]),
    metrics: &Metrics,
) -> Result<(), Error> {
    let (seen, name) = (seen(request), request.name_any());
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    match judge(&seen, account) {
        Verdict::Ignored => {}
        Verdict::Refused(why) => {
            warn!(request = name, username = seen.username, why, "a certificate was denied");
            // Somebody may have approved it by hand; then it is denied by its failure.
            let kind = if seen.is_approved { "Failed" } else { "Denied" };
            decide(&api, now, request, (kind, "NotAnAgentOfThatNode", &why)).await?;
            metrics.count("SignCertificate", "denied");
        }
        Verdict::Signed { node, seconds, request: checked } => {
            let authority = signer(all, now).ok_or(Error::NoAuthority)?;
            let certificate = authority.sign(&checked, &node, seconds, now)?;
            if !seen.is_approved {
                decide(&api, now, request, ("Approved", "AgentOfThatNode", &format!("the token of who asked is of node {node}"))).await?;
            }
            let status = json!({"status": {"certificate": ByteString(certificate.into_bytes())}});
            api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await?;
            info!(request = name, node, seconds, "signed a certificate");
            metrics.count("SignCertificate", "done");
        }
    }
    Ok(())
}

async fn decide(
    api: &Api<CertificateSigningRequest>,
    now: Timestamp,
    request: &CertificateSigningRequest,
    (kind, reason, message): (&str, &str, &str),
) -> Result<(), kube::Error> {
    let condition = CertificateSigningRequestCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_update_time: Some(Time(now)),
        last_transition_time: None,
    };
    let mut conditions = request.status.clone().unwrap_or_default().conditions.unwrap_or_default();
    conditions.retain(|present| present.type_ != kind);
    conditions.push(condition);
    let patch = Patch::Merge(json!({"metadata": {"resourceVersion": request.resource_version()}, "status": {"conditions": conditions}}));
    let (name, params) = (request.name_any(), PatchParams::default());
    if kind == "Failed" { api.patch_status(&name, &params, &patch).await } else { api.patch_approval(&name, &params, &patch).await }
        .map(drop)
}

fn seen(request: &CertificateSigningRequest) -> Seen {
    let (spec, status) = (&request.spec, request.status.clone().unwrap_or_default());
    let conditions = status.conditions.unwrap_or_default();
    let has = |kind: &str| conditions.iter().any(|condition| condition.type_ == kind);
    let extra = spec.extra.as_ref().and_then(|extra| extra.get(Seen::node_key())).cloned();
    Seen {
        signer: spec.signer_name.clone(),
        username: spec.username.clone().unwrap_or_default(),
        nodes: extra.unwrap_or_default(),
        usages: spec.usages.clone().unwrap_or_default(),
        expiration_seconds: spec.expiration_seconds,
        request: spec.request.0.clone(),
        is_approved: has("Approved"),
        is_over: has("Denied") || has("Failed") || status.certificate.is_some(),
    }
}
