//! Comparisons of the whole source, a slice at a time between other work of the engine.

use super::PublishError;
use super::engine::{COMMIT_OBSERVATIONS, Engine, INLINE_MAX_TOTAL_BYTES};
use super::observer::EngineStep;
use super::reader::{Met, Reader};
use super::room::FIRST_PAUSE;
use super::scan::{Scan, Step};
use super::status::Phase;
use crate::feed::Feed;
use crate::index::{At, Observation};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Names that a comparison looks at before it looks whether something else is to be done.
const SLICE_NAMES: u32 = 2048;
/// After an error of the source, before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A comparison of the whole source.
pub(super) struct Comparison {
    scan: Scan,
    /// What is not committed yet. It is older than all that is read from now on, and so is committed before any of that.
    observations: Vec<Observation>,
    /// It checks the feed, slowly, instead of standing in for it.
    pub is_audit: bool,
    pub next_slice: Instant,
    /// All is compared.
    is_done: bool,
    met: Met,
}

impl Comparison {
    fn new(is_audit: bool) -> Self {
        let scan = Scan::whole();
        Self { scan, observations: Vec::new(), is_audit, next_slice: Instant::now(), is_done: false, met: Met::default() }
    }
}

impl Engine {
    pub(super) fn compares_again(&self) -> bool {
        self.feed.is_none() || !self.options.audit_interval.is_zero()
    }

    pub(super) fn is_comparison_due(&mut self) -> bool {
        let now = Instant::now();
        if self.comparison.is_none() && self.compares_again() && self.next_comparison <= now {
            self.begin_comparison(self.feed.is_some());
        }
        self.comparison.as_ref().is_some_and(|comparison| comparison.next_slice <= now)
    }

    /// Something was met that only another comparison can tell more of.
    pub(super) fn compare_soon(&mut self) {
        (self.next_comparison, self.compares_soon) = (Instant::now(), true);
    }

    pub(super) fn begin_comparison(&mut self, is_audit: bool) {
        self.comparison = Some(Comparison::new(is_audit));
        if !is_audit {
            // It compares them too, wherever they go meanwhile.
            self.unfinished.clear();
            self.compares_soon = false;
            self.shared.update(|status| status.phase = Phase::Scanning);
        }
    }

    /// Whether a comparison runs that nothing may escape.
    pub(super) fn is_comparing(&self) -> bool {
        self.comparison.as_ref().is_some_and(|comparison| !comparison.is_audit)
    }

    /// Commits what a comparison has gathered so far. To be called before anything else is read: what was seen earlier must
    /// never be committed on top of what was seen later.
    pub(super) fn commit_compared(&mut self) -> Result<(), PublishError> {
        let gathered = self.comparison.as_mut().map(|comparison| std::mem::take(&mut comparison.observations));
        self.commit(gathered.unwrap_or_default()).map(|_| ())
    }

    /// After what could not be read of the source or at all: whatever that was is found by a comparison, a moment later.
    pub(super) fn or_compare_anew(&mut self, result: Result<(), PublishError>) -> Result<(), PublishError> {
        if let Err(PublishError::Tree(_)) = &result {
            self.begin_comparison(false);
            if let Some(comparison) = &mut self.comparison {
                comparison.next_slice = Instant::now() + RETRY;
            }
        }
        result
    }

    /// Goes on with a comparison for a moment. One that cannot go on begins anew.
    pub(super) fn compare_slice(&mut self) -> Result<(), PublishError> {
        let compared = self.compare_names();
        self.or_compare_anew(compared)
    }

    fn compare_names(&mut self) -> Result<(), PublishError> {
        let Some(mut comparison) = self.comparison.take() else { return Ok(()) };
        self.options.observer.before(EngineStep::Compare);
        if comparison.scan.compared == 0 {
            // The root itself.
            self.take_in_names(BTreeSet::from([At { parent: None, name: Vec::new() }]))?;
        }
        let step = self.scan_slice(&mut comparison)?;
        if step != Step::More || comparison.observations.len() >= COMMIT_OBSERVATIONS || comparison.is_audit {
            let observations = std::mem::take(&mut comparison.observations);
            let changed = self.commit(observations)?;
            if comparison.is_audit && changed > 0 {
                tracing::warn!(changed, "the check of the feed found changes that nobody had told");
                self.shared.update(|status| status.drift_of_feed += changed);
            }
        }
        let is_audit = comparison.is_audit;
        let pause = if is_audit { Duration::from_millis(100) } else { Duration::ZERO };
        (comparison.next_slice, comparison.is_done) = (Instant::now() + pause, step == Step::Done);
        self.comparison = Some(comparison);
        if step == Step::Done { self.finish_comparison(is_audit) } else { Ok(()) }
    }

    /// Compares as many names as are looked at together.
    fn scan_slice(&mut self, comparison: &mut Comparison) -> Result<Step, PublishError> {
        let budget = if comparison.is_audit { (self.options.audit_names_per_second / 10).max(1) } else { SLICE_NAMES };
        let (shared, root) = (self.shared.clone(), self.root.clone());
        let view = shared.index()?.view()?;
        // Before the first comparison is done nobody gets a batch, so that no bytes need to travel with one.
        let inline_bytes =
            if shared.state().is_complete { INLINE_MAX_TOTAL_BYTES.saturating_sub(inline_bytes_of(&comparison.observations)) } else { 0 };
        let mut reader = Reader::new(&root, &shared, self.feed.as_ref(), inline_bytes);
        comparison.scan.resume(&mut reader)?;
        let mut step = Step::More;
        for _ in 0..budget {
            step = comparison.scan.step(&mut reader, &view, &mut comparison.observations)?;
            if step != Step::More || comparison.observations.len() >= COMMIT_OBSERVATIONS {
                break;
            }
        }
        let met = std::mem::take(&mut reader.met);
        drop((reader, view));
        self.note_met(&met);
        comparison.met.add(met);
        self.add_hot(std::mem::take(&mut comparison.scan.hot));
        self.add_unfinished(std::mem::take(&mut comparison.scan.unfinished));
        Ok(step)
    }

    /// Ends a comparison that is through, unless events were lost meanwhile, so that another one began.
    fn finish_comparison(&mut self, is_audit: bool) -> Result<(), PublishError> {
        if !is_audit {
            // A directory that moved meanwhile may have gone from where the comparison would have met it to where it had been
            // already. Such are compared on their own as long as it counts as running, so that it counts until all are known.
            let due = self.feed.as_ref().map(Feed::take_done).unwrap_or_default();
            self.take_in(due)?;
        }
        match self.comparison.take_if(|comparison| comparison.is_done) {
            Some(comparison) => self.end_comparison(is_audit, &comparison.met),
            None => Ok(()),
        }
    }

    fn end_comparison(&mut self, is_audit: bool, met: &Met) -> Result<(), PublishError> {
        let pause = match self.feed {
            Some(_) => self.options.audit_interval,
            None if self.compares_soon => self.options.poll_interval.min(RETRY),
            None => self.options.poll_interval,
        };
        self.next_comparison = Instant::now() + pause;
        let view = self.shared.index()?.view()?;
        let (entries, floor) = (view.entry_count()?, view.floor()?);
        self.shared.update(|status| {
            (status.entries, status.floor) = (entries, floor);
            (status.skipped, status.unreadable) = (met.skipped, met.unreadable);
        });
        if is_audit {
            return Ok(());
        }
        self.options.observer.before(EngineStep::MarkComplete);
        self.shared.complete()?;
        self.room_pause = FIRST_PAUSE;
        // Else the one sync that is waited for would come after another that is not.
        if self.lets_go { Ok(()) } else { self.make_durable() }
    }
}

fn inline_bytes_of(observations: &[Observation]) -> u64 {
    let inline = observations.iter().filter_map(|observation| observation.found.as_ref()?.inline.as_ref());
    inline.map(|bytes| bytes.len() as u64).sum()
}
