//! How often something happens. Pure.

use proto::Nanos;

/// After this time an update counts for a third of what it counted.
const WINDOW_SECONDS: f64 = 20.0;

/// Updates per second, the newest counting most.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    /// Updates within about a window before `at`.
    weight: f64,
    at: Nanos,
    since: Option<Nanos>,
}

impl Rate {
    pub(crate) fn update(&mut self, now: Nanos) {
        self.weight = self.faded(now) + 1.0;
        self.at = self.at.max(now);
        self.since.get_or_insert(now);
    }

    fn faded(&self, now: Nanos) -> f64 {
        self.weight * (-seconds(self.at, now) / WINDOW_SECONDS).exp()
    }

    /// `None` when too little has been seen.
    pub(crate) fn per_second(&self, now: Nanos) -> Option<f64> {
        let known = seconds(self.since?, now);
        // The first update began the measurement and is none of what came in it.
        let first = (-known / WINDOW_SECONDS).exp();
        let seen = WINDOW_SECONDS * (1.0 - first);
        (known >= 1.0).then(|| ((self.faded(now) - first) / seen).max(0.0))
    }
}

#[allow(clippy::cast_precision_loss, reason = "seconds for a rate")]
fn seconds(from: Nanos, to: Nanos) -> f64 {
    to.0.saturating_sub(from.0).max(0) as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let second = 1_000_000_000;
        for per_second in [1, 10, 1000] {
            let mut rate = Rate::default();
            assert_eq!(rate.per_second(Nanos(0)), None);
            for n in 0..=5 * per_second {
                rate.update(Nanos(n * second / per_second));
            }
            let found = rate.per_second(Nanos(5 * second)).unwrap();
            let expected = per_second as f64;
            assert!(
                (found / expected - 1.0).abs() < 0.15,
                "{per_second}: {found}"
            );
            // A tag that says nothing more is slow soon.
            let later = rate.per_second(Nanos(200 * second)).unwrap();
            assert!(later < expected / 100.0, "{per_second}: {later}");
        }
    }

    #[test]
    fn a_clock_that_goes_back_does_no_harm() {
        let mut rate = Rate::default();
        rate.update(Nanos(5_000_000_000));
        rate.update(Nanos(1));
        assert!(rate.per_second(Nanos(0)).is_none());
        assert!(rate.per_second(Nanos(i64::MAX)).unwrap() >= 0.0);
    }
}
