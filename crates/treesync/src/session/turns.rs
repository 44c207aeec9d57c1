//! How many copies of a session stage files ahead at once.
//!
//! That is work on suspicion. Half of the processors stay free for the publisher, if it is on this host, and for pods, where
//! there are more than two: with one at a time, ten copies are not done before the source is quiet. Each session counts for
//! itself, so several on a host may take more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::plan::CopyId;

type Wake = Box<dyn FnOnce() + Send>;

/// Shared by the copies of a session.
#[derive(Clone)]
pub(super) struct Turns(Arc<Mutex<State>>);

struct State {
    free: usize,
    waiting: BTreeMap<CopyId, Wake>,
}

/// Is given back when it is dropped.
pub(super) struct Turn(Turns);

impl Turns {
    /// As many as half of the processors, and two at least where there are two.
    pub(super) fn new() -> Self {
        Self::of(at_once(std::thread::available_parallelism().map_or(1, usize::from)))
    }

    fn of(free: usize) -> Self {
        Self(Arc::new(Mutex::new(State { free, waiting: BTreeMap::new() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn, or none; then `wake` is called once when there may be one.
    pub(super) fn take(&self, copy: CopyId, wake: impl FnOnce() + Send + 'static) -> Option<Turn> {
        let mut state = self.state();
        if state.free == 0 {
            state.waiting.insert(copy, Box::new(wake));
            return None;
        }
        state.free -= 1;
        state.waiting.remove(&copy);
        Some(Turn(self.clone()))
    }
}

fn at_once(processors: usize) -> usize {
    (processors / 2).max(processors.clamp(1, 2))
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.free += 1;
        // All of them: one that has other things to do by now would let the others wait.
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for wake in waiting.into_values() {
            wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_large_host_keeps_half_of_its_processors_for_others() {
        assert_eq!([0, 1, 2, 3, 4, 5, 8, 64].map(at_once), [1, 1, 2, 2, 2, 2, 4, 32]);
    }

    #[test]
    fn who_waits_for_a_turn_is_woken_once_when_one_is_given_back() {
        let (turns, woken) = (Turns::of(2), Arc::new(AtomicUsize::new(0)));
        let wake = |woken: &Arc<AtomicUsize>| {
            let woken = woken.clone();
            move || {
                woken.fetch_add(1, Ordering::Relaxed);
            }
        };
        let (first, second) = (turns.take(0, wake(&woken)), turns.take(1, wake(&woken)));
        assert!(first.is_some() && second.is_some());
        assert!(turns.take(2, wake(&woken)).is_none() && turns.take(2, wake(&woken)).is_none() && turns.take(3, wake(&woken)).is_none());
        drop(first);
        assert_eq!(woken.load(Ordering::Relaxed), 2);
        assert!(turns.take(2, wake(&woken)).is_some());
        drop(second);
        assert_eq!(woken.load(Ordering::Relaxed), 2, "nobody waits any more");
    }
}
