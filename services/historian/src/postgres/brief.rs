//! What lists show: the newest readings.

use std::collections::HashMap;
use std::sync::Arc;

use proto::Sequence;
use proto::wave::SampleType;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row as SqlRow};

use crate::historian::MAX_PAGE;
use crate::row::Table;
use crate::{Body, Brief, Kind, Last, MAX_TEXT, Number, Reading, Tag, WaveHead};

use super::config::Schema;
use super::fault::Fault;
use super::read::{ids, small, tags_where, unknown};
use super::time::{Micros, join};
use super::trend::quality;

type Result<T> = std::result::Result<T, Fault>;
/// Paths of the hubs of birth by `src`.
type Hubs = HashMap<i32, Arc<str>>;

/// Tables with tags.
const TABLES: [Table; 4] = [Table::Value, Table::Text, Table::Wave, Table::Message];

pub(super) async fn newest(
    client: &Client,
    schema: &Schema,
    topic: &str,
    key: &str,
    limit: u32,
) -> Result<Vec<Reading>> {
    let limit = limit.clamp(1, MAX_PAGE);
    let tags = ids(client, schema, topic, key).await?;
    let found = of_tags(client, schema, &tags, limit).await?;
    let mut newest: Vec<Reading> = found.into_iter().map(|(_, reading)| reading).collect();
    newest.sort_by_key(|reading| std::cmp::Reverse((reading.time, reading.sequence)));
    newest.truncate(limit as usize);
    Ok(newest)
}

pub(super) async fn lasts(
    client: &Client,
    schema: &Schema,
    after: i64,
    limit: u32,
) -> Result<Vec<Last>> {
    let limit = i64::from(limit.clamp(1, MAX_PAGE));
    let condition = format!(
        "tag_id IN (SELECT tag_id FROM {schema}.tag WHERE tag_id > $1 ORDER BY tag_id LIMIT $2)"
    );
    let values: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
        &[(&after, Type::INT8), (&limit, Type::INT8)];
    let mut tags = tags_where(client, schema, &condition, values).await?;
    tags.sort_by_key(|tag| tag.tag_id);
    let mut readings: HashMap<i64, Reading> = of_tags(client, schema, &tags, 1)
        .await?
        .into_iter()
        .collect();
    let last = |tag: Tag| Last {
        reading: readings.remove(&tag.tag_id),
        tag,
    };
    Ok(tags.into_iter().map(last).collect())
}

async fn hubs(client: &Client, schema: &Schema) -> Result<Hubs> {
    let sql = format!("SELECT src, hub FROM {schema}.origin");
    let rows = client.query_typed(&sql, &[]).await?;
    let hub = |row: &SqlRow| Ok((row.try_get(0)?, row.try_get::<_, &str>(1)?.into()));
    rows.iter().map(hub).collect()
}

/// The newest `limit` readings of each tag, with its id.
async fn of_tags(
    client: &Client,
    schema: &Schema,
    tags: &[Tag],
    limit: u32,
) -> Result<Vec<(i64, Reading)>> {
    let hubs = hubs(client, schema).await?;
    let kinds: HashMap<i64, Kind> = tags.iter().map(|tag| (tag.tag_id, tag.kind)).collect();
    let mut readings = Vec::new();
    for table in TABLES {
        let of_table = tags.iter().filter(|tag| Table::of(tag.kind) == table);
        let ids: Vec<i32> = of_table
            .filter_map(|tag| i32::try_from(tag.tag_id).ok())
            .collect();
        if ids.is_empty() {
            continue;
        }
        // One probe of the index per tag and partition, whatever the table holds.
        let sql = format!(
            "SELECT t.tag_id::int8, v.* FROM unnest($1) AS t (tag_id) CROSS JOIN LATERAL (
                SELECT time, ns_rem, seq, src, {} FROM {schema}.{} AS v
                WHERE v.tag_id = t.tag_id
                ORDER BY time DESC, coalesce(ns_rem, 0) DESC, seq DESC LIMIT {limit}) v",
            columns(table),
            table.name()
        );
        for row in client
            .query_typed(&sql, &[(&ids, Type::INT4_ARRAY)])
            .await?
        {
            let tag_id: i64 = row.try_get(0)?;
            let kind = kinds
                .get(&tag_id)
                .copied()
                .ok_or_else(|| unknown("tag_id"))?;
            readings.push((tag_id, reading(&hubs, kind, &row)?));
        }
    }
    Ok(readings)
}

fn columns(table: Table) -> String {
    match table {
        Table::Value => "quality, value, value_int, original".into(),
        Table::Text => format!("quality, left(value, {MAX_TEXT})"),
        Table::Wave => {
            "quality, first_sample, count, rate_num, rate_den, scale, value_offset, unit, \
             sample_type"
                .into()
        }
        Table::Message | Table::DeadLetter => format!(
            "NULL::int8, substring(payload FOR {MAX_TEXT}), length(payload)::int8, \
             left(problem, {MAX_TEXT})"
        ),
    }
}

fn reading(hubs: &Hubs, kind: Kind, row: &SqlRow) -> Result<Reading> {
    let src: i32 = row.try_get(4)?;
    Ok(Reading {
        time: join(row.try_get::<_, Micros>(1)?, row.try_get(2)?),
        sequence: Sequence(row.try_get::<_, i64>(3)?.cast_unsigned()),
        hub: hubs.get(&src).cloned().unwrap_or_else(|| "".into()),
        quality: quality(row, 5)?,
        value: brief(kind, row)?,
    })
}

fn brief(kind: Kind, row: &SqlRow) -> Result<Brief> {
    Ok(match kind {
        Kind::Number | Kind::Bool => {
            let number = Number {
                value: row.try_get(6)?,
                exact: row.try_get(7)?,
                original: row.try_get(8)?,
            };
            Brief::of(&Body::of_number(proto::Quality::GOOD, number, kind))
        }
        Kind::Text => Brief::Text(row.try_get(6)?),
        Kind::Wave => Brief::Wave(head(row, 1, 6)?),
        Kind::Message => Brief::Message {
            start: row.try_get::<_, Vec<u8>>(6)?.into(),
            bytes: row.try_get::<_, i64>(7)?.cast_unsigned(),
            problem: row.try_get(8)?,
        },
    })
}

/// `time` is the column of the time and its rest, `rest` that of all else.
pub(super) fn head(row: &SqlRow, time: usize, rest: usize) -> Result<WaveHead> {
    let sample_type = u8::try_from(row.try_get::<_, i16>(rest + 7)?).ok();
    Ok(WaveHead {
        start: join(row.try_get::<_, Micros>(time)?, row.try_get(time + 1)?),
        first_sample: row.try_get::<_, i64>(rest)?.cast_unsigned(),
        count: row.try_get::<_, i64>(rest + 1)?.cast_unsigned(),
        rate: (
            small(row, rest + 2, "rate_num")?,
            small(row, rest + 3, "rate_den")?,
        ),
        scale: row.try_get(rest + 4)?,
        offset: row.try_get(rest + 5)?,
        unit: row.try_get(rest + 6)?,
        sample_type: sample_type
            .and_then(SampleType::from_number)
            .ok_or_else(|| unknown("sample_type"))?,
    })
}
