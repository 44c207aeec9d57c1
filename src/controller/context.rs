//! What every part of the controller has at hand.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::{Api, Client, Resource};
use tracing::debug;

use crate::api::{PoolVolume, VolumePool};
use crate::clock::Clock;
use crate::domain::{ObjectKey, Reason};
use crate::ec2::pacing::Gate;
use crate::metrics::Metrics;

use super::stores::Stores;

/// How many objects' last words are remembered; forgetting them costs a repeated event each.
const MOST_TOPICS: usize = 10_000;

/// What of an object an event speaks of. The events of two parts are never joined.
#[derive(Clone, Debug)]
pub enum Part {
    /// All of it.
    Whole,
    /// Another object that belongs to it.
    Object(Box<ObjectReference>),
    /// Something of it that has a number.
    Numbered(u64),
}

/// Clients, stores and names.
#[derive(Clone)]
pub struct Context<E> {
    /// The API server.
    pub client: Client,
    /// EC2.
    pub ec2: E,
    /// What EC2 may be asked at present.
    pub gate: Gate,
    /// The cluster whose tag our EC2 resources carry.
    pub cluster: String,
    /// What is watched.
    pub stores: Stores,
    /// The time.
    pub clock: Clock,
    /// What is measured.
    pub metrics: Metrics,
    /// Where events are written.
    pub recorder: Recorder,
    /// The last words about each object, so that the same is not said again and again.
    pub said: Arc<Mutex<HashMap<String, String>>>,
}

impl<E> Context<E> {
    /// The volumes of a namespace.
    pub fn volumes(&self, namespace: &str) -> Api<PoolVolume> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The pools of a namespace.
    pub fn pools(&self, namespace: &str) -> Api<VolumePool> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Says something about an object in an event, once until something else is said about it.
    ///
    /// What has the same reason within six minutes is one event, with the words of the first and a count: a pool that is
    /// filled has one event, not a thousand. See [`Self::say_of`] where each counts.
    pub async fn say(&self, object: &ObjectReference, is_warning: bool, reason: Reason, message: &str) {
        self.say_of(object, Part::Whole, (is_warning, reason), message).await;
    }

    /// The same, as an event of its own for each part of the object that is spoken of.
    pub async fn say_of(&self, object: &ObjectReference, part: Part, (is_warning, reason): (bool, Reason), message: &str) {
        let words = format!("{reason} {message}");
        let topic = object.uid.clone().unwrap_or_default();
        let known = {
            let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
            if said.len() >= MOST_TOPICS {
                said.clear();
            }
            said.insert(topic, words.clone())
        };
        if known.as_ref() == Some(&words) {
            return;
        }
        let event = Event {
            type_: if is_warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_string(),
            note: Some(message.to_owned()),
            action: if let Part::Numbered(number) = part { format!("{reason}-{number}") } else { reason.to_string() },
            secondary: if let Part::Object(related) = part { Some(*related) } else { None },
        };
        if let Err(error) = self.recorder.publish(&event, object).await {
            debug!(%error, "an event was not written");
        }
    }

    /// The reference under which events about a pool are written.
    pub fn reference(pool: &VolumePool) -> ObjectReference {
        pool.object_ref(&())
    }

    /// The reference under which events about a claim are written.
    pub fn claim_reference(key: &ObjectKey, uid: &str) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolumeClaim".to_owned()),
            namespace: Some(key.namespace.clone()),
            name: Some(key.name.clone()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        }
    }
}
