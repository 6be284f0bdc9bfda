//! Which tags the server watches, and when to ask again for those that it refused. Pure.
//!
//! A node that is missing today may be there after the machine's next start, so a tag is asked for
//! again for ever, ever less often.

use std::time::Duration;

use opcua::types::{DataValue, StatusCode};
use proto::Quality;
use tokio::time::Instant;

use super::value;

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(crate) struct Items(Vec<Item>);

#[derive(Debug, Default)]
struct Item {
    state: State,
    /// Why there is no value, as it was told last.
    refused: Option<Quality>,
    /// What was delivered last.
    last: Option<DataValue>,
}

#[derive(Debug, PartialEq)]
enum State {
    /// To be asked for, at the given time or at once.
    Wanted { at: Option<Instant>, failures: u32 },
    /// `silent` until its first value.
    Watched { id: u32, silent: bool },
}

impl Default for State {
    fn default() -> State {
        State::Wanted {
            at: None,
            failures: 0,
        }
    }
}

impl Items {
    pub(crate) fn new(tags: usize) -> Items {
        Items((0..tags).map(|_| Item::default()).collect())
    }

    /// There is no subscription any more.
    pub(crate) fn reset(&mut self) {
        for item in &mut self.0 {
            item.state = State::default();
        }
    }

    /// Tags to ask for now.
    pub(crate) fn due(&self, now: Instant) -> Vec<usize> {
        let due = |item: &Item| match item.state {
            State::Wanted { at, .. } => at.is_none_or(|at| at <= now),
            State::Watched { .. } => false,
        };
        (0..self.0.len()).filter(|tag| due(&self.0[*tag])).collect()
    }

    /// When the next tag is to be asked for, where that is not at once.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let at = |item: &Item| match item.state {
            State::Wanted { at, .. } => at,
            State::Watched { .. } => None,
        };
        self.0.iter().filter_map(at).min()
    }

    pub(crate) fn watched(&mut self, tag: usize, id: u32) {
        self.0[tag].state = State::Watched { id, silent: true };
    }

    /// The server refuses the tag; true when that is news.
    pub(crate) fn refused(&mut self, tag: usize, status: Quality, now: Instant) -> bool {
        let item = &mut self.0[tag];
        let failures = match item.state {
            State::Wanted { failures, .. } => failures,
            State::Watched { .. } => 0,
        };
        let pause = FIRST_RETRY
            .saturating_mul(1 << failures.min(10))
            .min(LAST_RETRY);
        item.state = State::Wanted {
            at: Some(now + pause),
            failures: failures + 1,
        };
        item.refused.replace(status) != Some(status)
    }

    /// What comes of a value that the server sent.
    pub(crate) fn notified(&mut self, tag: usize, data: &DataValue) -> Notified {
        let Some(item) = self.0.get_mut(tag) else {
            return Notified::Unknown;
        };
        let first = match &mut item.state {
            State::Watched { silent, .. } => std::mem::take(silent),
            State::Wanted { .. } => false,
        };
        // A new subscription begins with the value of now, which may be the last one of the old.
        let again = first
            && data.source_timestamp.is_some()
            && item.last.as_ref().is_some_and(|last| is_same(last, data));
        let recovered = !is_unknown(data) && item.refused.take().is_some();
        item.last = Some(data.clone());
        match (again, recovered) {
            (true, false) => Notified::Again,
            (_, true) => Notified::Back,
            (false, false) => Notified::New,
        }
    }

    /// The item behind a tag whose node is gone: to be deleted and asked for again.
    pub(crate) fn item(&self, tag: usize) -> Option<u32> {
        match self.0.get(tag)?.state {
            State::Watched { id, .. } => Some(id),
            State::Wanted { .. } => None,
        }
    }

    /// How many tags the server refuses.
    pub(crate) fn bad(&self) -> usize {
        self.0.iter().filter(|item| item.refused.is_some()).count()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notified {
    New,
    /// A value of a tag that had been refused.
    Back,
    /// Delivered already.
    Again,
    /// Of no tag of ours.
    Unknown,
}

/// The node behind a watched item does not exist any more.
pub(crate) fn is_unknown(data: &DataValue) -> bool {
    data.status.is_some_and(|status| {
        let code = status.sub_code();
        code == StatusCode::BadNodeIdUnknown.sub_code()
            || code == StatusCode::BadNodeIdInvalid.sub_code()
    })
}

fn is_same(one: &DataValue, other: &DataValue) -> bool {
    one.source_timestamp == other.source_timestamp
        && one.source_picoseconds == other.source_picoseconds
        && value::quality(one) == value::quality(other)
        && one.value == other.value
}

#[cfg(test)]
mod tests {
    use opcua::types::{DateTime, Variant};

    use super::*;

    const MISSING: Quality = Quality(0x8034_0000);

    fn data(value: i32, second: u16) -> DataValue {
        DataValue {
            source_timestamp: Some(DateTime::ymd_hms(2024, 1, 1, 0, 0, second)),
            ..DataValue::value_only(Variant::Int32(value))
        }
    }

    #[test]
    fn a_refused_tag_is_asked_for_ever_less_often() {
        let mut now = Instant::now();
        let mut items = Items::new(2);
        assert_eq!(items.due(now), [0, 1]);
        items.watched(0, 10);
        assert!(items.refused(1, MISSING, now), "it is news");
        assert_eq!((items.due(now), items.bad()), (vec![], 1));
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let at = items.next_due().unwrap();
            pauses.push((at - now).as_secs());
            now = at;
            assert_eq!(items.due(now), [1]);
            assert!(!items.refused(1, MISSING, now), "it is known");
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert!(
            items.refused(1, Quality(0x8000_0000), now),
            "another reason is news"
        );
        items.watched(1, 11);
        assert_eq!(items.next_due(), None);
        assert_eq!(items.notified(1, &data(1, 1)), Notified::Back);
        assert_eq!(
            (items.notified(1, &data(2, 2)), items.bad()),
            (Notified::New, 0)
        );
    }

    #[test]
    fn a_new_subscription_does_not_repeat_the_last_value() {
        let mut items = Items::new(1);
        items.watched(0, 10);
        assert_eq!(items.notified(0, &data(1, 1)), Notified::New);
        assert_eq!(
            items.notified(0, &data(1, 1)),
            Notified::New,
            "the server has its reasons"
        );
        items.reset();
        assert_eq!(items.due(Instant::now()), [0]);
        items.watched(0, 10);
        assert_eq!(items.notified(0, &data(1, 1)), Notified::Again);
        items.reset();
        items.watched(0, 10);
        assert_eq!(
            items.notified(0, &data(1, 2)),
            Notified::New,
            "taken at another time"
        );
        let timeless = DataValue::value_only(Variant::Int32(1));
        items.reset();
        items.watched(0, 10);
        items.notified(0, &timeless);
        items.reset();
        items.watched(0, 10);
        assert_eq!(
            items.notified(0, &timeless),
            Notified::New,
            "who knows when it was taken"
        );
        assert_eq!(items.notified(1, &timeless), Notified::Unknown);
    }
}
