//! Blocks of samples.

use std::ops::Range;

use proto::Nanos;
use proto::wave::WaveBlock;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row as SqlRow};

use crate::historian::{MAX_PAGE, fitting};
use crate::{Kind, WaveHead};

use super::brief::head;
use super::config::Schema;
use super::fault::Fault;
use super::read::{ids, unknown};
use super::time::Micros;

type Result<T> = std::result::Result<T, Fault>;

/// Which row it is: src, sequence and the microsecond that leads to its partition.
type Identity = (i32, i64, Micros);

pub(super) async fn heads(
    client: &Client,
    schema: &Schema,
    topic: &str,
    key: &str,
    range: Range<Nanos>,
    limit: u32,
) -> Result<Vec<WaveHead>> {
    let found = placed(client, schema, topic, key, range, limit).await?;
    Ok(found.into_iter().map(|(_, head)| head).collect())
}

pub(super) async fn blocks(
    client: &Client,
    schema: &Schema,
    topic: &str,
    key: &str,
    range: Range<Nanos>,
    max_samples: u64,
) -> Result<Vec<WaveBlock>> {
    let heads = placed(client, schema, topic, key, range, MAX_PAGE).await?;
    let sql = format!(
        "SELECT samples FROM {schema}.wave
         WHERE tag_id = $1 AND time = $2 AND src = $3 AND seq = $4 LIMIT 1"
    );
    let mut blocks = Vec::new();
    for ((tag_id, (src, seq, time)), head) in fitting(heads, max_samples) {
        let values: &[(&(dyn ToSql + Sync), Type)] = &[
            (&tag_id, Type::INT4),
            (&time, Type::TIMESTAMPTZ),
            (&src, Type::INT4),
            (&seq, Type::INT8),
        ];
        let row = client.query_typed_one(&sql, values).await?;
        blocks.push(head.with(row.try_get::<_, Vec<u8>>(0)?.into()));
    }
    Ok(blocks)
}

async fn placed(
    client: &Client,
    schema: &Schema,
    topic: &str,
    key: &str,
    range: Range<Nanos>,
    limit: u32,
) -> Result<Vec<((i32, Identity), WaveHead)>> {
    let limit = limit.clamp(1, MAX_PAGE);
    let (from, to) = (Micros::of(range.start), Micros::up(range.end));
    let mut found = Vec::new();
    for tag in ids(client, schema, topic, key).await? {
        if tag.kind != Kind::Wave {
            continue;
        }
        let tag_id = i32::try_from(tag.tag_id).map_err(|_| unknown("tag_id"))?;
        let values: &[(&(dyn ToSql + Sync), Type)] = &[
            (&tag_id, Type::INT4),
            (&from, Type::TIMESTAMPTZ),
            (&to, Type::TIMESTAMPTZ),
        ];
        let before = "time < $2 ORDER BY time DESC, coalesce(ns_rem, 0) DESC, seq DESC LIMIT 1";
        let inside = format!(
            "time >= $2 AND time < $3 ORDER BY time, coalesce(ns_rem, 0), seq LIMIT {limit}"
        );
        let mut of_tag = select(client, schema, before, &values[..2]).await?;
        of_tag.extend(select(client, schema, &inside, values).await?);
        let of_tag = of_tag.into_iter();
        found.extend(of_tag.map(|(identity, head)| ((tag_id, identity), head)));
    }
    // A microsecond may begin before the stretch and end after it.
    found.retain(|(_, head)| head.end() > range.start && head.start < range.end);
    found.truncate(limit as usize);
    Ok(found)
}

async fn select(
    client: &Client,
    schema: &Schema,
    condition: &str,
    values: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<(Identity, WaveHead)>> {
    let sql = format!(
        "SELECT src, seq, time, ns_rem, first_sample, count, rate_num, rate_den, scale,
            value_offset, unit, sample_type
         FROM {schema}.wave WHERE tag_id = $1 AND {condition}"
    );
    let rows = client.query_typed(&sql, values).await?;
    let placed = |row: &SqlRow| {
        let identity = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok((identity, head(row, 2, 4)?))
    };
    rows.iter().map(placed).collect()
}
