//! Small queries for the command line, the console and the audit.

use std::ops::Range;

use bytes::Bytes;
use proto::wave::{SampleType, WaveBlock};
use proto::{Incarnation, Lane, Nanos, Offset, Origin, Quality, Sequence};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row as SqlRow};

use crate::historian::MAX_PAGE;
use crate::row::{DeadLetter, Table};
use crate::{Body, Error, Kind, Number, Page, Place, Row, Tag, ValuesQuery};

use super::config::Schema;
use super::fault::Fault;
use super::time::{Micros, join, split};

type Result<T> = std::result::Result<T, Fault>;
type Values<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

pub(super) async fn origins(client: &Client, schema: &Schema) -> Result<Vec<Origin>> {
    let sql = format!("SELECT hub, incarnation, lane FROM {schema}.origin ORDER BY src");
    let rows = client.query_typed(&sql, &[]).await?;
    rows.iter().map(origin).collect()
}

fn origin(row: &SqlRow) -> Result<Origin> {
    let (hub, incarnation, lane): (&str, &str, &str) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let lane = Lane::ALL.into_iter().find(|known| known.name() == lane);
    Ok(Origin {
        hub: hub.parse().map_err(|_| unknown("hub"))?,
        incarnation: u128::from_str_radix(incarnation, 16)
            .map(Incarnation)
            .map_err(|_| unknown("incarnation"))?,
        lane: lane.ok_or_else(|| unknown("lane"))?,
    })
}

pub(super) fn unknown(column: &str) -> Fault {
    let problem = format!("column {column:?} holds what this program does not know");
    Error::configuration(
        problem,
        "update the program, or undo what was changed by hand",
    )
    .into()
}

async fn src(client: &Client, schema: &Schema, origin: &Origin) -> Result<Option<i32>> {
    let sql = format!(
        "SELECT src FROM {schema}.origin WHERE hub = $1 AND incarnation = $2 AND lane = $3"
    );
    let (hub, lane) = (origin.hub.as_str(), origin.lane.name());
    let incarnation = origin.incarnation.to_string();
    let values: Values<'_> = &[
        (&hub, Type::TEXT),
        (&incarnation, Type::TEXT),
        (&lane, Type::TEXT),
    ];
    let row = client.query_typed_opt(&sql, values).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

pub(super) async fn records(client: &Client, schema: &Schema, origin: &Origin) -> Result<u64> {
    let Some(src) = src(client, schema, origin).await? else {
        return Ok(0);
    };
    let mut total = 0;
    for table in Table::ALL {
        let what = match table {
            Table::DeadLetter => "coalesce(sum(count), 0)::int8",
            _ => "count(*)",
        };
        let table = table.name();
        let sql = format!("SELECT {what} FROM {schema}.{table} WHERE src = $1 AND sub IS NULL");
        let row = client.query_typed_one(&sql, &[(&src, Type::INT4)]).await?;
        total += row.try_get::<_, i64>(0)?.cast_unsigned();
    }
    Ok(total)
}

pub(super) async fn rows(
    client: &Client,
    schema: &Schema,
    origin: &Origin,
    range: Range<Sequence>,
) -> Result<Vec<Row>> {
    let Some(src) = src(client, schema, origin).await? else {
        return Ok(Vec::new());
    };
    let (from, to) = (range.start.0.cast_signed(), range.end.0.cast_signed());
    let values: Values<'_> = &[(&src, Type::INT4), (&from, Type::INT8), (&to, Type::INT8)];
    let mut rows = Vec::new();
    for table in Table::ALL {
        let condition = "src = $1 AND seq >= $2 AND seq < $3";
        rows.extend(select(client, schema, table, condition, values).await?);
    }
    rows.sort_by_key(|row| (row.sequence, row.sub));
    Ok(rows)
}

pub(super) async fn tags(client: &Client, schema: &Schema) -> Result<Vec<Tag>> {
    tags_where(client, schema, "TRUE", &[]).await
}

pub(super) async fn last(
    client: &Client,
    schema: &Schema,
    topic: &str,
    key: &str,
) -> Result<Option<Row>> {
    let values: Values<'_> = &[(&topic, Type::TEXT), (&key, Type::TEXT)];
    let mut last: Option<Row> = None;
    for tag in tags_where(client, schema, "topic = $1 AND key = $2", values).await? {
        let condition =
            "tag_id = $1 ORDER BY time DESC, coalesce(ns_rem, 0) DESC, seq DESC LIMIT 1";
        let values: Values<'_> = &[(&tag.tag_id, Type::INT8)];
        let rows = select(client, schema, Table::of(tag.kind), condition, values).await?;
        last = last
            .into_iter()
            .chain(rows)
            .max_by_key(|row| (row.time, row.sequence));
    }
    Ok(last)
}

/// Tag ids of one tag, one for each kind that it had.
pub(super) async fn ids(
    client: &Client,
    schema: &Schema,
    topic: &str,
    key: &str,
) -> Result<Vec<Tag>> {
    let values: Values<'_> = &[(&topic, Type::TEXT), (&key, Type::TEXT)];
    tags_where(client, schema, "topic = $1 AND key = $2", values).await
}

pub(super) async fn values(client: &Client, schema: &Schema, query: &ValuesQuery) -> Result<Page> {
    let limit = query.limit.clamp(1, MAX_PAGE);
    let (from, to) = (query.range.start, query.range.end);
    let after = query.after.unwrap_or(Place {
        time: from,
        sequence: Sequence(0),
        src: -1,
        sub: 0,
    });
    let ((micros, rest), until) = (split(after.time), Micros::up(to));
    let micros = Micros::raw(micros);
    let (seq, sub) = (after.sequence.0.cast_signed(), after.sub.cast_signed());
    let mut found = Vec::new();
    for tag in ids(client, schema, &query.topic, &query.key).await? {
        let table = Table::of(tag.kind);
        if !matches!(table, Table::Value | Table::Text) {
            continue;
        }
        let order = "time, coalesce(ns_rem, 0), seq, src, coalesce(sub, 0)";
        let condition = format!(
            "tag_id = $1 AND time >= $2 AND time < $3 AND ({order}) > ($2, $4, $5, $6, $7)
             ORDER BY {order} LIMIT {}",
            limit + 1
        );
        let values: Values<'_> = &[
            (&tag.tag_id, Type::INT8),
            (&micros, Type::TIMESTAMPTZ),
            (&until, Type::TIMESTAMPTZ),
            (&rest, Type::INT2),
            (&seq, Type::INT8),
            (&after.src, Type::INT4),
            (&sub, Type::INT4),
        ];
        found.extend(select_placed(client, schema, table, &condition, values).await?);
    }
    // Less than a microsecond after the end.
    found.retain(|(place, _)| place.time < to);
    Ok(Page::of(found, limit as usize))
}

pub(super) async fn tags_where(
    client: &Client,
    schema: &Schema,
    condition: &str,
    values: Values<'_>,
) -> Result<Vec<Tag>> {
    let sql = format!(
        "SELECT tag_id::int8, topic, key, kind FROM {schema}.tag WHERE {condition}
         ORDER BY topic COLLATE \"C\", key COLLATE \"C\", tag_id"
    );
    let rows = client.query_typed(&sql, values).await?;
    let tag = |row: &SqlRow| {
        let (tag_id, topic, key) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        Ok(Tag {
            tag_id,
            topic,
            key,
            kind: kind(row, 3)?,
        })
    };
    rows.iter().map(tag).collect()
}

fn kind(row: &SqlRow, column: usize) -> Result<Kind> {
    Kind::from_name(row.try_get(column)?).ok_or_else(|| unknown("kind"))
}

/// All that [`Row`] has comes first, then what [`body`] reads.
async fn select(
    client: &Client,
    schema: &Schema,
    table: Table,
    condition: &str,
    values: Values<'_>,
) -> Result<Vec<Row>> {
    let rows = select_placed(client, schema, table, condition, values).await?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

async fn select_placed(
    client: &Client,
    schema: &Schema,
    table: Table,
    condition: &str,
    values: Values<'_>,
) -> Result<Vec<(Place, Row)>> {
    let columns = match table {
        Table::Value => "quality, value, value_int, original, kind",
        Table::Text => "quality, value",
        Table::Wave => {
            "quality, first_sample, rate_num, rate_den, scale, value_offset, unit, sample_type, \
             samples"
        }
        Table::Message => "payload, problem",
        Table::DeadLetter => "log_offset, count, sqlstate, reason, payload",
    };
    let join = match table {
        Table::DeadLetter => String::new(),
        _ => format!("JOIN {schema}.tag USING (tag_id)"),
    };
    let sql = format!(
        "SELECT time, ns_rem, seq, sub, topic, key, {columns}, src FROM {schema}.{} {join} \
         WHERE {condition}",
        table.name()
    );
    let rows = client.query_typed(&sql, values).await?;
    rows.iter().map(|found| placed(table, found)).collect()
}

fn placed(table: Table, found: &SqlRow) -> Result<(Place, Row)> {
    let row = row(table, found)?;
    let place = Place {
        time: row.time,
        sequence: row.sequence,
        src: found.try_get(found.len() - 1)?,
        sub: row.sub,
    };
    Ok((place, row))
}

fn row(table: Table, row: &SqlRow) -> Result<Row> {
    let sub = row.try_get::<_, Option<i32>>(3)?.unwrap_or(0);
    Ok(Row {
        time: time(row)?,
        sequence: Sequence(row.try_get::<_, i64>(2)?.cast_unsigned()),
        sub: sub.cast_unsigned(),
        topic: row.try_get::<_, &str>(4)?.into(),
        key: row.try_get::<_, &str>(5)?.into(),
        body: body(table, row)?,
    })
}

fn time(row: &SqlRow) -> Result<Nanos> {
    Ok(join(row.try_get::<_, Micros>(0)?, row.try_get(1)?))
}

fn body(table: Table, row: &SqlRow) -> Result<Body> {
    Ok(match table {
        Table::Value => {
            let number = Number {
                value: row.try_get(7)?,
                exact: row.try_get(8)?,
                original: row.try_get(9)?,
            };
            Body::of_number(quality(row)?, number, kind(row, 10)?)
        }
        Table::Text => Body::Text {
            quality: quality(row)?,
            value: row.try_get(7)?,
        },
        Table::Wave => Body::Wave {
            quality: quality(row)?,
            block: wave(row)?,
        },
        Table::Message => Body::Message {
            payload: blob(row, 6)?,
            problem: row.try_get(7)?,
        },
        Table::DeadLetter => Body::Dead(DeadLetter {
            offset: Offset(row.try_get::<_, i64>(6)?.cast_unsigned()),
            count: small(row, 7, "count")?,
            sqlstate: row.try_get(8)?,
            reason: row.try_get(9)?,
            payload: blob(row, 10)?,
        }),
    })
}

fn quality(row: &SqlRow) -> Result<Quality> {
    let quality = row.try_get::<_, Option<i64>>(6)?.unwrap_or(0);
    u32::try_from(quality)
        .map(Quality)
        .map_err(|_| unknown("quality"))
}

fn wave(row: &SqlRow) -> Result<WaveBlock> {
    let sample_type = u8::try_from(row.try_get::<_, i16>(13)?).ok();
    Ok(WaveBlock {
        start: time(row)?,
        first_sample: row.try_get::<_, i64>(7)?.cast_unsigned(),
        rate: (small(row, 8, "rate_num")?, small(row, 9, "rate_den")?),
        scale: row.try_get(10)?,
        offset: row.try_get(11)?,
        unit: row.try_get(12)?,
        sample_type: sample_type
            .and_then(SampleType::from_number)
            .ok_or_else(|| unknown("sample_type"))?,
        samples: blob(row, 14)?,
    })
}

pub(super) fn small(row: &SqlRow, column: usize, name: &str) -> Result<u32> {
    u32::try_from(row.try_get::<_, i64>(column)?).map_err(|_| unknown(name))
}

fn blob(row: &SqlRow, column: usize) -> Result<Bytes> {
    Ok(row.try_get::<_, Vec<u8>>(column)?.into())
}
