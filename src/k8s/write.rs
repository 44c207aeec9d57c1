//! Writes that refuse to overwrite what they have not seen.

use kube::Resource;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What became of a guarded write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It is done, or it had been done before.
    Done,
    /// The object changed or vanished since it was seen: look again.
    Stale,
}

/// Turns "somebody was faster" into an outcome, and keeps all other errors.
pub fn outcome<T>(result: kube::Result<T>) -> kube::Result<Outcome> {
    match result {
        Ok(_) => Ok(Outcome::Done),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Outcome::Stale),
        Err(error) => Err(error),
    }
}

/// Applies a part of the status under a field manager, only if the object is still the version that was seen.
pub async fn apply_status<K>(api: &Api<K>, manager: &str, seen: &K, status: impl Serialize) -> kube::Result<Outcome>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let applied = applied_status(api, manager, seen, status).await?;
    Ok(if applied.is_some() { Outcome::Done } else { Outcome::Stale })
}

/// The same, giving the object as it is stored then; `None` when it changed or vanished since it was seen.
pub async fn applied_status<K>(api: &Api<K>, manager: &str, seen: &K, status: impl Serialize) -> kube::Result<Option<K>>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let name = seen.meta().name.clone().unwrap_or_default();
    let mut document = header::<K>(&name);
    document["metadata"]["resourceVersion"] = json!(seen.meta().resource_version);
    document["status"] = json!(status);
    match api.patch_status(&name, &PatchParams::apply(manager).force(), &Patch::Apply(&document)).await {
        Ok(stored) => Ok(Some(stored)),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
        Err(error) => Err(error),
    }
}

fn header<K: Resource<DynamicType = ()>>(name: &str) -> Value {
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": name},
    })
}

/// Deletes an object only if it is the one, and with `resource_version` also the version, that was judged.
pub async fn delete_exactly<K>(api: &Api<K>, name: &str, uid: &str, resource_version: Option<&str>) -> kube::Result<Outcome>
where
    K: Resource + Clone + std::fmt::Debug + DeserializeOwned,
{
    let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: resource_version.map(str::to_owned) };
    outcome(api.delete(name, &DeleteParams::default().preconditions(preconditions)).await)
}
