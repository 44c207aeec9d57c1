//! Which of the planned EC2 writes are made now: no more than the account allows, the urgent ones first, no pool forgotten.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use crate::domain::{ObjectKey, Phase};
use crate::plan::{Action, PoolSeen};

/// Calls of each action that are kept for claims: a pod that waits is served at once, also while a pool is filled.
const KEPT_FOR_CLAIMS: u32 = 5;

/// How much somebody waits for an effect; the last waits most.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Urgency {
    /// The pool has other ready volumes.
    Refill,
    /// The pool has none that is ready.
    Empty,
    /// A claim waits for it.
    Claim,
}

/// One planned EC2 write.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// The action of EC2.
    pub call: &'static str,
    /// How much somebody waits for it.
    pub urgency: Urgency,
}

/// When each pool had its last turn, so that none waits for ever behind a larger one.
#[derive(Debug, Default)]
pub struct Turns {
    last: HashMap<ObjectKey, u64>,
    count: u64,
}

/// The EC2 writes among the actions of a pool, in their order.
pub fn wishes(seen: &PoolSeen, actions: &[Action]) -> Vec<Wish> {
    let claimed: HashSet<&ObjectKey> = seen.volumes.iter().filter(|volume| volume.claim.is_some()).map(|volume| &volume.key).collect();
    let has_ready = seen.volumes.iter().any(|volume| volume.phase == Some(Phase::Ready) && volume.claim.is_none());
    let urgency = |action: &Action| match action {
        Action::CreateVolume(request) if claimed.contains(&request.key) => Urgency::Claim,
        Action::CreateVolume(_) if !has_ready => Urgency::Empty,
        _ => Urgency::Refill,
    };
    actions.iter().filter_map(|action| Some(Wish { call: action.ec2_call()?, urgency: urgency(action) })).collect()
}

/// A wish and its place in the queue: what compares least is served first.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Place<'a> {
    urgency: Reverse<Urgency>,
    /// How many wishes of the pool of the same kind come before it.
    rank: usize,
    last_turn: u64,
    pool: &'a ObjectKey,
    index: usize,
    call: &'static str,
}

/// Says for each wish of each pool whether it is granted. `free` is how many calls of each action may be made now.
///
/// The most urgent go first, then the first wish of every pool, then the second of every pool, and so on; among equals
/// the pool whose last turn is longest ago.
pub fn admit(
    wishes: &BTreeMap<ObjectKey, Vec<Wish>>,
    mut free: BTreeMap<&'static str, u32>,
    turns: &mut Turns,
) -> BTreeMap<ObjectKey, Vec<bool>> {
    turns.last.retain(|pool, _| wishes.contains_key(pool));
    let mut granted: BTreeMap<ObjectKey, Vec<bool>> =
        wishes.iter().map(|(pool, wishes)| (pool.clone(), vec![false; wishes.len()])).collect();
    for place in queue(wishes, turns) {
        let kept = if place.urgency.0 == Urgency::Claim { 0 } else { KEPT_FOR_CLAIMS };
        let left = free.entry(place.call).or_default();
        if *left > kept {
            *left -= 1;
            turns.count += 1;
            turns.last.insert(place.pool.clone(), turns.count);
            if let Some(of_pool) = granted.get_mut(place.pool) {
                of_pool[place.index] = true;
            }
        }
    }
    granted
}

fn queue<'a>(wishes: &'a BTreeMap<ObjectKey, Vec<Wish>>, turns: &Turns) -> Vec<Place<'a>> {
    let mut queue = Vec::new();
    for (pool, wishes) in wishes {
        let last_turn = turns.last.get(pool).copied().unwrap_or(0);
        let mut ranks: BTreeMap<(&str, Urgency), usize> = BTreeMap::new();
        for (index, wish) in wishes.iter().enumerate() {
            let rank = ranks.entry((wish.call, wish.urgency)).or_default();
            queue.push(Place { urgency: Reverse(wish.urgency), rank: *rank, last_turn, pool, index, call: wish.call });
            *rank += 1;
        }
    }
    queue.sort();
    queue
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pool(name: &str) -> ObjectKey {
        ObjectKey::new("shop", name)
    }

    fn wishes(count: usize, urgency: Urgency) -> Vec<Wish> {
        vec![Wish { call: "CreateVolume", urgency }; count]
    }

    fn free(count: u32) -> BTreeMap<&'static str, u32> {
        [("CreateVolume", count + KEPT_FOR_CLAIMS)].into()
    }

    fn granted(answer: &BTreeMap<ObjectKey, Vec<bool>>, name: &str) -> usize {
        answer[&pool(name)].iter().filter(|granted| **granted).count()
    }

    #[test]
    fn no_more_than_what_is_free_is_granted_in_order() {
        let answer = admit(&[(pool("web"), wishes(5, Urgency::Refill))].into(), free(2), &mut Turns::default());
        assert_eq!(answer[&pool("web")], [true, true, false, false, false]);
    }

    #[test]
    fn a_small_pool_does_not_wait_behind_a_large_one() {
        let all = [(pool("large"), wishes(1000, Urgency::Refill)), (pool("small"), wishes(2, Urgency::Refill))].into();
        let answer = admit(&all, free(10), &mut Turns::default());
        assert_eq!((granted(&answer, "large"), granted(&answer, "small")), (8, 2));
    }

    #[test]
    fn a_claim_goes_first_and_has_calls_that_are_kept_for_it() {
        let all = [(pool("a"), wishes(100, Urgency::Refill)), (pool("b"), wishes(2, Urgency::Claim))].into();
        let answer = admit(&all, [("CreateVolume", KEPT_FOR_CLAIMS)].into(), &mut Turns::default());
        assert_eq!((granted(&answer, "a"), granted(&answer, "b")), (0, 2));
    }

    #[test]
    fn an_empty_pool_goes_before_one_that_has_something() {
        let all = [(pool("a"), wishes(9, Urgency::Refill)), (pool("b"), wishes(9, Urgency::Empty))].into();
        let answer = admit(&all, free(9), &mut Turns::default());
        assert_eq!((granted(&answer, "a"), granted(&answer, "b")), (0, 9));
    }

    #[test]
    fn pools_take_turns_when_there_is_less_than_one_call_for_each() {
        let all: BTreeMap<_, _> = (0..10).map(|number| (pool(&format!("p{number}")), wishes(3, Urgency::Refill))).collect();
        let mut turns = Turns::default();
        let mut served: BTreeMap<ObjectKey, usize> = BTreeMap::new();
        for _ in 0..10 {
            for (pool, grants) in admit(&all, free(3), &mut turns) {
                *served.entry(pool).or_default() += grants.iter().filter(|granted| **granted).count();
            }
        }
        assert!(served.values().all(|count| *count == 3), "{served:?}");
    }

    #[test]
    fn actions_do_not_wait_for_each_other() {
        let delete = Wish { call: "DeleteVolume", urgency: Urgency::Refill };
        let all = [(pool("web"), [wishes(3, Urgency::Refill), vec![delete]].concat())].into();
        let answer = admit(&all, [("DeleteVolume", 20)].into(), &mut Turns::default());
        assert_eq!(answer[&pool("web")], [false, false, false, true]);
    }

    proptest! {
        #[test]
        fn never_more_than_is_free_and_never_idle(counts in prop::collection::vec(0..20usize, 1..8), calls in 0..40u32) {
            let all: BTreeMap<_, _> =
                counts.iter().enumerate().map(|(number, count)| (pool(&number.to_string()), wishes(*count, Urgency::Refill))).collect();
            let answer = admit(&all, free(calls), &mut Turns::default());
            let given = answer.values().flatten().filter(|granted| **granted).count();
            prop_assert_eq!(given, counts.iter().sum::<usize>().min(calls as usize));
        }
    }
}
