//! Carries out what the plan says of operations: one match over the closed set, each effect guarded and repeatable.

use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use tracing::info;

use crate::api::keys::{ANNOTATION_REQUESTED_BY, LABEL_NODE, MANAGER_CONTROLLER};
use crate::api::{PathOperation, VerifySpec};
use crate::controller::context::{Context, Part};
use crate::controller::error::Error;
use crate::controller::volume_write::edit_spec;
use crate::domain::{ObjectKey, OperationPhase, Reason};
use crate::k8s::write::{Outcome, apply_status, delete_exactly, outcome};
use crate::plan::OperationAction;
use crate::plan::operations::OperationReport;

use super::status::status;

/// Carries out one effect.
pub(super) async fn one<E>(context: &Context<E>, action: &OperationAction) -> Result<Outcome, Error> {
    match action {
        OperationAction::Assign { operation, resource_version, node } => {
            let patch = json!({"metadata": {"resourceVersion": resource_version, "labels": {LABEL_NODE: node.as_str()}}});
            let api = api(context, operation);
            Ok(outcome(api.patch(&operation.name, &PatchParams::default(), &Patch::Merge(&patch)).await)?)
        }
        OperationAction::Verify { volume, resource_version, id, level } => {
            let order = VerifySpec { id: id.clone(), level: *level, repair: false };
            edit_spec(context, volume, Some(resource_version), |spec| spec.verify = Some(order)).await
        }
        OperationAction::Publish { operation, resource_version, report, news } => {
            publish(context, operation, resource_version, report, *news).await
        }
        OperationAction::Delete { operation, uid, resource_version } => {
            Ok(delete_exactly(&api(context, operation), &operation.name, uid.as_str(), Some(resource_version)).await?)
        }
    }
}

/// Name of the effect and of its object, for metrics and back-off.
pub(super) fn label(action: &OperationAction) -> (&'static str, String) {
    match action {
        OperationAction::Assign { operation, .. } => ("AssignOperation", operation.to_string()),
        OperationAction::Verify { volume, .. } => ("OrderVerify", volume.to_string()),
        OperationAction::Publish { operation, .. } => ("PublishOperation", operation.to_string()),
        OperationAction::Delete { operation, .. } => ("DeleteOperation", operation.to_string()),
    }
}

fn api<E>(context: &Context<E>, key: &ObjectKey) -> Api<PathOperation> {
    Api::namespaced(context.client.clone(), &key.namespace)
}

async fn publish<E>(
    context: &Context<E>,
    key: &ObjectKey,
    judged: &str,
    report: &OperationReport,
    news: Option<Reason>,
) -> Result<Outcome, Error> {
    let seen = context.stores.operations.get(&ObjectRef::new(&key.name).within(&key.namespace));
    let Some(seen) = seen.filter(|seen| seen.resource_version().as_deref() == Some(judged)) else { return Ok(Outcome::Stale) };
    let written = apply_status(&api(context, key), MANAGER_CONTROLLER, &seen, status(&seen, report)).await?;
    if let Some(reason) = news.filter(|_| written == Outcome::Done) {
        tell(context, &seen, report, reason).await;
    }
    Ok(written)
}

/// The trail of an operation: who asked for what when, and what came of it; on the operation, and on the pool, whose
/// events outlive it.
async fn tell<E>(context: &Context<E>, operation: &PathOperation, report: &OperationReport, reason: Reason) {
    let (spec, message) = (&operation.spec, &report.message);
    let took = report.started.zip(report.ended).map(|(started, ended)| ended.duration_since(started).as_secs_f64());
    let pool = ObjectKey::new(operation.namespace().unwrap_or_default(), spec.pool_ref.name.as_str());
    let (name, path) = (operation.name_any(), spec.path.as_deref().unwrap_or("everything"));
    info!(%pool, operation = name, what = spec.operation.as_str(), path, phase = ?report.phase, %reason, message, "operation");
    if report.ended.is_some() {
        context.metrics.operations().ended(spec.operation.as_str(), reason.as_str(), took);
    }
    let is_warning = report.phase == OperationPhase::Failed;
    context.say(&operation.object_ref(&()), is_warning, reason, message).await;
    let Some(pool) = context.stores.pools.get(&ObjectRef::new(&pool.name).within(&pool.namespace)) else { return };
    let by = who(context, operation).await;
    let words = format!("PathOperation {name}, {} of {path}, asked for by {by}: {message}", spec.operation.as_str());
    let part = Part::Object(Box::new(operation.object_ref(&())));
    context.say_of(&Context::<E>::reference(&pool), part, (is_warning, reason), &words).await;
}

/// The user that a policy has vouched for, or the program that made the object, as far as the API server knows.
async fn who<E>(context: &Context<E>, operation: &PathOperation) -> String {
    if let Some(user) = operation.annotations().get(ANNOTATION_REQUESTED_BY) {
        return user.clone();
    }
    // The store has no managers, since nobody else reads them.
    let key = ObjectKey::new(operation.namespace().unwrap_or_default(), operation.name_any());
    let stored = api(context, &key).get_metadata(&key.name).await.ok();
    let managers = stored.and_then(|stored| stored.metadata.managed_fields).unwrap_or_default();
    let made = managers.into_iter().filter(|entry| entry.subresource.is_none() && entry.manager.as_deref() != Some(MANAGER_CONTROLLER));
    let first = made.min_by_key(|entry| entry.time.as_ref().map(|time| time.0)).and_then(|entry| entry.manager);
    first.map_or_else(|| "somebody".to_owned(), |manager| format!("somebody with {manager}"))
}
