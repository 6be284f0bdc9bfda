//! Slows down who guesses passwords, by name and by address. Pure: time comes in.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failures that cost no wait: people mistype.
const FREE: u32 = 3;
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// No longer, so that nobody is locked out for good by somebody else's guesses.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Without another failure for this long, all is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);
/// Names and addresses that are remembered; beyond it, the longest untouched is forgotten.
const MOST: usize = 10_000;
/// Of a name that is tried; nobody has a longer one.
const MAX_NAME_BYTES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Throttle {
    names: Table<String>,
    addresses: Table<IpAddr>,
}

#[derive(Debug)]
struct Table<K>(HashMap<K, Failures>);

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Throttle {
    /// An attempt that counts as a failure until [`Throttle::succeeded`] says otherwise, so that
    /// many at once gain nothing; or how long to wait for the next one.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        name: &str,
        address: IpAddr,
    ) -> Result<(), Duration> {
        let (name, address) = (name_key(name), address_key(address));
        let wait = self.names.wait(now, &name);
        let wait = wait.max(self.addresses.wait(now, &address));
        if !wait.is_zero() {
            return Err(wait);
        }
        self.names.failed(now, name);
        self.addresses.failed(now, address);
        Ok(())
    }

    pub(super) fn succeeded(&mut self, name: &str, address: IpAddr) {
        self.names.0.remove(&name_key(name));
        self.addresses.0.remove(&address_key(address));
    }
}

fn name_key(name: &str) -> String {
    name.chars().take(MAX_NAME_BYTES).collect()
}

/// Who has one IPv6 address has all of its /64.
fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 => v4,
    }
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Table(HashMap::new())
    }
}

impl<K: Eq + Hash + Clone> Table<K> {
    fn wait(&self, now: Instant, key: &K) -> Duration {
        let failures = self.0.get(key).filter(|failures| !failures.is_old(now));
        failures.map_or(Duration::ZERO, |failures| {
            (failures.last + wait_after(failures.count)).saturating_duration_since(now)
        })
    }

    fn failed(&mut self, now: Instant, key: K) {
        if !self.0.contains_key(&key) && self.0.len() >= MOST {
            self.make_room(now);
        }
        let failures = self.0.entry(key).or_insert(Failures {
            count: 0,
            last: now,
        });
        if failures.is_old(now) {
            failures.count = 0;
        }
        *failures = Failures {
            count: failures.count.saturating_add(1),
            last: now,
        };
    }

    fn make_room(&mut self, now: Instant) {
        self.0.retain(|_, failures| !failures.is_old(now));
        if self.0.len() >= MOST {
            let oldest = self.0.iter().min_by_key(|(_, failures)| failures.last);
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                self.0.remove(&key);
            }
        }
    }
}

impl Failures {
    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.last) > FORGOTTEN_AFTER
    }
}

fn wait_after(failures: u32) -> Duration {
    match failures.checked_sub(FREE) {
        None => Duration::ZERO,
        Some(more) => FIRST_WAIT
            .saturating_mul(1 << more.min(16))
            .min(LONGEST_WAIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn waits_grow_from_the_third_failure_on() {
        let seconds = |failures| wait_after(failures).as_secs();
        let waits: Vec<u64> = (0..12).map(seconds).collect();
        assert_eq!(waits, [0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(wait_after(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn many_at_once_gain_nothing() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let taken = (0..100).filter(|_| throttle.begin(now, "anna", address(1)).is_ok());
        assert_eq!(taken.count(), 3);
    }

    #[test]
    fn a_name_is_slowed_from_everywhere_and_an_address_for_every_name() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        for last in 0..3 {
            throttle.begin(now, "anna", address(last)).unwrap();
        }
        assert_eq!(
            throttle.begin(now, "anna", address(9)),
            Err(Duration::from_secs(1))
        );
        assert_eq!(throttle.begin(now, "bob", address(8)), Ok(()));
        for name in ["x", "y"] {
            throttle.begin(now, name, address(8)).unwrap();
        }
        assert!(throttle.begin(now, "z", address(8)).is_err());
        let later = now + Duration::from_secs(1);
        assert_eq!(throttle.begin(later, "z", address(8)), Ok(()));
    }

    #[test]
    fn a_success_and_time_forgive() {
        let (mut throttle, now) = (Throttle::default(), Instant::now());
        let fail = |throttle: &mut Throttle| {
            for _ in 0..3 {
                throttle.begin(now, "anna", address(1)).unwrap();
            }
            assert!(throttle.begin(now, "anna", address(1)).is_err());
        };
        fail(&mut throttle);
        throttle.succeeded("anna", address(1));
        fail(&mut throttle);
        let later = now + FORGOTTEN_AFTER + Duration::from_secs(1);
        for _ in 0..3 {
            throttle.begin(later, "anna", address(1)).unwrap();
        }
    }

    #[test]
    fn one_ipv6_network_is_one_address() {
        let key = |text: &str| address_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8::1"));
        assert_eq!(key("::ffff:10.0.0.1"), address(1));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut table, now) = (Table::default(), Instant::now());
        for number in 0..u32::try_from(MOST).unwrap() + 50 {
            table.failed(now + Duration::from_millis(number.into()), number);
        }
        assert_eq!(table.0.len(), MOST);
        assert!(!table.0.contains_key(&0), "the oldest goes first");
    }
}
