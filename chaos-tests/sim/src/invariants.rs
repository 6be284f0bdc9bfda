//! What must hold at every moment, whatever fails: one file each.

mod election_safety;
mod log_matching;
mod committed_on_quorum;
mod acknowledged_is_read;
mod order_per_producer;
mod exactly_once;
mod cursors_monotone;
mod pinned_is_kept;
mod equal_state;
mod recovers;

use std::fmt::Debug;

use crate::look::Look;

/// Something that must hold.
pub trait Invariant: Debug {
    /// That of its file.
    fn name(&self) -> &'static str;

    /// Takes in what happened since the last look; an error says how it is broken.
    fn check(&mut self, look: &Look<'_>) -> Result<(), String>;

    /// Once more when everything was healed and every node was read to its end.
    fn check_at_end(&mut self, end: &End) -> Result<(), String> {
        let _ = end;
        Ok(())
    }
}

/// What the hub came to in the end.
#[derive(Debug, Default)]
pub struct End {
    /// Node, applied index, hash of the state.
    pub states: Vec<(u64, u64, Vec<u8>)>,
    /// Everything below is deleted.
    pub first_offset: u64,
    /// The readers that read the whole log of one node each.
    pub audits: Vec<crate::history::Reader>,
}

/// A broken one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

/// Those with these names, or all.
#[must_use]
pub fn named(names: &[String]) -> Vec<Box<dyn Invariant>> {
    let mut invariants = all();
    invariants.retain(|invariant| names.is_empty() || names.iter().any(|n| n == invariant.name()));
    invariants
}

#[must_use]
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(election_safety::ElectionSafety::default()),
        Box::new(log_matching::LogMatching::default()),
        Box::new(committed_on_quorum::CommittedOnQuorum),
        Box::new(acknowledged_is_read::AcknowledgedIsRead::default()),
        Box::new(order_per_producer::OrderPerProducer::default()),
        Box::new(exactly_once::ExactlyOnce::default()),
        Box::new(cursors_monotone::CursorsMonotone::default()),
        Box::new(pinned_is_kept::PinnedIsKept::default()),
        Box::new(equal_state::EqualState::default()),
        Box::new(recovers::Recovers),
    ]
}

#[cfg(test)]
mod tests;
