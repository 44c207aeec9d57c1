//! The rules of leadership as a pure state machine: what was read and the time come in, what to write comes out.

use std::time::Duration;

/// How long a holder that stays silent keeps the lease. Source: client-go leaderelection defaults, `LeaseDuration`.
pub const LEASE: Duration = Duration::from_secs(15);
/// How long a holder leads after it asked for the last renewal that succeeded: shorter than [`LEASE`], so that it has
/// stopped before anybody else begins. Source: client-go defaults, `RenewDeadline`.
pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);

/// A lease as it was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Read {
    /// Its version, which changes with every write.
    pub version: String,
    /// Who holds it; none when it was given back.
    pub holder: Option<String>,
}

/// What a candidate does with a lease that it has read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Write it, with the version that was read: it is ours to renew, free, or expired.
    Write {
        /// Whether another held it before.
        changes_hands: bool,
    },
    /// Leave it: another holds it.
    Leave,
}

/// One candidate, with what it remembers of the lease.
#[derive(Clone, Debug)]
pub struct Candidate {
    identity: String,
    /// The version that was read last, and when it was first read.
    seen: Option<(String, Duration)>,
}

impl Candidate {
    /// A candidate under a name that no other has.
    pub fn new(identity: impl Into<String>) -> Self {
        Self { identity: identity.into(), seen: None }
    }

    /// Its name.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Decides at `now`, a time of its own clock that is never compared with that of others. A silent holder is
    /// expired once the same version was seen for longer than [`LEASE`].
    pub fn judge(&mut self, lease: &Read, now: Duration) -> Verdict {
        if self.seen.as_ref().is_none_or(|(version, _)| *version != lease.version) {
            self.seen = Some((lease.version.clone(), now));
        }
        let is_expired = self.seen.as_ref().is_some_and(|(_, since)| now.saturating_sub(*since) > LEASE);
        match lease.holder.as_deref() {
            Some(holder) if holder == self.identity => Verdict::Write { changes_hands: false },
            Some(_) if !is_expired => Verdict::Leave,
            _ => Verdict::Write { changes_hands: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::term::Term;
    use super::*;

    fn read(version: u64, holder: Option<&str>) -> Read {
        Read { version: version.to_string(), holder: holder.map(str::to_owned) }
    }

    fn second(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_free_lease_is_taken_a_held_one_left_and_a_silent_one_taken_after_its_time() {
        let mut candidate = Candidate::new("b");
        assert_eq!(candidate.judge(&read(1, None), second(0)), Verdict::Write { changes_hands: true });
        assert_eq!(candidate.judge(&read(2, Some("a")), second(100)), Verdict::Leave);
        assert_eq!(candidate.judge(&read(2, Some("a")), second(115)), Verdict::Leave, "exactly its time is not yet over");
        assert_eq!(candidate.judge(&read(3, Some("a")), second(116)), Verdict::Leave, "it was renewed");
        assert_eq!(candidate.judge(&read(3, Some("a")), second(132)), Verdict::Write { changes_hands: true });
        assert_eq!(candidate.judge(&read(4, Some("b")), second(133)), Verdict::Write { changes_hands: false });
    }

    /// What one of the replicas does next. Times are in tenths of a second.
    #[derive(Clone, Debug)]
    struct Move {
        who: usize,
        pause: u64,
        /// Between the read and the write: a stall, in which the other may act.
        stall: u64,
        is_reply_lost: bool,
        gives_back: bool,
    }

    fn any_move() -> impl Strategy<Value = Move> {
        let stall = prop_oneof![8 => Just(0u64), 2 => 0..300u64];
        (0..3usize, 0..60u64, stall, prop::bool::weighted(0.1), prop::bool::weighted(0.05))
            .prop_map(|(who, pause, stall, is_reply_lost, gives_back)| Move { who, pause, stall, is_reply_lost, gives_back })
    }

    /// A write that is under way: it arrives at its time, and succeeds if nobody else wrote since it read.
    #[derive(Debug)]
    struct UnderWay {
        arrives: u64,
        who: usize,
        asked: u64,
        read_version: u64,
        is_reply_lost: bool,
    }

    /// The API server, three replicas whose clocks started at different times, and all writes that are under way.
    struct World {
        version: u64,
        holder: Option<usize>,
        candidates: Vec<Candidate>,
        terms: Vec<Term>,
        under_way: Vec<UnderWay>,
        now: u64,
    }

    const NAMES: [&str; 3] = ["a", "b", "c"];

    impl World {
        fn new() -> Self {
            Self {
                version: 0,
                holder: None,
                candidates: NAMES.map(Candidate::new).into(),
                terms: vec![Term::default(), Term::default(), Term::default()],
                under_way: Vec::new(),
                now: 0,
            }
        }

        /// The clock of a replica: it started when no other did.
        fn clock(who: usize, tenths: u64) -> Duration {
            Duration::from_millis(100 * tenths) + second(1_000_000 * u64::try_from(who).unwrap())
        }

        fn leaders(&self) -> Vec<&str> {
            (0..NAMES.len()).filter(|who| self.terms[*who].lasts_at(Self::clock(*who, self.now))).map(|who| NAMES[who]).collect()
        }

        /// Time passes; writes arrive in order.
        fn pass_until(&mut self, until: u64) -> Result<(), String> {
            while self.now < until {
                self.now += 1;
                let (arrived, later) = self.under_way.drain(..).partition(|write: &UnderWay| write.arrives <= self.now);
                self.under_way = later;
                for write in arrived {
                    self.arrive(&write);
                }
                if self.leaders().len() > 1 {
                    return Err(format!("at {} {:?} lead", self.now, self.leaders()));
                }
            }
            Ok(())
        }

        fn arrive(&mut self, write: &UnderWay) {
            if write.read_version == self.version {
                self.version += 1;
                self.holder = Some(write.who);
                if !write.is_reply_lost {
                    self.terms[write.who].extend(Self::clock(write.who, write.asked) + RENEW_DEADLINE);
                }
            }
        }

        fn act(&mut self, step: &Move) {
            let clock = Self::clock(step.who, self.now);
            let lease = read(self.version, self.holder.map(|holder| NAMES[holder]));
            if step.gives_back && self.holder == Some(step.who) {
                self.terms[step.who] = Term::default();
                self.holder = None;
                self.version += 1;
                return;
            }
            if let Verdict::Write { .. } = self.candidates[step.who].judge(&lease, clock) {
                self.under_way.push(UnderWay {
                    arrives: self.now + step.stall,
                    who: step.who,
                    asked: self.now,
                    read_version: self.version,
                    is_reply_lost: step.is_reply_lost,
                });
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn two_replicas_never_lead_at_the_same_time(steps in prop::collection::vec(any_move(), 1..150)) {
            let mut world = World::new();
            for step in &steps {
                world.pass_until(world.now + step.pause).map_err(TestCaseError::fail)?;
                world.act(step);
            }
            world.pass_until(world.now + 400).map_err(TestCaseError::fail)?;
        }

        #[test]
        fn a_lease_that_its_holder_abandons_is_taken_within_its_time_and_a_try(start in 0..100u64, tries in prop::collection::vec(1..20u64, 30..60)) {
            let mut world = World::new();
            world.pass_until(start).map_err(TestCaseError::fail)?;
            world.act(&Move { who: 0, pause: 0, stall: 0, is_reply_lost: false, gives_back: false });
            let abandoned = world.now;
            for pause in tries {
                world.pass_until(world.now + pause).map_err(TestCaseError::fail)?;
                if world.holder == Some(1) {
                    break;
                }
                world.act(&Move { who: 1, pause: 0, stall: 0, is_reply_lost: false, gives_back: false });
            }
            world.pass_until(world.now + 1).map_err(TestCaseError::fail)?;
            // The first look comes at most one try after, the last at most one try and a tick after the lease is over.
            prop_assert!(world.holder == Some(1) && world.now - abandoned <= 150 + 3 * 20, "{} after {abandoned}", world.now);
        }
    }
}
