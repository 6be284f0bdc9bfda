//! The newest envelopes in memory, for everybody who reads near the end.

use std::collections::VecDeque;

use proto::Lane;
use proto::rpc::Delivery;

use super::{Stretch, size, wanted};

#[derive(Debug)]
pub(super) struct Recent {
    deliveries: VecDeque<Delivery>,
    bytes: usize,
    budget: usize,
    /// Everything from here to the log's end is in memory.
    start: u64,
}

impl Recent {
    pub(super) fn new(budget: usize, start: u64) -> Recent {
        Recent {
            deliveries: VecDeque::new(),
            bytes: 0,
            budget,
            start,
        }
    }

    pub(super) fn budget(&self) -> usize {
        self.budget
    }

    pub(super) fn push(&mut self, delivery: Delivery) {
        self.bytes += size(&delivery);
        self.deliveries.push_back(delivery);
        while self.bytes > self.budget {
            let Some(oldest) = self.deliveries.pop_front() else {
                break;
            };
            self.bytes -= size(&oldest);
            self.start = end(&oldest);
        }
    }

    /// `None` when the offset is older than what is kept.
    pub(super) fn read(&self, offset: u64, lanes: &[Lane], max_bytes: usize) -> Option<Stretch> {
        if offset < self.start {
            return None;
        }
        let from = self
            .deliveries
            .partition_point(|delivery| end(delivery) <= offset);
        let mut stretch = Stretch {
            deliveries: Vec::new(),
            next_offset: offset,
        };
        let mut bytes = 0;
        for delivery in self.deliveries.range(from..) {
            if bytes >= max_bytes {
                break;
            }
            stretch.next_offset = end(delivery);
            let lane = delivery
                .envelope
                .as_ref()
                .and_then(|e| Lane::from_number(e.lane));
            if wanted(lanes, lane.unwrap_or_default()) {
                bytes += size(delivery);
                stretch.deliveries.push(delivery.clone());
            }
        }
        Some(stretch)
    }
}

fn end(delivery: &Delivery) -> u64 {
    delivery.offset
        + delivery
            .envelope
            .as_ref()
            .map_or(0, |envelope| u64::from(envelope.count))
}
