//! When which process is killed and brought back: random, and the same again for the same seed.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Kill,
    Start,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<T> {
    pub at: Duration,
    pub target: T,
    pub action: Action,
}

/// How long a process runs before it is killed, and how long it is away.
#[derive(Clone, Debug)]
pub struct Rhythm {
    pub up: Range<Duration>,
    pub down: Range<Duration>,
}

/// The seed of this run: `UPDRAFT_SEED`, or a new one. Printed, for it is needed to see it again.
pub fn seed() -> Result<u64> {
    let seed = match std::env::var("UPDRAFT_SEED") {
        Ok(text) => text.parse().context("UPDRAFT_SEED is not a number")?,
        Err(_) => rand::random(),
    };
    eprintln!("UPDRAFT_SEED={seed}");
    Ok(seed)
}

/// Kills of each target within `time`, in order; each is brought back, the last one maybe later.
pub fn schedule<T: Copy>(
    seed: u64,
    targets: &[T],
    rhythm: &Rhythm,
    time: Duration,
) -> Vec<Event<T>> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut events = Vec::new();
    for &target in targets {
        let mut at = random.random_range(rhythm.up.clone());
        while at < time {
            let back = at + random.random_range(rhythm.down.clone());
            for (at, action) in [(at, Action::Kill), (back, Action::Start)] {
                events.push(Event { at, target, action });
            }
            at = back + random.random_range(rhythm.up.clone());
        }
    }
    events.sort_by_key(|event| event.at);
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn each_target_dies_and_comes_back_in_turns() {
        let rhythm = Rhythm {
            up: millis(1500)..millis(4000),
            down: millis(200)..millis(2000),
        };
        for seed in 0..100 {
            let events = schedule(seed, &['a', 'b'], &rhythm, millis(18_000));
            assert!(events.is_sorted_by_key(|event| event.at));
            for target in ['a', 'b'] {
                let own = events.iter().filter(|event| event.target == target);
                let actions: Vec<Action> = own.map(|event| event.action).collect();
                assert!(actions.len() >= 6 && actions.len().is_multiple_of(2));
                for turn in actions.chunks(2) {
                    assert_eq!(turn, [Action::Kill, Action::Start]);
                }
            }
            assert_eq!(events, schedule(seed, &['a', 'b'], &rhythm, millis(18_000)));
        }
    }
}
