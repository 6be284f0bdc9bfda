//! `QoS` 1 messages on their way to a client: packet ids, the window, and the floor below which
//! everything is acknowledged.

use std::collections::{HashMap, VecDeque};

use proto::Offset;

/// What a client of 3.1.1 is sent before it acknowledges.
const DEFAULT_WINDOW: usize = 64;
/// More than this is not kept of any client, whatever it offers.
const MAX_WINDOW: usize = 1024;

#[derive(Debug)]
pub(super) struct Outbound {
    /// In the order sent, from the oldest that is not acknowledged.
    entries: VecDeque<Entry>,
    /// Number of the first entry.
    first: u64,
    by_id: HashMap<u16, u64>,
    window: usize,
    last_id: u16,
}

#[derive(Debug)]
struct Entry {
    /// Absent for a retained message, which is no position in the log.
    offset: Option<Offset>,
    acknowledged: bool,
}

impl Outbound {
    pub(super) fn new(receive_maximum: Option<u16>, default_unlimited: bool) -> Outbound {
        let window = match receive_maximum {
            Some(maximum) => usize::from(maximum).min(MAX_WINDOW),
            // The default of version 5 is 65,535 [MQTT5 §3.1.2.11.3].
            None if default_unlimited => MAX_WINDOW,
            None => DEFAULT_WINDOW,
        };
        Outbound {
            entries: VecDeque::new(),
            first: 0,
            by_id: HashMap::new(),
            window,
            last_id: 0,
        }
    }

    pub(super) fn window(&self) -> usize {
        self.window
    }

    /// A client that acknowledges out of order may hold entries back, but not without limit.
    pub(super) fn has_room(&self) -> bool {
        self.by_id.len() < self.window && self.entries.len() < 2 * self.window
    }

    /// Takes a place in the window; `offset` is where the message stands in the log.
    pub(super) fn send(&mut self, offset: Option<Offset>) -> u16 {
        let id = self.free_id();
        self.by_id
            .insert(id, self.first + self.entries.len() as u64);
        self.entries.push_back(Entry {
            offset,
            acknowledged: false,
        });
        id
    }

    /// Whether the packet id was on its way.
    pub(super) fn acknowledge(&mut self, packet_id: u16) -> bool {
        let Some(number) = self.by_id.remove(&packet_id) else {
            return false;
        };
        let at = usize::try_from(number - self.first).ok();
        if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
            entry.acknowledged = true;
        }
        while self.entries.front().is_some_and(|entry| entry.acknowledged) {
            self.entries.pop_front();
            self.first += 1;
        }
        true
    }

    /// The first offset on its way.
    pub(super) fn oldest(&self) -> Option<Offset> {
        self.entries
            .iter()
            .filter(|entry| !entry.acknowledged)
            .find_map(|entry| entry.offset)
    }

    /// Ends, for the window is far smaller than the 65,535 ids.
    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.by_id.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_follows_acknowledgements_in_any_order() {
        let mut outbound = Outbound::new(Some(3), true);
        let ids: Vec<_> = [10, 12, 15]
            .map(|offset| outbound.send(Some(Offset(offset))))
            .into();
        assert_eq!(ids, [1, 2, 3]);
        assert!(!outbound.has_room());
        assert!(outbound.acknowledge(2));
        assert_eq!(outbound.oldest(), Some(Offset(10)));
        assert!(outbound.has_room());
        assert!(!outbound.acknowledge(2), "acknowledged twice");
        assert!(outbound.acknowledge(1));
        assert_eq!(outbound.oldest(), Some(Offset(15)));
        assert!(outbound.acknowledge(3));
        assert_eq!(outbound.oldest(), None);
    }

    #[test]
    fn a_retained_message_holds_no_floor() {
        let mut outbound = Outbound::new(None, false);
        outbound.send(None);
        assert_eq!(outbound.oldest(), None);
        outbound.send(Some(Offset(3)));
        assert_eq!(outbound.oldest(), Some(Offset(3)));
    }

    #[test]
    fn what_is_never_acknowledged_stops_the_window() {
        let mut outbound = Outbound::new(Some(2), true);
        let stuck = outbound.send(Some(Offset(0)));
        let mut sent = 1;
        while outbound.has_room() {
            let id = outbound.send(Some(Offset(sent)));
            outbound.acknowledge(id);
            sent += 1;
        }
        assert_eq!(sent, 4);
        outbound.acknowledge(stuck);
        assert!(outbound.has_room());
    }

    #[test]
    fn packet_ids_wrap_around_those_in_use() {
        let mut outbound = Outbound::new(Some(100), true);
        assert_eq!(outbound.send(None), 1);
        for _ in 0..65_534 {
            let id = outbound.send(None);
            outbound.acknowledge(id);
            // Entries behind the first one stay until it is acknowledged.
            outbound.entries.truncate(1);
        }
        assert_eq!(outbound.last_id, u16::MAX);
        assert_eq!(outbound.send(None), 2, "0 is none and 1 is in use");
    }

    #[test]
    fn windows() {
        for (maximum, v5, expected) in [
            (None, false, 64),
            (None, true, 1024),
            (Some(10), true, 10),
            (Some(9999), true, 1024),
        ] {
            assert_eq!(Outbound::new(maximum, v5).window(), expected);
        }
    }
}
