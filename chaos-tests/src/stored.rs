//! Reads what historians and logs hold. With SQL of its own: what the writer's code believes does
//! not count here.

use std::path::Path;
use std::pin::pin;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use proto::payload::{self, Content};
use proto::{Batch, Record, Value};
use raft_log::client::{LogClient, TailFrom};
use rusqlite::{Connection, OpenFlags};

use crate::postgres::Postgres;
use crate::readings::Reading;

/// What a row of `value` may have beside time and value: nothing.
const BARE: &str = "value_int IS NULL AND original IS NULL AND quality IS NULL AND sub IS NULL AND value IS NOT NULL";

/// For reading alone; waits a little for a writer.
pub fn open_sqlite(file: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(file, flags);
    database.with_context(|| format!("open {}", file.display()))
}

/// All values in the order of their identity; an error when there is anything else.
pub fn in_sqlite(file: &Path) -> Result<Vec<Reading>> {
    let database = open_sqlite(file)?;
    let others = format!(
        "SELECT (SELECT count(*) FROM value WHERE NOT ({BARE}))
              + (SELECT count(*) FROM value_text) + (SELECT count(*) FROM wave)
              + (SELECT count(*) FROM message) + (SELECT count(*) FROM dead_letter)"
    );
    let others: i64 = database.query_row(&others, [], |row| row.get(0))?;
    if others > 0 {
        bail!("{} holds {others} rows that are no reading", file.display());
    }
    values_in_sqlite(file)
}

/// All values in the order of their identity, whatever else there is.
pub fn values_in_sqlite(file: &Path) -> Result<Vec<Reading>> {
    let database = open_sqlite(file)?;
    let mut select = database.prepare("SELECT time, value FROM value ORDER BY src, seq")?;
    let rows = select.query_map([], |row| {
        Ok(Reading {
            time_ns: row.get(0)?,
            value: row.get(1)?,
        })
    })?;
    rows.collect::<rusqlite::Result<_>>()
        .context("read the historian")
}

/// The same of a historian in PostgreSQL.
pub fn in_postgres(postgres: &Postgres) -> Result<Vec<Reading>> {
    let others = format!(
        "SELECT (SELECT count(*) FROM updraft.value WHERE NOT ({BARE}))
              + (SELECT count(*) FROM updraft.value_text) + (SELECT count(*) FROM updraft.wave)
              + (SELECT count(*) FROM updraft.message)
              + (SELECT count(*) FROM updraft.dead_letter)"
    );
    let others = postgres.psql(&others)?;
    if others != "0" {
        bail!("PostgreSQL holds {others} rows that are no reading");
    }
    let rows = postgres.psql(
        "SELECT (extract(epoch FROM time) * 1000000)::int8 * 1000 + coalesce(ns_rem, 0),
                encode(float8send(value), 'hex')
         FROM updraft.value ORDER BY src, seq",
    )?;
    rows.lines().map(row).collect()
}

/// `1386018900000000000|40527de8a0a3d70a`
fn row(line: &str) -> Result<Reading> {
    let (time, bits) = line.split_once('|').context("two columns")?;
    Ok(Reading {
        time_ns: time.parse()?,
        value: f64::from_bits(u64::from_str_radix(bits, 16)?),
    })
}

/// All records of a hub's log, in order.
pub async fn in_log(client: &LogClient) -> Result<Vec<Record>> {
    let mut tail = pin!(client.tail(TailFrom {
        stop_at_end: true,
        ..TailFrom::default()
    }));
    let mut records = Vec::new();
    while let Some(response) = tail.next().await {
        for delivery in response?.deliveries {
            let envelope = delivery.envelope.unwrap_or_default();
            records.extend(Batch::decode(&envelope.batch)?);
        }
    }
    Ok(records)
}

/// A record that is one number at one time.
pub fn reading(record: &Record) -> Result<Reading> {
    match payload::read(record) {
        Content::Samples(samples) => match &samples[..] {
            [sample] => match sample.value {
                Value::F64(value) => Ok(Reading {
                    time_ns: sample.time.0,
                    value,
                }),
                _ => bail!("no number: {sample:?}"),
            },
            _ => bail!("not one sample: {samples:?}"),
        },
        other => bail!("no sample: {other:?}"),
    }
}
