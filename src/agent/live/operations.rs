//! The part of a PathOperation that is done at the source.

use std::path::PathBuf;
use std::sync::Arc;

use kube::runtime::reflector::Store;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tracing::{info, warn};
use treesync::model::TreePath;
use treesync::publish::{Changed, PublishError, Publisher};

use super::deletion::Done;
use super::scene::Scene;
use super::{deletion, public_file};
use crate::api::PathOperation;
use crate::api::keys::{LABEL_NODE, MANAGER_AGENT};
use crate::api::path_operation::{Operation, OperationAtSource, OperationPhase, PathOperationSpec};
use crate::domain::{NodeName, ObjectKey};
use crate::k8s::write::{Outcome, apply_status};

/// What is to be done, checked.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Deed {
    Push(TreePath),
    Delete(TreePath),
    /// Tell where the source is; first compare all of it when the copies are to be verified.
    Sync {
        rescan: bool,
    },
}

/// Operations that this node's source is to do and has not.
pub(super) fn due(operations: &Store<PathOperation>, node: &NodeName) -> Vec<Arc<PathOperation>> {
    operations.state().into_iter().filter(|operation| is_due(operation, node)).collect()
}

fn is_due(operation: &PathOperation, node: &NodeName) -> bool {
    let is_mine = operation.labels().get(LABEL_NODE).is_some_and(|label| *label == node.as_str());
    let status = operation.status.as_ref();
    is_mine && status.is_some_and(|status| status.phase == Some(OperationPhase::Running) && status.source.is_none())
}

/// Does it, and notes that in the object, so that it is not done again. Waits for a publisher: it stays due until there
/// is one.
pub(super) async fn perform(client: &Client, scene: &Scene, operation: &PathOperation) {
    let namespace = operation.namespace().unwrap_or_default();
    let pool = ObjectKey::new(namespace.as_str(), operation.spec.pool_ref.name.as_str());
    let Some(publisher) = scene.publishers.of(&pool) else { return };
    // Mounted as long as somebody has the publisher.
    let mount = scene.board.read().kept.values().find(|kept| kept.pool == pool && kept.is_source).map(|kept| kept.path.clone());
    let Some(mount) = mount else { return };
    let (spec, uid) = (operation.spec.clone(), operation.uid().unwrap_or_default());
    let source = Source { publisher, mount: mount.clone(), uid: uid.clone() };
    let done = tokio::task::spawn_blocking(move || deed(&spec).and_then(|deed| carry_out(&source, &deed, spec.dry_run))).await;
    let done = done.unwrap_or_else(|error| Err(error.to_string()));
    info!(%pool, operation = operation.name_any(), what = ?operation.spec.operation, path = operation.spec.path, error = ?done.as_ref().err(), "done at the source");
    let api: Api<PathOperation> = Api::namespaced(client.clone(), &namespace);
    let status = json!({"source": told(scene.node.as_str(), done)});
    match apply_status(&api, MANAGER_AGENT, operation, status).await {
        Ok(Outcome::Done) => drop(tokio::task::spawn_blocking(move || deletion::forget(&mount, &uid)).await),
        // It stays due, for the object as it is now.
        Ok(Outcome::Stale) => {}
        Err(error) => warn!(%error, operation = operation.name_any(), "what was done was not noted, and may be done again"),
    }
}

/// Reads the order. What it names is safe: below the root of the source, and not ours.
fn deed(spec: &PathOperationSpec) -> Result<Deed, String> {
    let path = || {
        let text = spec.path.as_deref().filter(|path| !path.is_empty());
        let text = text.ok_or("spec.path is missing, or the root of the source; name a path in it")?;
        let path = TreePath::parse(text).map_err(|error| format!("spec.path: {error}"))?;
        let is_ours = path.names().next() == Some(public_file::DIRECTORY.as_bytes());
        if is_ours { Err(format!("spec.path: {path} is in a directory of ours, which never travels")) } else { Ok(path) }
    };
    match spec.operation {
        Operation::Push => path().map(Deed::Push),
        Operation::Delete => path().map(Deed::Delete),
        Operation::Sync => Ok(Deed::Sync { rescan: spec.verify.is_some() }),
    }
}

/// Where an operation is done, and which one it is.
struct Source {
    publisher: Arc<Publisher>,
    mount: PathBuf,
    uid: String,
}

fn carry_out(source: &Source, deed: &Deed, is_dry_run: bool) -> Result<Done, String> {
    let at = |position| Changed { position, paths: Vec::new() };
    let publisher = &source.publisher;
    let done: Result<Changed, PublishError> = match deed {
        Deed::Push(path) => publisher.push(path, is_dry_run),
        Deed::Delete(path) if is_dry_run => publisher.delete(path, true),
        Deed::Delete(path) => return deletion::delete(publisher, &source.mount, &source.uid, path),
        Deed::Sync { .. } if is_dry_run => Ok(at(publisher.position())),
        Deed::Sync { rescan: true } => publisher.rescan().map(at),
        Deed::Sync { rescan: false } => publisher.settle().map(at),
    };
    done.map(Done::from).map_err(|error| error.to_string())
}

fn told(node: &str, done: Result<Done, String>) -> OperationAtSource {
    let node = node.to_owned();
    match done {
        Ok(Done { position, paths, paths_total }) => OperationAtSource {
            node,
            source: position.source.to_string(),
            epoch: position.epoch,
            generation: position.generation,
            paths,
            paths_total,
            error: None,
        },
        Err(error) => OperationAtSource { node, error: Some(error), ..OperationAtSource::default() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use treesync::model::{Position, SourceId};

    fn spec(operation: &str, path: Option<&str>) -> PathOperationSpec {
        serde_json::from_value(json!({"poolRef": {"name": "web"}, "operation": operation, "path": path})).expect("a spec")
    }

    #[test]
    fn only_paths_below_the_root_that_travel_are_done() {
        for bad in [None, Some(""), Some("/etc"), Some("a/../b"), Some("a//b"), Some(".treesync/index"), Some(".volume-dispatcher/x")] {
            for operation in ["Push", "Delete"] {
                let error = deed(&spec(operation, bad)).expect_err("it is not safe");
                assert!(error.contains("spec.path"), "{error}");
            }
        }
        assert_eq!(deed(&spec("Delete", Some("a/b"))), Ok(Deed::Delete(TreePath::parse("a/b").expect("a path"))));
        assert_eq!(deed(&spec("Sync", None)), Ok(Deed::Sync { rescan: false }));
    }

    #[test]
    fn an_operation_is_due_on_its_node_once() {
        let mut operation = PathOperation::new("op", spec("Push", Some("a")));
        let node = NodeName::new("node1");
        assert!(!is_due(&operation, &node));
        operation.metadata.labels = Some([(LABEL_NODE.to_owned(), "node1".to_owned())].into());
        operation.status = serde_json::from_value(json!({"phase": "Running"})).expect("a status");
        assert!(is_due(&operation, &node) && !is_due(&operation, &NodeName::new("node2")));
        operation.status = serde_json::from_value(json!({"phase": "Running", "source": {"node": "node1"}})).expect("a status");
        assert!(!is_due(&operation, &node), "it was done");
    }

    #[test]
    fn an_answer_names_some_paths_and_counts_all() {
        let position = Position { source: SourceId([1; 16]), epoch: 2, generation: 9 };
        let paths = (0..60).map(|number| TreePath::parse(format!("p{number}")).expect("a path")).collect();
        let told = told("node1", Ok(Changed { position, paths }.into()));
        assert_eq!((told.epoch, told.generation, told.paths.len(), told.paths_total), (2, 9, 50, 60));
    }
}
