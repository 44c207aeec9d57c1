//! The controller signs for the agent of a node, by what the API server says of its token, and for nobody else.

use anyhow::{Context, Result, bail, ensure};
use demo::wait;
use ec2_sim::Profile;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client, ResourceExt};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;

use super::{Scene, on_a_plane};
use crate::cluster::LIMIT;

const SYSTEM: &str = "volume-dispatcher";
const AGENT: &str = "volume-dispatcher-agent";

#[test]
fn only_the_agent_of_a_node_gets_a_certificate_for_it() {
    on_a_plane("certificates", Profile::Instant, async |scene| {
        let agent = as_account(scene, AGENT, Some("node1")).await?;
        ensure!(signed(&agent, "node1", None).await?.contains("BEGIN CERTIFICATE"), "the agent of node1 gets none");
        ensure!(refused(&agent, "node2", None).await?.contains("of node node1"), "node1 asked for node2");
        let unbound = as_account(scene, AGENT, None).await?;
        ensure!(refused(&unbound, "node1", None).await?.contains("0 nodes"), "a token of no node asked");
        ensure!(refused(&scene.client, "node1", None).await?.contains("asked; only"), "an administrator asked");
        ensure!(refused(&agent, "node1", Some("code signing")).await?.contains("spec.usages"), "it asked for more than it needs");
        nobody_else_reads_the_authorities(&agent).await?;
        lost_authorities_are_made_anew(scene, &agent).await
    });
}

async fn as_account(scene: &Scene, account: &str, node: Option<&str>) -> Result<Client> {
    scene.plane.cluster.client_of(&scene.plane.kubeconfig_of(account, node).await?).await
}

async fn ask(client: &Client, node: &str, more: Option<&str>) -> Result<CertificateSigningRequest> {
    let request = CertificateParams::new([format!("{node}.agent.volumedispatcher.io")])?.serialize_request(&KeyPair::generate()?)?;
    let usages = ["client auth", "digital signature", "server auth"].into_iter().chain(more).collect::<Vec<_>>();
    let object = json!({
        "metadata": {"generateName": "test-"},
        "spec": {"signerName": "volumedispatcher.io/agent", "usages": usages, "request": ByteString(request.pem()?.into_bytes())},
    });
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let name = api.create(&PostParams::default(), &serde_json::from_value(object)?).await?.name_any();
    wait::until("the request is answered", LIMIT, async || {
        let request = api.get(&name).await?;
        let status = request.status.clone().unwrap_or_default();
        let is_denied = status.conditions.iter().flatten().any(|condition| condition.type_ == "Denied");
        Ok((is_denied || status.certificate.is_some()).then_some(request))
    })
    .await
}

async fn signed(client: &Client, node: &str, more: Option<&str>) -> Result<String> {
    let status = ask(client, node, more).await?.status.context("a status")?;
    let certificate = status.certificate.with_context(|| format!("it was denied: {:?}", status.conditions))?;
    Ok(String::from_utf8(certificate.0)?)
}

/// The words of the denial.
async fn refused(client: &Client, node: &str, more: Option<&str>) -> Result<String> {
    let status = ask(client, node, more).await?.status.context("a status")?;
    if status.certificate.is_some() {
        bail!("a certificate for {node} was signed");
    }
    Ok(status.conditions.into_iter().flatten().find_map(|condition| condition.message).unwrap_or_default())
}

async fn nobody_else_reads_the_authorities(agent: &Client) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(agent.clone(), SYSTEM);
    let error = secrets.get("volume-dispatcher-ca").await.err().context("an agent can read the keys of the authorities")?;
    ensure!(error.to_string().contains("forbidden"), "{error}");
    let bundles: Api<ConfigMap> = Api::namespaced(agent.clone(), SYSTEM);
    let bundle = bundles.get("volume-dispatcher-ca").await?.data.unwrap_or_default();
    ensure!(bundle.get("ca.crt").is_some_and(|pem| pem.contains("BEGIN CERTIFICATE") && !pem.contains("PRIVATE")), "{bundle:?}");
    Ok(())
}

async fn lost_authorities_are_made_anew(scene: &Scene, agent: &Client) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(scene.client.clone(), SYSTEM);
    secrets.delete("volume-dispatcher-ca", &DeleteParams::default()).await?;
    scene.plane.stop_controller().await?;
    scene.plane.start_controller().await?;
    signed(agent, "node1", None).await.context("after the loss of the authorities").map(drop)
}
