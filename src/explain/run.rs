//! The mode `explain`: reads a cluster and EC2 once, or a manifest, and prints.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use kube::api::ListParams;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::api::{PoolNode, PoolVolume, VolumePool};
use crate::controller::{View, pool_seen, sweep_for};
use crate::domain::GiB;
use crate::ec2::Ec2;
use crate::ec2::pacing::Limits;
use crate::yaml;

use super::{Assumed, Explanation, Prices, explain, manifest, text};

/// How an explanation is printed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// A list of explanations as YAML.
    Yaml,
    /// A list of explanations as JSON.
    Json,
}

/// What is to be explained.
#[derive(Clone, Debug)]
pub struct Question {
    /// The name of the pool; none: all.
    pub pool: Option<String>,
    /// The namespace; none: all, or the one of the manifest.
    pub namespace: Option<String>,
    /// A manifest to explain without a cluster.
    pub from: Option<PathBuf>,
    /// A list of prices in place of the one in the program.
    pub prices: Option<PathBuf>,
    /// The size of the source that a manifest is explained with.
    pub source_size: GiB,
    /// How it is printed.
    pub output: Output,
    /// The rates of the account.
    pub limits: Limits,
}

/// Explains and returns what is to be printed. EC2 and the API server are only read, and only without a manifest.
///
/// `connect` gives EC2 and the name of the cluster when they are needed.
pub async fn run<E: Ec2>(question: &Question, connect: impl AsyncFnOnce() -> anyhow::Result<(E, String)>) -> anyhow::Result<String> {
    let prices = match &question.prices {
        Some(path) => Prices::parse(&read(path)?).with_context(|| format!("{} is no list of prices", path.display()))?,
        None => Prices::embedded()?,
    };
    let explanations = if let Some(path) = &question.from {
        offline(question, &prices, &read(path)?).with_context(|| path.display().to_string())?
    } else {
        let (ec2, cluster) = connect().await?;
        live(question, &prices, &ec2, &cluster).await?
    };
    Ok(match question.output {
        Output::Text => explanations.iter().map(text::render).collect::<Vec<_>>().join("\n"),
        Output::Yaml => yaml::to_string(&explanations)?,
        Output::Json => serde_json::to_string_pretty(&explanations)? + "\n",
    })
}

fn read(path: &PathBuf) -> anyhow::Result<String> {
    if path.as_os_str() == "-" {
        return std::io::read_to_string(std::io::stdin()).context("cannot read standard input");
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn is_asked_for(question: &Question, pool: &VolumePool) -> bool {
    let is_named = question.pool.as_ref().is_none_or(|name| *name == pool.name_any());
    is_named && question.namespace.as_ref().is_none_or(|namespace| Some(namespace) == pool.namespace().as_ref())
}

fn offline(question: &Question, prices: &Prices, text: &str) -> anyhow::Result<Vec<Explanation>> {
    let (mut explanations, now) = (Vec::new(), Timestamp::now());
    for mut pool in manifest::pool_of(text)?.into_iter().filter(|pool| is_asked_for(question, pool)) {
        let (seen, notes) = manifest::seen_of(&pool, &Assumed { source_size: question.source_size }, now)?;
        pool.metadata.namespace.get_or_insert_with(|| "default".to_owned());
        let mut explanation = explain(&pool, &seen, now, prices, &question.limits);
        explanation.assumed.extend(notes);
        explanations.push(explanation);
    }
    ensure!(!explanations.is_empty(), "none of its pools is asked for; leave out the name and the namespace to explain all");
    Ok(explanations)
}

async fn live<E: Ec2>(question: &Question, prices: &Prices, ec2: &E, cluster: &str) -> anyhow::Result<Vec<Explanation>> {
    let client =
        Client::try_default().await.context("there is no way to the API server; set KUBECONFIG, or give a manifest with --from")?;
    let pools: Vec<Arc<VolumePool>> = list(&client).await?;
    let (volumes, nodes, agents) = (list::<PoolVolume>(&client).await?, list::<Node>(&client).await?, list::<PoolNode>(&client).await?);
    let (claims, pvs) = (list::<PersistentVolumeClaim>(&client).await?, list::<PersistentVolume>(&client).await?);
    let find_claim = |namespace: &str, name: &str| {
        let is_it = |claim: &&Arc<PersistentVolumeClaim>| claim.namespace().as_deref() == Some(namespace) && claim.name_any() == name;
        claims.iter().find(is_it).cloned()
    };
    let find_pv = |name: &str| pvs.iter().find(|pv| pv.name_any() == name).cloned();
    let view = View::new(pools, volumes, &nodes, &agents).with_handles(&pvs).with_claims(find_claim, find_pv);
    let (mut explanations, now) = (Vec::new(), Timestamp::now());
    let sweep = sweep_for(ec2, cluster, &view, now).await?;
    for pool in view.pools.iter().filter(|pool| is_asked_for(question, pool)) {
        let seen = pool_seen(&view, cluster, &sweep, pool).with_context(|| format!("{}: its spec cannot be read", pool.name_any()))?;
        explanations.push(explain(pool, &seen, now, prices, &question.limits));
    }
    ensure!(!explanations.is_empty(), "there is no such VolumePool; see: kubectl get volumepools --all-namespaces");
    Ok(explanations)
}

async fn list<K>(client: &Client) -> anyhow::Result<Vec<Arc<K>>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let found = Api::<K>::all(client.clone()).list(&ListParams::default()).await;
    Ok(found.with_context(|| format!("cannot list {}", K::plural(&())))?.items.into_iter().map(Arc::new).collect())
}
