//! Reads what an SQLite historian holds, in the order of its identities. With SQL of its own: what
//! the writer's code believes does not count here.

use std::path::Path;

use anyhow::Context;
use proto::Nanos;
use proto::wave::{SampleType, WaveBlock};
use rusqlite::{Connection, OpenFlags, Row};

use super::oracle::{Found, Oracle};

const VALUES: &str = "\
    SELECT topic, time, kind, value, value_int IS NULL AND original IS NULL AND quality IS NULL
    FROM value JOIN tag USING (tag_id) ORDER BY src, seq, sub";
const WAVES: &str = "\
    SELECT topic, time, first_sample, rate_num, rate_den, scale, value_offset, unit, sample_type,
           samples
    FROM wave JOIN tag USING (tag_id) ORDER BY src, seq, sub";
/// What the machines send becomes none of these.
const OTHERS: &str = "\
    SELECT topic, time, 'a text' FROM value_text JOIN tag USING (tag_id)
    UNION ALL SELECT topic, time, 'a message' FROM message JOIN tag USING (tag_id)
    UNION ALL SELECT topic, time, 'a dead letter' FROM dead_letter";

/// Shows all rows to the oracle. Blocks.
pub(super) fn read(path: &Path, oracle: &mut Oracle<'_>) -> anyhow::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags);
    let database = database.with_context(|| format!("open {}", path.display()))?;
    each(&database, VALUES, |row, topic, time| {
        let found = match (
            row.get::<_, String>(2)?.as_str(),
            row.get::<_, Option<f64>>(3)?,
        ) {
            (_, None) => Found::Other("a row without a value"),
            _ if !row.get::<_, bool>(4)? => Found::Other("a row with more than its value"),
            ("bool", Some(value)) => Found::Bool(value != 0.0),
            (_, Some(value)) => Found::Number(value),
        };
        oracle.take(topic, time, &found);
        Ok(())
    })?;
    each(&database, WAVES, |row, topic, time| {
        let found = match wave(row, time)? {
            Some(block) => Found::Wave(Box::new(block)),
            None => Found::Other("a wave with unknown samples"),
        };
        oracle.take(topic, time, &found);
        Ok(())
    })?;
    each(&database, OTHERS, |row, topic, time| {
        let what = match row.get::<_, String>(2)?.as_str() {
            "a text" => "a text",
            "a message" => "a message without values",
            _ => "a dead letter",
        };
        oracle.take(topic, time, &Found::Other(what));
        Ok(())
    })
}

fn each(
    database: &Connection,
    sql: &str,
    mut take: impl FnMut(&Row<'_>, &str, Nanos) -> rusqlite::Result<()>,
) -> anyhow::Result<()> {
    let mut select = database.prepare(sql).context("ask the historian")?;
    let mut rows = select.query([]).context("ask the historian")?;
    while let Some(row) = rows.next().context("read the historian")? {
        let topic: String = row.get(0)?;
        take(row, &topic, Nanos(row.get(1)?))?;
    }
    Ok(())
}

fn wave(row: &Row<'_>, start: Nanos) -> rusqlite::Result<Option<WaveBlock>> {
    let Some(sample_type) = SampleType::from_number(row.get(8)?) else {
        return Ok(None);
    };
    Ok(Some(WaveBlock {
        first_sample: row.get::<_, i64>(2)?.cast_unsigned(),
        start,
        rate: (row.get(3)?, row.get(4)?),
        scale: row.get(5)?,
        offset: row.get(6)?,
        unit: row.get(7)?,
        sample_type,
        samples: row.get::<_, Vec<u8>>(9)?.into(),
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use historian::{Historian, Sqlite};
    use proto::rpc::{Delivery, Envelope};
    use proto::{Batch, Incarnation, Lane, Offset, Origin, Record, Scope};

    use super::*;
    use crate::demo::ledger::{Account, Ledger};
    use crate::demo::machines::{Fridge, Source, Spindle};
    use crate::demo::oracle::Tally;

    /// What two machines measured in a second, in the ledger and in a historian.
    async fn historian(path: &Path) -> Ledger {
        let mut records = Vec::new();
        let mut ledger = Ledger::default();
        let sources: [(&str, Box<dyn Source>); 2] = [
            ("fridge", Box::new(Fridge::new(1))),
            ("spindle", Box::new(Spindle::new(2))),
        ];
        for (name, mut source) in sources {
            let topics: Vec<String> = source
                .topics()
                .iter()
                .map(|topic| format!("umh/v1/acme/{name}/{topic}"))
                .collect();
            let account = Account::new(name, "acme".parse().unwrap(), topics.clone());
            let mut count = 0;
            for number in 0..10 {
                for sample in source.tick(number, Nanos(1_700_000_000_000_000_000)) {
                    let topic = sample.topic;
                    account.publish(topic, sample.time, &sample.payload, sample.value);
                    account.acknowledge(count);
                    count += 1;
                    records.push(Record::message(&topics[topic], sample.payload, Nanos(7)));
                }
            }
            ledger.add(&account);
        }
        let batch = Batch::encode(&records).unwrap();
        let mut envelope = Envelope::birth(&batch, Lane::Normal, &Scope::up(), false);
        let origin = Origin {
            hub: "acme".parse().unwrap(),
            incarnation: Incarnation(1),
            lane: Lane::Normal,
        };
        envelope.origin = Some((&origin).into());
        let delivery = Delivery {
            envelope: Some(envelope),
            ..Delivery::default()
        };
        let rows = historian::convert::rows(&delivery).unwrap();
        let historian: Arc<dyn Historian> = Arc::new(Sqlite::open(path).unwrap());
        let claim = historian.take_over("s").await.unwrap();
        let next = Offset(u64::from(batch.count));
        assert_eq!(
            historian
                .write(&claim, rows, next)
                .await
                .unwrap()
                .dead_letters,
            0
        );
        ledger
    }

    fn judge(path: &Path, ledger: &Ledger) -> Tally {
        let mut oracle = Oracle::new(ledger, &"acme".parse().unwrap());
        read(path, &mut oracle).unwrap();
        oracle.finish().0
    }

    #[tokio::test]
    async fn a_row_that_was_tampered_with_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("h.sqlite");
        let ledger = historian(&path).await;
        let all = Tally {
            records: 360,
            ..Tally::default()
        };
        assert_eq!(judge(&path, &ledger), all);

        let number = "tag_id = (SELECT tag_id FROM tag WHERE topic LIKE '%control/temperature')";
        for (sql, expected) in [
            (
                format!("UPDATE value SET value = value + 1e-9 WHERE {number} AND seq = 1"),
                Tally { altered: 1, ..all },
            ),
            (
                "UPDATE value SET value = 1 - value WHERE seq = 2".to_owned(),
                Tally { altered: 2, ..all },
            ),
            (
                "UPDATE wave SET samples = zeroblob(4000) WHERE seq = 351".to_owned(),
                Tally { altered: 3, ..all },
            ),
            (
                "DELETE FROM value WHERE seq BETWEEN 105 AND 139".to_owned(),
                Tally {
                    records: 325,
                    altered: 3,
                    missing: 35,
                    ..all
                },
            ),
            (
                format!("INSERT INTO value SELECT * FROM value WHERE {number} AND seq = 36"),
                Tally {
                    records: 326,
                    altered: 3,
                    missing: 35,
                    duplicate: 1,
                    ..all
                },
            ),
            (
                "UPDATE value SET seq = 999 WHERE seq = 70".to_owned(),
                Tally {
                    records: 326,
                    altered: 3,
                    missing: 35,
                    duplicate: 1,
                    reordered: 1,
                },
            ),
        ] {
            let database = Connection::open(&path).unwrap();
            database.execute(&sql, []).unwrap();
            assert_eq!(judge(&path, &ledger), expected, "{sql}");
        }
    }
}
