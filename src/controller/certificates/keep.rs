//! Where the authorities are stored: with their keys in a Secret that the controller alone reads, without in a ConfigMap.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use kube::{Api, Client};
use tracing::{info, warn};

use super::authority::{Authority, Unusable, rotation};
use crate::k8s::certificates::{AUTHORITIES, BUNDLE};
use crate::k8s::write::{Outcome, outcome};

/// The key of the Secret.
const LIST: &str = "authorities.json";

/// Why authorities cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("API server: {0}")]
    Kube(#[from] kube::Error),
    #[error("an authority cannot be made: {0}")]
    Unusable(#[from] Unusable),
    #[error("the Secret {AUTHORITIES} was written by another at the same time")]
    Stale,
}

/// The authorities as they are to be now: made, dropped and published where that is due.
pub(super) async fn ensure(client: &Client, namespace: &str, now: Timestamp) -> Result<Vec<Authority>, Error> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let stored = secrets.get_opt(AUTHORITIES).await?;
    let all = stored.as_ref().map(read).unwrap_or_default();
    let rotation = rotation(&all, now);
    let mut wanted: Vec<Authority> = rotation.kept.iter().filter_map(|index| all.get(*index).cloned()).collect();
    if rotation.needs_new {
        wanted.push(Authority::new(now)?);
    }
    if wanted != all {
        // Stored before it is published: what agents trust must be what can sign.
        store(&secrets, stored, namespace, &wanted).await?;
        info!(authorities = wanted.len(), made = rotation.needs_new, "the authorities of agents' certificates changed");
    }
    publish(&Api::namespaced(client.clone(), namespace), namespace, &wanted).await?;
    Ok(wanted)
}

/// A list that cannot be read is made anew. Agents see that no authority of theirs is left, and ask for other certificates.
fn read(secret: &Secret) -> Vec<Authority> {
    let list = secret.data.as_ref().and_then(|data| data.get(LIST)).map(|bytes| serde_json::from_slice(&bytes.0));
    list.unwrap_or_else(|| Ok(Vec::new())).unwrap_or_else(|error| {
        warn!(%error, "the Secret {AUTHORITIES} cannot be read, so that a new authority is made");
        Vec::new()
    })
}

async fn store(secrets: &Api<Secret>, stored: Option<Secret>, namespace: &str, all: &[Authority]) -> Result<(), Error> {
    let list = serde_json::to_vec(all).unwrap_or_default();
    let data = Some([(LIST.to_owned(), ByteString(list))].into());
    let is_new = stored.is_none();
    let secret = stored.unwrap_or_else(|| Secret { metadata: metadata(namespace), ..Secret::default() });
    let secret = Secret { data, ..secret };
    let written = if is_new {
        outcome(secrets.create(&PostParams::default(), &secret).await)?
    } else {
        outcome(secrets.replace(AUTHORITIES, &PostParams::default(), &secret).await)?
    };
    if written == Outcome::Done { Ok(()) } else { Err(Error::Stale) }
}

async fn publish(maps: &Api<ConfigMap>, namespace: &str, all: &[Authority]) -> Result<(), Error> {
    let bundle: String = all.iter().map(|authority| authority.certificate_pem.as_str()).collect();
    let data: BTreeMap<String, String> = [(BUNDLE.to_owned(), bundle)].into();
    let written = match maps.get_opt(AUTHORITIES).await? {
        Some(map) if map.data.as_ref() == Some(&data) => return Ok(()),
        Some(map) => outcome(maps.replace(AUTHORITIES, &PostParams::default(), &ConfigMap { data: Some(data), ..map }).await)?,
        None => {
            let map = ConfigMap { metadata: metadata(namespace), data: Some(data), ..ConfigMap::default() };
            outcome(maps.create(&PostParams::default(), &map).await)?
        }
    };
    if written == Outcome::Done { Ok(()) } else { Err(Error::Stale) }
}

fn metadata(namespace: &str) -> ObjectMeta {
    let labels = [("app.kubernetes.io/name", "volume-dispatcher"), ("app.kubernetes.io/component", "controller")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    ObjectMeta { name: Some(AUTHORITIES.to_owned()), namespace: Some(namespace.to_owned()), labels: Some(labels), ..ObjectMeta::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_are_read_as_they_were_stored_and_nonsense_is_none() {
        let all = vec![Authority::new(Timestamp::UNIX_EPOCH).expect("an authority")];
        let of = |bytes: Vec<u8>| Secret { data: Some([(LIST.to_owned(), ByteString(bytes))].into()), ..Secret::default() };
        assert_eq!(read(&of(serde_json::to_vec(&all).expect("a list"))), all);
        assert!(read(&of(b"{".to_vec())).is_empty() && read(&Secret::default()).is_empty());
    }
}
