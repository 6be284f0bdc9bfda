//! Sequence numbers of one subscription: what comes next, what is missing, and what may be
//! acknowledged. Pure (Part 4 §5.14.1.1 and §7.25).
//!
//! ```text
//! arrived ─▶ taken, its samples under way ─▶ durable ─▶ acknowledged with the next Publish
//! ```
//!
//! Numbers begin at 1 and go from 2^32 - 1 to 1 again. A keep-alive carries the number that comes
//! next, and uses none.

use std::collections::VecDeque;

use crate::link::Ticket;

#[derive(Debug)]
pub(crate) struct Tracker {
    next: u32,
    /// Taken and not durable yet, in their order.
    under_way: VecDeque<(Ticket, u32)>,
    /// Durable, and not acknowledged yet.
    durable: Vec<u32>,
}

/// What a notification is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Next,
    /// We have it already.
    Again,
    /// Others come before it.
    After(Missing),
}

/// Numbers that did not arrive: `count` from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// Half of all numbers: what is further ahead than this is behind.
const HALF: u32 = 1 << 31;

impl Tracker {
    pub(crate) fn new() -> Tracker {
        Tracker {
            next: 1,
            under_way: VecDeque::new(),
            durable: Vec::new(),
        }
    }

    /// The number that should come next.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// What a notification with this number is.
    pub(crate) fn arrived(&self, number: u32) -> Arrival {
        if number == 0 {
            // No notification has it.
            return Arrival::Again;
        }
        match distance(self.next, number) {
            0 => Arrival::Next,
            count if count < HALF => Arrival::After(Missing {
                first: self.next,
                count,
            }),
            _ => Arrival::Again,
        }
    }

    /// What must have been lost when a keep-alive says that `number` comes next.
    pub(crate) fn keep_alive(&self, number: u32) -> Option<Missing> {
        match self.arrived(number) {
            Arrival::After(missing) => Some(missing),
            Arrival::Next | Arrival::Again => None,
        }
    }

    /// The notification `number` was handed over under this ticket.
    pub(crate) fn taken(&mut self, number: u32, ticket: Ticket) {
        self.under_way.push_back((ticket, number));
        self.next = successor(number);
    }

    /// `number` can't be had any more.
    pub(crate) fn given_up(&mut self, number: u32) {
        self.next = successor(number);
    }

    /// Everything up to `ticket` is durable.
    pub(crate) fn durable(&mut self, ticket: Ticket) {
        while let Some((of, number)) = self.under_way.front()
            && *of <= ticket
        {
            self.durable.push(*number);
            self.under_way.pop_front();
        }
    }

    /// How many notifications are not durable yet.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// What a Publish acknowledges. If it fails, give them back with [`Tracker::unsaid`].
    pub(crate) fn acknowledge(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.durable)
    }

    /// The acknowledgements of a Publish that may not have arrived. To say them twice does no harm.
    pub(crate) fn unsaid(&mut self, mut numbers: Vec<u32>) {
        numbers.append(&mut self.durable);
        self.durable = numbers;
    }
}

impl Missing {
    pub(crate) fn numbers(self) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(self.first), |number| Some(successor(*number)))
            .take(usize::try_from(self.count).unwrap_or(usize::MAX))
    }
}

fn successor(number: u32) -> u32 {
    number.checked_add(1).unwrap_or(1)
}

/// Steps from one number to another; 0 is none of them.
fn distance(from: u32, to: u32) -> u32 {
    if to >= from {
        to - from
    } else {
        // One less than modulo 2^32, since 0 is passed over.
        to.wrapping_sub(from).wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(next: u32) -> Tracker {
        Tracker {
            next,
            ..Tracker::new()
        }
    }

    #[test]
    fn what_a_number_is() {
        let after = |first, count| Arrival::After(Missing { first, count });
        for (next, number, arrival) in [
            (1, 1, Arrival::Next),
            (1, 2, after(1, 1)),
            (5, 9, after(5, 4)),
            (5, 4, Arrival::Again),
            (5, 1, Arrival::Again),
            (1, u32::MAX, Arrival::Again),
            (u32::MAX, 1, after(u32::MAX, 1)),
            (u32::MAX - 1, 2, after(u32::MAX - 1, 3)),
            (1, 0, Arrival::Again),
            (u32::MAX, 0, Arrival::Again),
        ] {
            assert_eq!(at(next).arrived(number), arrival, "{next} {number}");
        }
        assert_eq!(at(5).keep_alive(5), None);
        assert_eq!(at(5).keep_alive(4), None);
        assert_eq!(at(5).keep_alive(7), Some(Missing { first: 5, count: 2 }));
        let wrapped = Missing {
            first: u32::MAX,
            count: 3,
        };
        assert!(wrapped.numbers().eq([u32::MAX, 1, 2]));
    }

    #[test]
    fn only_what_is_durable_is_acknowledged() {
        let mut tracker = Tracker::new();
        for number in 1..=4 {
            tracker.taken(number, Ticket(u64::from(number) * 10));
        }
        assert!(tracker.acknowledge().is_empty());
        tracker.durable(Ticket(25));
        assert_eq!(
            (tracker.acknowledge(), tracker.under_way()),
            (vec![1, 2], 2)
        );
        tracker.unsaid(vec![1, 2]);
        tracker.durable(Ticket(30));
        assert_eq!(tracker.acknowledge(), [1, 2, 3]);
        assert!(tracker.acknowledge().is_empty());
    }

    proptest! {
        /// Whatever is lost, doubled or comes late: each number is taken once, in order, and none
        /// is acknowledged that was not taken.
        #[test]
        fn every_number_is_taken_once_and_in_order(
            start in prop_oneof![Just(1_u32), Just(u32::MAX - 3), 1_u32..1000],
            arrivals in proptest::collection::vec(0_u32..12, 1..60),
        ) {
            let numbers: Vec<u32> = Missing { first: start, count: 12 }.numbers().collect();
            let mut tracker = at(start);
            let mut taken = Vec::new();
            let mut take = |tracker: &mut Tracker, number| {
                taken.push(number);
                tracker.taken(number, Ticket(taken.len() as u64));
            };
            for arrival in arrivals {
                let number = numbers[arrival as usize];
                match tracker.arrived(number) {
                    Arrival::Again => continue,
                    Arrival::Next => {}
                    Arrival::After(missing) => {
                        missing.numbers().for_each(|number| take(&mut tracker, number));
                    }
                }
                take(&mut tracker, number);
            }
            prop_assert!(taken.iter().eq(numbers.iter().take(taken.len())));
            tracker.durable(Ticket(taken.len() as u64));
            prop_assert_eq!(tracker.acknowledge(), taken);
        }
    }
}
