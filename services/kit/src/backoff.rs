//! How long to wait before a connection is tried again.

use std::time::Duration;

pub use backon::{BackoffBuilder, ExponentialBuilder, Retryable};

/// From 100 ms, doubling up to 10 s, with jitter so that the clients of a server that came back
/// don't arrive all at once; without an end, because a link that is down for a week is no error.
#[must_use]
pub fn reconnect() -> ExponentialBuilder {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(10))
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
}
