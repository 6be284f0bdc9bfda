//! Blocks of samples.

use std::ops::Range;

use proto::Nanos;
use proto::wave::{SampleType, WaveBlock};
use rusqlite::{Connection, Params, Row as SqlRow, params};

use crate::historian::{MAX_PAGE, fitting};
use crate::{Kind, WaveHead};

use super::read::{ids, unknown};

type Result<T> = rusqlite::Result<T>;

pub(super) fn heads(
    connection: &Connection,
    topic: &str,
    key: &str,
    range: Range<Nanos>,
    limit: u32,
) -> Result<Vec<WaveHead>> {
    let found = placed(connection, topic, key, range, limit)?;
    Ok(found.into_iter().map(|(_, head)| head).collect())
}

pub(super) fn blocks(
    connection: &Connection,
    topic: &str,
    key: &str,
    range: Range<Nanos>,
    max_samples: u64,
) -> Result<Vec<WaveBlock>> {
    let heads = placed(connection, topic, key, range, MAX_PAGE)?;
    let mut select = connection.prepare_cached("SELECT samples FROM wave WHERE rowid = ?1")?;
    let mut blocks = Vec::new();
    for (rowid, head) in fitting(heads, max_samples) {
        let samples = select.query_row([rowid], |row| row.get::<_, Vec<u8>>(0))?;
        blocks.push(head.with(samples.into()));
    }
    Ok(blocks)
}

fn placed(
    connection: &Connection,
    topic: &str,
    key: &str,
    range: Range<Nanos>,
    limit: u32,
) -> Result<Vec<(i64, WaveHead)>> {
    let (from, to) = (range.start.0, range.end.0);
    let limit = limit.clamp(1, MAX_PAGE);
    let mut found = Vec::new();
    for tag in ids(connection, topic, key)? {
        if tag.kind != Kind::Wave {
            continue;
        }
        let before = "time < ?2 ORDER BY time DESC, seq DESC LIMIT 1";
        let reaching = select(connection, before, params![tag.tag_id, from])?;
        found.extend(reaching.into_iter().filter(|(_, head)| head.end().0 > from));
        let inside = "time >= ?2 AND time < ?3 ORDER BY time, seq LIMIT ?4";
        found.extend(select(
            connection,
            inside,
            params![tag.tag_id, from, to, limit],
        )?);
    }
    found.truncate(limit as usize);
    Ok(found)
}

fn select(
    connection: &Connection,
    condition: &str,
    values: impl Params,
) -> Result<Vec<(i64, WaveHead)>> {
    let sql = format!(
        "SELECT rowid, time, first_sample, count, rate_num, rate_den, scale, value_offset, unit,
            sample_type
         FROM wave WHERE tag_id = ?1 AND {condition}"
    );
    connection
        .prepare_cached(&sql)?
        .query_map(values, head)?
        .collect()
}

fn head(row: &SqlRow<'_>) -> Result<(i64, WaveHead)> {
    let sample_type = SampleType::from_number(row.get(9)?);
    let head = WaveHead {
        start: Nanos(row.get(1)?),
        first_sample: row.get::<_, i64>(2)?.cast_unsigned(),
        count: row.get::<_, i64>(3)?.cast_unsigned(),
        rate: (row.get(4)?, row.get(5)?),
        scale: row.get(6)?,
        offset: row.get(7)?,
        unit: row.get(8)?,
        sample_type: sample_type.ok_or_else(|| unknown(9, "sample_type"))?,
    };
    Ok((row.get(0)?, head))
}
