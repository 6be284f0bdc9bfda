//! How fast one producer may append: a token bucket each, kept by the leader alone. Who is over it
//! waits, and the others don't wait for it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use tokio::time::Instant;

use bytes::Bytes;

/// Buckets that are kept; beyond it those that are full again are forgotten.
const BUCKETS: usize = 1024;

/// The buckets of all producers that append here.
#[derive(Debug)]
pub(super) struct Quota {
    bytes_per_second: Option<u64>,
    buckets: Mutex<BTreeMap<Bytes, Bucket>>,
}

/// Holds a second's worth at most. An append may overdraw it, so that one that is larger than that
/// goes through, and what follows waits for it.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn fill(&mut self, rate: f64, now: Instant) {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + since * rate).min(rate);
        self.filled = now;
    }
}

impl Quota {
    pub(super) fn new(bytes_per_second: Option<u64>) -> Quota {
        Quota {
            bytes_per_second,
            buckets: Mutex::default(),
        }
    }

    /// Takes an append of so many bytes, or says why not yet.
    pub(super) fn take(&self, producer: &Bytes, bytes: usize, now: Instant) -> Result<(), String> {
        let Some(limit) = self.bytes_per_second else {
            return Ok(());
        };
        let (rate, bytes) = (number(limit), number(bytes as u64));
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS && !buckets.contains_key(producer) {
            buckets.retain(|_, bucket| {
                bucket.fill(rate, now);
                bucket.tokens < rate
            });
        }
        let bucket = buckets.entry(producer.clone()).or_insert(Bucket {
            tokens: rate,
            filled: now,
        });
        bucket.fill(rate, now);
        if bucket.tokens <= 0.0 {
            return Err(format!(
                "over quota: a producer may append {limit} bytes a second (log.quota)"
            ));
        }
        bucket.tokens -= bytes;
        Ok(())
    }
}

#[allow(clippy::cast_precision_loss, reason = "a pace, not a count")]
fn number(bytes: u64) -> f64 {
    bytes as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ONE: Bytes = Bytes::from_static(b"one");

    #[test]
    fn a_producer_gets_its_rate_and_the_others_theirs() {
        let quota = Quota::new(Some(1000));
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        for (millis, bytes, taken) in [
            (0, 600, true),
            (0, 600, true),
            (0, 1, false),
            (199, 1, false),
            (201, 5000, true),
            (4000, 1, false),
            (5300, 1, true),
            // It has not saved more than a second's worth.
            (99_000, 999, true),
            (99_000, 1, true),
            (99_000, 1, false),
        ] {
            let outcome = quota.take(&ONE, bytes, at(millis));
            assert_eq!(outcome.is_ok(), taken, "{bytes} at {millis}: {outcome:?}");
        }
        assert!(
            quota
                .take(&Bytes::from_static(b"two"), 1, at(99_000))
                .is_ok()
        );
    }

    #[test]
    fn producers_that_have_gone_are_forgotten() {
        let quota = Quota::new(Some(1000));
        let start = Instant::now();
        for id in 0..5000_u64 {
            let id = Bytes::copy_from_slice(&id.to_be_bytes());
            let now = start + Duration::from_secs(u64::from_be_bytes(id[..].try_into().unwrap()));
            quota.take(&id, 10, now).unwrap();
        }
        assert!(quota.buckets.lock().unwrap().len() <= BUCKETS);
    }

    #[test]
    fn without_a_quota_nobody_waits() {
        let quota = Quota::new(None);
        for _ in 0..100 {
            quota.take(&ONE, usize::MAX, Instant::now()).unwrap();
        }
    }
}
