//! Leader time: what a leader stamps into entries, and what leases, expiry and ages are counted in.
//!
//! The rule. Leader time is the latest of
//! 1. the time of the state: it never goes back;
//! 2. the last stamp of this node and what has passed since by its monotonic clock: it goes on at
//!    the right rate, also after a leader whose clock was ahead;
//! 3. the wall clock time that a majority of the voters' clocks have reached: it never runs ahead
//!    because one node's clock is wrong, and catches up when it was behind.
//!
//! The nodes tell each other their clocks every few seconds (`compare`). A leader that does not know
//! a majority of them goes without (3). On one node its own clock is the majority: there is no other.
//! The very first stamp of a hub takes this node's clock as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::Nanos;
use tokio::time::Instant;

/// What was heard longer ago says nothing any more: clocks are set, and nodes are stopped.
const HEARD_WITHIN: Duration = Duration::from_secs(60);

/// Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    own: u64,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    voters: BTreeSet<u64>,
    /// What a peer's clock showed, and when.
    peers: BTreeMap<u64, (Nanos, Instant)>,
    last_stamp: Option<(Nanos, Instant)>,
}

impl Clock {
    pub(super) fn new(own: u64, voters: impl IntoIterator<Item = u64>) -> Clock {
        let known = Known {
            voters: voters.into_iter().collect(),
            ..Known::default()
        };
        Clock {
            own,
            known: Arc::new(Mutex::new(known)),
        }
    }

    pub(super) fn set_voters(&self, voters: BTreeSet<u64>) {
        self.lock().voters = voters;
    }

    pub(super) fn heard(&self, peer: u64, time: Nanos, at: Instant) {
        self.lock().peers.insert(peer, (time, at));
    }

    /// The stamp of the next entry, given the time of the state and this node's clocks.
    pub(super) fn stamp(&self, state: Nanos, wall: Nanos, at: Instant) -> Nanos {
        let mut known = self.lock();
        let stamp = known.time(self.own, state, wall, at);
        known.last_stamp = Some((stamp, at));
        stamp
    }

    /// What the stamp would be: ages are reckoned from it.
    pub(super) fn time(&self, state: Nanos, wall: Nanos, at: Instant) -> Nanos {
        self.lock().time(self.own, state, wall, at)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn time(&self, own: u64, state: Nanos, wall: Nanos, at: Instant) -> Nanos {
        let first = (state == Nanos::default()).then_some(wall);
        let last = self.last_stamp.map(|last| shown(last, at));
        let majority = self.majority(own, wall, at);
        let rules = [Some(state), last, majority, first];
        rules.into_iter().flatten().max().unwrap_or(state)
    }

    /// The time that a majority of the voters' clocks have reached.
    fn majority(&self, own: u64, wall: Nanos, at: Instant) -> Option<Nanos> {
        let clock = |id: &u64| {
            if *id == own {
                return Some(wall);
            }
            let heard = self.peers.get(id)?;
            let fresh = at.saturating_duration_since(heard.1) <= HEARD_WITHIN;
            fresh.then(|| shown(*heard, at))
        };
        let mut clocks: Vec<Nanos> = self.voters.iter().filter_map(clock).collect();
        clocks.sort_unstable_by(|a, b| b.cmp(a));
        clocks.get(self.voters.len() / 2).copied()
    }
}

/// What a clock that showed this time then shows now.
fn shown((Nanos(time), then): (Nanos, Instant), now: Instant) -> Nanos {
    let passed = now.saturating_duration_since(then).as_nanos();
    Nanos(time.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const HOUR: i64 = 3600 * SECOND;
    /// Some day.
    const DAY: i64 = 500_000 * HOUR;

    /// Stamps at so many seconds since the beginning, by this wall clock and time of the state.
    fn stamp(clock: &Clock, began: Instant, after: u64, wall: i64, state: i64) -> i64 {
        let at = began + Duration::from_secs(after);
        clock.stamp(Nanos(state), Nanos(wall), at).0
    }

    #[test]
    fn time_goes_on_after_a_leader_that_was_ahead() {
        let (clock, began) = (Clock::new(1, [1]), Instant::now());
        let ahead = DAY + HOUR;
        assert_eq!(stamp(&clock, began, 0, DAY, ahead), ahead);
        for after in 1..10 {
            let passed = i64::try_from(after).unwrap() * SECOND;
            let stamped = stamp(&clock, began, after, DAY + passed, ahead);
            assert_eq!(stamped, ahead + passed);
        }
    }

    #[test]
    fn a_wall_clock_that_is_set_back_does_not_stop_it_and_one_that_is_set_on_is_followed() {
        let (clock, began) = (Clock::new(1, [1]), Instant::now());
        assert_eq!(stamp(&clock, began, 0, DAY, 1), DAY);
        assert_eq!(stamp(&clock, began, 5, DAY - HOUR, DAY), DAY + 5 * SECOND);
        assert_eq!(stamp(&clock, began, 6, DAY + HOUR, DAY), DAY + HOUR);
    }

    #[test]
    fn one_wrong_clock_of_three_moves_nothing() {
        for (own, peers) in [
            (HOUR, [0, SECOND]),
            (-HOUR, [0, SECOND]),
            (SECOND, [0, HOUR]),
            (SECOND, [0, -HOUR]),
        ] {
            let (clock, began) = (Clock::new(1, [1, 2, 3]), Instant::now());
            for (id, ahead) in (2..).zip(peers) {
                clock.heard(id, Nanos(DAY + ahead), began);
            }
            let stamped = stamp(&clock, began, 3, DAY + own + 3 * SECOND, 1);
            assert!(
                (DAY..=DAY + 4 * SECOND).contains(&stamped),
                "{own} {peers:?}"
            );
        }
    }

    #[test]
    fn with_two_of_three_the_clock_that_is_behind_counts_and_alone_none() {
        let (clock, began) = (Clock::new(1, [1, 2, 3]), Instant::now());
        assert_eq!(stamp(&clock, began, 0, DAY + HOUR, DAY), DAY);
        clock.heard(2, Nanos(DAY), began);
        let stamped = stamp(&clock, began, 1, DAY + HOUR, DAY);
        assert_eq!(stamped, DAY + SECOND);
        // Heard too long ago.
        let stamped = stamp(&clock, began, 100, DAY + HOUR, DAY);
        assert_eq!(stamped, DAY + 100 * SECOND);
        clock.set_voters([1].into());
        assert_eq!(stamp(&clock, began, 100, DAY + HOUR, DAY), DAY + HOUR);
    }

    #[test]
    fn the_first_stamp_of_a_hub_is_this_node_s_clock() {
        let (clock, began) = (Clock::new(1, [1, 2, 3]), Instant::now());
        assert_eq!(stamp(&clock, began, 0, DAY, 0), DAY);
    }
}
