//! The rows of a historian against the records of a log, origin by origin.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use historian::{Body, Historian, Row};
use proto::rpc::Delivery;
use proto::{HubPath, Origin, Sequence};

use super::layer::Difference;

/// Rows of one origin that are compared at a time.
const PORTION: usize = 10_000;

/// What was found for one origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowCheck {
    pub(crate) rows: u64,
    /// Rows that became dead letters; their reasons stand beside them.
    pub(crate) dead_letters: u64,
    /// Rows that the historian does not have yet.
    pub(crate) behind: u64,
    /// The first sequence that was not there, and its offset in the log.
    absent: Option<(Sequence, u64)>,
    pub(crate) difference: Option<(Sequence, String)>,
}

/// A row that must be there, and the offset of its record.
type Expected = (u64, Row);

impl RowCheck {
    /// Compares a range of sequences; ranges come in order. What stands below `written` in the log
    /// must be there, and a historian has no gaps: after the first absent row there is none.
    fn compare(&mut self, expected: &[Expected], found: &[Row], written: u64) {
        let mut found = found.iter().peekable();
        for (offset, row) in expected {
            let key = (row.sequence, row.sub);
            if let Some(extra) = found.next_if(|found| (found.sequence, found.sub) < key) {
                return self.differ(extra.sequence, "a row of no record");
            }
            match found.next_if(|found| (found.sequence, found.sub) == key) {
                Some(found) => self.present(row, found),
                None => self.absent(row.sequence, *offset, written),
            }
        }
        if let Some(extra) = found.next() {
            self.differ(extra.sequence, "a row of no record");
        }
    }

    fn present(&mut self, expected: &Row, found: &Row) {
        self.rows += 1;
        if let Some((sequence, _)) = self.absent {
            self.differ(sequence, "missing, but later ones are there");
        }
        match (&expected.body, &found.body) {
            (Body::Dead(_), _) => {}
            (_, Body::Dead(_)) => {
                self.dead_letters += 1;
                return;
            }
            _ => {}
        }
        if expected != found {
            self.differ(
                found.sequence,
                &format!("the row is {found:?}, expected {expected:?}"),
            );
        }
    }

    fn absent(&mut self, sequence: Sequence, offset: u64, written: u64) {
        self.behind += 1;
        self.absent.get_or_insert((sequence, offset));
        if offset < written {
            let what = format!("missing, though the writer has passed offset {offset}");
            self.differ(sequence, &what);
        }
    }

    fn differ(&mut self, sequence: Sequence, what: &str) {
        self.difference.get_or_insert((sequence, what.to_owned()));
    }
}

/// Reads a historian beside its hub's log.
#[derive(Debug)]
pub(crate) struct Rows {
    historian: Arc<dyn Historian>,
    /// The writer has everything below this offset of the log.
    written: u64,
    pending: BTreeMap<Origin, Pending>,
    pub(crate) checks: BTreeMap<Origin, RowCheck>,
}

#[derive(Debug, Default)]
struct Pending {
    rows: Vec<Expected>,
    from: u64,
    to: u64,
}

impl Rows {
    pub(crate) fn new(historian: Arc<dyn Historian>, written: u64) -> Rows {
        Rows {
            historian,
            written,
            pending: BTreeMap::new(),
            checks: BTreeMap::new(),
        }
    }

    pub(crate) async fn take(&mut self, delivery: &Delivery) -> anyhow::Result<()> {
        let envelope = delivery.envelope.clone().unwrap_or_default();
        let origin = Origin::try_from(&envelope.origin.clone().unwrap_or_default())?;
        let pending = self.pending.entry(origin.clone()).or_default();
        if pending.from == pending.to {
            // Not where the last range ended in a log that has deleted its beginning.
            pending.from = envelope.first_sequence;
        }
        pending.to = envelope.end_sequence();
        let rows = historian::convert::rows(delivery)?;
        pending
            .rows
            .extend(rows.into_iter().map(|new| (new.offset.0, new.row)));
        if pending.rows.len() >= PORTION {
            self.compare(&origin).await?;
        }
        Ok(())
    }

    pub(crate) async fn finish(&mut self) -> anyhow::Result<()> {
        let origins: Vec<Origin> = self.pending.keys().cloned().collect();
        for origin in origins {
            self.compare(&origin).await?;
        }
        Ok(())
    }

    async fn compare(&mut self, origin: &Origin) -> anyhow::Result<()> {
        let Some(pending) = self.pending.get_mut(origin) else {
            return Ok(());
        };
        let range = Sequence(pending.from)..Sequence(pending.to);
        let expected = std::mem::take(&mut pending.rows);
        pending.from = pending.to;
        let found = self
            .historian
            .rows(origin, range)
            .await
            .context("read the historian")?;
        let check = self.checks.entry(origin.clone()).or_default();
        check.compare(&expected, &found, self.written);
        Ok(())
    }

    pub(crate) fn differences(&self, hub: &HubPath) -> Vec<Difference> {
        let differing = self.checks.iter().filter_map(|(origin, check)| {
            let (sequence, what) = check.difference.clone()?;
            Some(Difference {
                hub: format!("historian of {hub}"),
                origin: Some(origin.clone()),
                sequence: Some(sequence.0),
                what,
            })
        });
        differing.collect()
    }
}

#[cfg(test)]
mod tests {
    use historian::{DeadLetter, Number};
    use proto::{Nanos, Offset, Quality, Value};

    use super::*;

    fn row(sequence: u64, value: f64) -> Row {
        let number = Number::of(&Value::F64(value)).unwrap();
        Row {
            sequence: Sequence(sequence),
            sub: 0,
            time: Nanos(7),
            topic: "t".into(),
            key: "".into(),
            body: Body::Number {
                quality: Quality::GOOD,
                number,
            },
        }
    }

    fn dead(sequence: u64) -> Row {
        let dead = DeadLetter {
            offset: Offset(sequence),
            count: 1,
            sqlstate: None,
            reason: "refused".into(),
            payload: "x".into(),
        };
        Row {
            body: Body::Dead(dead),
            ..row(sequence, 0.0)
        }
    }

    /// Sequences 0 to 3 in the log at the same offsets; the writer has passed offset 2.
    fn check(found: &[Row]) -> RowCheck {
        let expected: Vec<Expected> = (0..4).map(|n| (n, row(n, 1.0))).collect();
        let mut check = RowCheck::default();
        check.compare(&expected, found, 2);
        check
    }

    #[test]
    fn rows_that_are_as_they_must_be() {
        let all: Vec<Row> = (0..4).map(|n| row(n, 1.0)).collect();
        assert_eq!(
            check(&all),
            RowCheck {
                rows: 4,
                ..RowCheck::default()
            }
        );

        let behind = check(&all[..3]);
        assert_eq!(
            (behind.rows, behind.behind, behind.difference),
            (3, 1, None)
        );

        let mut refused = all;
        refused[1] = dead(1);
        let refused = check(&refused);
        assert_eq!(
            (refused.rows, refused.dead_letters, refused.difference),
            (4, 1, None)
        );
    }

    #[test]
    fn the_first_row_that_differs_is_named() {
        for (name, found, sequence, what) in [
            (
                "absent",
                vec![row(0, 1.0)],
                1,
                "missing, though the writer has passed offset 1",
            ),
            (
                "a gap",
                vec![row(0, 1.0), row(1, 1.0), row(3, 1.0)],
                2,
                "missing, but later ones are there",
            ),
            ("altered", vec![row(0, 1.0), row(1, 1.5)], 1, "the row is "),
            (
                "twice",
                vec![row(0, 1.0), row(0, 1.0)],
                0,
                "a row of no record",
            ),
            (
                "too many",
                (0..5).map(|n| row(n, 1.0)).collect(),
                4,
                "a row of no record",
            ),
        ] {
            let (at, found) = check(&found).difference.unwrap();
            assert_eq!(at, Sequence(sequence), "{name}");
            assert!(found.starts_with(what), "{name}: {found}");
        }
    }
}
