//! The hash of the state at points that all nodes of the hub share: after the first entry of each
//! second of leader time, and after every so many entries. Peers compare them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// A few minutes: nodes that are further apart than that compare later ones.
const KEPT: usize = 512;

/// Log index and hash.
pub(crate) type Sample = (u64, [u8; 32]);

#[derive(Debug, Default)]
pub(crate) struct Samples(Mutex<VecDeque<Sample>>);

impl Samples {
    pub(crate) fn push(&self, sample: Sample) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.push_back(sample);
        if samples.len() > KEPT {
            samples.pop_front();
        }
    }

    /// Those beyond a log index, oldest first.
    pub(crate) fn after(&self, log_index: u64) -> Vec<Sample> {
        let samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let from = samples.partition_point(|(at, _)| *at <= log_index);
        samples.range(from..).copied().collect()
    }

    /// Another state was taken over; these were of the one before.
    pub(super) fn clear(&self) {
        let mut samples = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        samples.clear();
    }
}
