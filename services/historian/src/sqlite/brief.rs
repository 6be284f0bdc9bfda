//! What lists show: the newest readings.

use std::collections::HashMap;
use std::sync::Arc;

use proto::wave::SampleType;
use proto::{Nanos, Quality, Sequence};
use rusqlite::{Connection, Row as SqlRow, params};

use crate::historian::MAX_PAGE;
use crate::row::Table;
use crate::{Body, Brief, Kind, Last, MAX_TEXT, Number, Reading, Tag, WaveHead};

use super::read::{ids, tags_where, unknown};

type Result<T> = rusqlite::Result<T>;
/// Paths of the hubs of birth by `src`.
type Hubs = HashMap<i32, Arc<str>>;

pub(super) fn newest(
    connection: &Connection,
    topic: &str,
    key: &str,
    limit: u32,
) -> Result<Vec<Reading>> {
    let hubs = hubs(connection)?;
    let limit = limit.clamp(1, MAX_PAGE);
    let mut newest = Vec::new();
    for tag in ids(connection, topic, key)? {
        newest.extend(of_tag(connection, &hubs, &tag, limit)?);
    }
    newest.sort_by_key(|reading| std::cmp::Reverse((reading.time, reading.sequence)));
    newest.truncate(limit as usize);
    Ok(newest)
}

pub(super) fn lasts(connection: &Connection, after: i64, limit: u32) -> Result<Vec<Last>> {
    let hubs = hubs(connection)?;
    let limit = limit.clamp(1, MAX_PAGE);
    let condition = "tag_id IN (SELECT tag_id FROM tag WHERE tag_id > ?1 ORDER BY tag_id LIMIT ?2)";
    let mut tags = tags_where(connection, condition, params![after, limit])?;
    tags.sort_by_key(|tag| tag.tag_id);
    let last = |tag: Tag| {
        let reading = of_tag(connection, &hubs, &tag, 1)?.pop();
        Ok(Last { tag, reading })
    };
    tags.into_iter().map(last).collect()
}

fn hubs(connection: &Connection) -> Result<Hubs> {
    let mut select = connection.prepare_cached("SELECT src, hub FROM origin")?;
    let hub = |row: &SqlRow<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?.into()));
    select.query_map((), hub)?.collect()
}

fn of_tag(connection: &Connection, hubs: &Hubs, tag: &Tag, limit: u32) -> Result<Vec<Reading>> {
    let table = Table::of(tag.kind);
    let columns = match table {
        Table::Value => "quality, value, value_int, original".into(),
        Table::Text => format!("quality, substr(value, 1, {MAX_TEXT})"),
        Table::Wave => {
            "quality, first_sample, count, rate_num, rate_den, scale, value_offset, unit, \
             sample_type"
                .into()
        }
        Table::Message | Table::DeadLetter => format!(
            "NULL, substr(payload, 1, {MAX_TEXT}), length(payload), substr(problem, 1, {MAX_TEXT})"
        ),
    };
    let sql = format!(
        "SELECT time, seq, src, {columns} FROM {} WHERE tag_id = ?1
         ORDER BY time DESC, seq DESC LIMIT ?2",
        table.name()
    );
    let mut select = connection.prepare_cached(&sql)?;
    let reading = |row: &SqlRow<'_>| {
        let src: i32 = row.get(2)?;
        Ok(Reading {
            time: Nanos(row.get(0)?),
            sequence: Sequence(row.get::<_, i64>(1)?.cast_unsigned()),
            hub: hubs.get(&src).cloned().unwrap_or_else(|| "".into()),
            quality: Quality(row.get::<_, Option<u32>>(3)?.unwrap_or(0)),
            value: brief(tag.kind, row)?,
        })
    };
    select
        .query_map(params![tag.tag_id, limit], reading)?
        .collect()
}

fn brief(kind: Kind, row: &SqlRow<'_>) -> Result<Brief> {
    Ok(match kind {
        Kind::Number | Kind::Bool => {
            let number = Number {
                value: row.get(4)?,
                exact: row.get(5)?,
                original: row.get(6)?,
            };
            Brief::of(&Body::of_number(Quality::GOOD, number, kind))
        }
        Kind::Text => Brief::Text(row.get(4)?),
        Kind::Wave => Brief::Wave(WaveHead {
            start: Nanos(row.get(0)?),
            first_sample: row.get::<_, i64>(4)?.cast_unsigned(),
            count: row.get::<_, i64>(5)?.cast_unsigned(),
            rate: (row.get(6)?, row.get(7)?),
            scale: row.get(8)?,
            offset: row.get(9)?,
            unit: row.get(10)?,
            sample_type: SampleType::from_number(row.get(11)?)
                .ok_or_else(|| unknown(11, "sample_type"))?,
        }),
        Kind::Message => Brief::Message {
            start: row.get::<_, Vec<u8>>(4)?.into(),
            bytes: row.get::<_, i64>(5)?.cast_unsigned(),
            problem: row.get(6)?,
        },
    })
}
