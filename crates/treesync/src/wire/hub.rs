//! What all connections of a publisher share: the source, its attached copies, and batches encoded once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use prost::Message as _;
use tokio::sync::watch;

use super::attached::{Attached, CopyState};
use super::connection::Link;
use super::frame::{Message, frames};
use super::source::Source;
use super::sources::Peer;
use crate::model::{Ahead, Batch, Position, proto};
use crate::publish::{Limit, Step};

/// Encoded batches, and hints, that are kept for the next subscriber. They follow each other closely, so a few suffice.
const ENCODED_KEPT: usize = 8;
/// Bytes of files in one message at most; what is beyond is asked for by path. A quarter of the largest message.
const INLINE_BUDGET_BYTES: usize = 16 * 1024 * 1024;

/// Something and its frames.
type Encoded<T> = (Weak<T>, Arc<[proto::Frame]>);

/// What all connections share.
pub(super) struct Hub<S> {
    pub(super) source: S,
    attached: watch::Sender<Attached>,
    encoded: Mutex<VecDeque<Encoded<Batch>>>,
    encoded_ahead: Mutex<VecDeque<Encoded<Ahead>>>,
    closing: watch::Sender<bool>,
    /// Of each connection that stands.
    limits: Mutex<Vec<(Weak<Peer>, Limit)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S> Hub<S> {
    pub(super) fn new(source: S) -> Self {
        let attached = watch::Sender::new(Attached::default());
        Self {
            source,
            attached,
            encoded: Mutex::default(),
            encoded_ahead: Mutex::default(),
            closing: watch::Sender::default(),
            limits: Mutex::default(),
        }
    }

    /// Ends all streams soon.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    pub(super) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// For who must not wait for its peer when all streams end.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// The session is attached until the answer is dropped.
    pub(super) fn join(this: &Arc<Self>, session: String, copies: Vec<CopyState>) -> Joined<S> {
        this.attached.send_modify(|attached| {
            attached.join(&session);
            attached.acknowledge(&session, copies);
        });
        Joined { hub: this.clone(), session }
    }

    /// Of each copy that a session had named before and whose readers see something else now: both. None when the session
    /// has no stream open, or names too many copies.
    pub(super) fn acknowledge(&self, session: &str, copies: Vec<CopyState>) -> Option<Vec<(Position, Position)>> {
        let mut seen = None;
        self.attached.send_modify(|attached| {
            let before = attached.visible_of(session);
            if attached.replace(session, copies) {
                let now = attached.visible_of(session);
                let both = now.into_iter().filter_map(|(copy, now)| Some((*before.get(&copy)?, now)));
                seen = Some(both.filter(|(before, now)| before != now).collect());
            }
        });
        seen
    }

    pub(super) fn copies(&self) -> Vec<CopyState> {
        self.attached.borrow().copies().cloned().collect()
    }

    /// Waits until each attached copy has the position durably or says why not, or until the deadline.
    pub(super) async fn settled(&self, position: &Position, deadline: Instant) {
        let mut watched = self.attached.subscribe();
        let settled = watched.wait_for(|attached| attached.is_settled(position));
        // Too late or closed: the receipt says which copies lack it.
        drop(tokio::time::timeout_at(deadline.into(), settled).await);
    }

    /// The frames of a step. A batch is encoded once, however many subscribers get it.
    pub(super) fn encode(&self, step: &Step) -> Arc<[proto::Frame]> {
        match step {
            Step::Batch(batch) => once(&self.encoded, batch, |batch| {
                let message = within_budget(proto::Batch::from(batch), INLINE_BUDGET_BYTES);
                frames(proto::frame::Kind::Batch, &message.encode_to_vec().into())
            }),
            Step::Ahead(ahead) => once(&self.encoded_ahead, ahead, |ahead| {
                frames(proto::frame::Kind::Ahead, &proto::Ahead::from(ahead).encode_to_vec().into())
            }),
            Step::Manifest(part) => Message::Manifest(part.clone()).to_frames().into(),
            Step::InSync(position) => Message::InSync(*position).to_frames().into(),
        }
    }
}

impl<S: Source> Hub<S> {
    /// What a connection may take of this source, by all of its calls together.
    pub(super) fn limit(&self, Link(connection): &Link) -> Limit {
        let mut limits = lock(&self.limits);
        limits.retain(|(known, _)| known.strong_count() > 0);
        // A weak reference keeps the place of the connection from being given to another.
        if let Some((_, limit)) = limits.iter().find(|(known, _)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(connection))) {
            return limit.clone();
        }
        let limit = self.source.limit();
        limits.push((Arc::downgrade(connection), limit.clone()));
        limit
    }
}

/// The frames of something that was encoded already, or is now.
fn once<T>(encoded: &Mutex<VecDeque<Encoded<T>>>, item: &Arc<T>, encode: impl FnOnce(&T) -> Vec<proto::Frame>) -> Arc<[proto::Frame]> {
    let mut encoded = lock(encoded);
    // A weak reference keeps the place of the item from being given to another.
    let known = encoded.iter().find(|(known, _)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(item)));
    if let Some((_, frames)) = known {
        return frames.clone();
    }
    let frames: Arc<[proto::Frame]> = encode(item).into();
    // Nobody asks again for what the source has let go.
    encoded.retain(|(known, _)| known.strong_count() > 0);
    encoded.push_back((Arc::downgrade(item), frames.clone()));
    if encoded.len() > ENCODED_KEPT {
        encoded.pop_front();
    }
    frames
}

/// Takes bytes of files out of a batch from where they are too many.
fn within_budget(mut batch: proto::Batch, budget_bytes: usize) -> proto::Batch {
    let mut used = 0;
    for put in &mut batch.puts {
        let bytes = put.inline.as_ref().map_or(0, bytes::Bytes::len);
        if used + bytes > budget_bytes {
            put.inline = None;
        } else {
            used += bytes;
        }
    }
    batch
}

/// A session that has a stream open.
pub(super) struct Joined<S> {
    hub: Arc<Hub<S>>,
    session: String,
}

impl<S> Drop for Joined<S> {
    fn drop(&mut self) {
        self.hub.attached.send_modify(|attached| attached.leave(&self.session));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SourceId;

    #[test]
    fn a_batch_is_encoded_once_for_all_subscribers() {
        let hub = Hub::new(());
        let batch = |to| {
            Arc::new(Batch {
                source: SourceId([1; 16]),
                epoch: 1,
                from: 0,
                to,
                is_last_part: true,
                structure: Vec::new(),
                puts: Vec::new(),
            })
        };
        let one = batch(1);
        let first = hub.encode(&Step::Batch(one.clone()));
        assert!(Arc::ptr_eq(&first, &hub.encode(&Step::Batch(one))));
        for to in 2..100 {
            let other = hub.encode(&Step::Batch(batch(to)));
            assert!(!Arc::ptr_eq(&first, &other));
        }
        assert!(lock(&hub.encoded).len() <= ENCODED_KEPT);
    }

    #[test]
    fn bytes_beyond_the_budget_are_left_out() {
        let put = |bytes| proto::Put { inline: Some(vec![0; bytes].into()), ..proto::Put::default() };
        let batch = proto::Batch { puts: vec![put(6), put(6), put(4)], ..proto::Batch::default() };
        let left: Vec<bool> = within_budget(batch, 10).puts.iter().map(|put| put.inline.is_some()).collect();
        assert_eq!(left, [true, false, true]);
    }
}
