//! Small queries for the command line, the console and the audit.

use std::ops::Range;

use bytes::Bytes;
use proto::wave::{SampleType, WaveBlock};
use proto::{Incarnation, Lane, Nanos, Offset, Origin, Quality, Sequence};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, Row as SqlRow, params};

use crate::historian::MAX_PAGE;
use crate::row::{DeadLetter, Table};
use crate::{Body, Kind, Number, Page, Place, Row, Tag, ValuesQuery};

type Result<T> = rusqlite::Result<T>;

pub(super) fn origins(connection: &Connection) -> Result<Vec<Origin>> {
    let mut select =
        connection.prepare_cached("SELECT hub, incarnation, lane FROM origin ORDER BY src")?;
    let rows = select.query_map((), |row| {
        let (hub, incarnation, lane): (String, String, String) =
            (row.get(0)?, row.get(1)?, row.get(2)?);
        let lane = Lane::ALL.into_iter().find(|known| known.name() == lane);
        Ok(Origin {
            hub: hub.parse().map_err(|_| unknown(0, "hub"))?,
            incarnation: u128::from_str_radix(&incarnation, 16)
                .map(Incarnation)
                .map_err(|_| unknown(1, "incarnation"))?,
            lane: lane.ok_or_else(|| unknown(2, "lane"))?,
        })
    })?;
    rows.collect()
}

pub(super) fn unknown(column: usize, name: &str) -> rusqlite::Error {
    rusqlite::Error::InvalidColumnType(column, name.into(), Type::Text)
}

fn src(connection: &Connection, origin: &Origin) -> Result<Option<i32>> {
    const SQL: &str = "SELECT src FROM origin WHERE hub = ?1 AND incarnation = ?2 AND lane = ?3";
    let incarnation = origin.incarnation.to_string();
    let values = [origin.hub.as_str(), &incarnation, origin.lane.name()];
    connection
        .query_row(SQL, values, |row| row.get(0))
        .optional()
}

pub(super) fn records(connection: &Connection, origin: &Origin) -> Result<u64> {
    let Some(src) = src(connection, origin)? else {
        return Ok(0);
    };
    let mut total = 0;
    for table in Table::ALL {
        let what = if table == Table::DeadLetter {
            "coalesce(sum(count), 0)"
        } else {
            "count(*)"
        };
        let sql = format!(
            "SELECT {what} FROM {} WHERE src = ?1 AND sub IS NULL",
            table.name()
        );
        total += connection
            .query_row(&sql, [src], |row| row.get::<_, i64>(0))?
            .cast_unsigned();
    }
    Ok(total)
}

pub(super) fn rows(
    connection: &Connection,
    origin: &Origin,
    range: Range<Sequence>,
) -> Result<Vec<Row>> {
    let Some(src) = src(connection, origin)? else {
        return Ok(Vec::new());
    };
    let mut rows = Vec::new();
    for table in Table::ALL {
        let condition = "src = ?1 AND seq >= ?2 AND seq < ?3";
        let (from, to) = (range.start.0.cast_signed(), range.end.0.cast_signed());
        rows.extend(select(connection, table, condition, (src, from, to))?);
    }
    rows.sort_by_key(|row| (row.sequence, row.sub));
    Ok(rows)
}

pub(super) fn tags(connection: &Connection) -> Result<Vec<Tag>> {
    tags_where(connection, "TRUE", ())
}

pub(super) fn last(connection: &Connection, topic: &str, key: &str) -> Result<Option<Row>> {
    let mut last: Option<Row> = None;
    for tag in tags_where(connection, "topic = ?1 AND key = ?2", [topic, key])? {
        let condition = "tag_id = ?1 ORDER BY time DESC, seq DESC LIMIT 1";
        let rows = select(connection, Table::of(tag.kind), condition, [tag.tag_id])?;
        last = last
            .into_iter()
            .chain(rows)
            .max_by_key(|row| (row.time, row.sequence));
    }
    Ok(last)
}

pub(super) fn cursor(connection: &Connection, stream: &str) -> Result<Option<Offset>> {
    const SQL: &str = "SELECT next_offset FROM writer_offset WHERE stream = ?1 AND part = 0";
    let mut select = connection.prepare_cached(SQL)?;
    let offset = |row: &SqlRow<'_>| Ok(Offset(row.get::<_, i64>(0)?.cast_unsigned()));
    select.query_row([stream], offset).optional()
}

/// Tag ids of one tag, one for each kind that it had.
pub(super) fn ids(connection: &Connection, topic: &str, key: &str) -> Result<Vec<Tag>> {
    tags_where(connection, "topic = ?1 AND key = ?2", [topic, key])
}

pub(super) fn values(connection: &Connection, query: &ValuesQuery) -> Result<Page> {
    let limit = query.limit.clamp(1, MAX_PAGE);
    let after = query.after.unwrap_or(Place {
        time: Nanos(query.range.start.0),
        sequence: Sequence(0),
        src: -1,
        sub: 0,
    });
    let mut found = Vec::new();
    for tag in ids(connection, &query.topic, &query.key)? {
        let table = Table::of(tag.kind);
        if matches!(table, Table::Value | Table::Text) {
            let condition = format!(
                "tag_id = ?1 AND time >= ?2 AND time < ?3
                 AND (time, seq, src, coalesce(sub, 0)) > (?2, ?4, ?5, ?6)
                 ORDER BY time, seq, src, coalesce(sub, 0) LIMIT {}",
                limit + 1
            );
            let (from, to) = (after.time.0, query.range.end.0);
            let seq = after.sequence.0.cast_signed();
            let values = params![tag.tag_id, from, to, seq, after.src, after.sub];
            found.extend(select_placed(connection, table, &condition, values)?);
        }
    }
    Ok(Page::of(found, limit as usize))
}

pub(super) fn tags_where(
    connection: &Connection,
    condition: &str,
    values: impl Params,
) -> Result<Vec<Tag>> {
    let sql = format!(
        "SELECT tag_id, topic, key, kind FROM tag WHERE {condition} ORDER BY topic, key, tag_id"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let rows = select.query_map(values, |row| {
        let (tag_id, topic, key) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(Tag {
            tag_id,
            topic,
            key,
            kind: kind(row, 3)?,
        })
    })?;
    rows.collect()
}

pub(super) fn kind(row: &SqlRow<'_>, column: usize) -> Result<Kind> {
    Kind::from_name(&row.get::<_, String>(column)?).ok_or_else(|| unknown(column, "kind"))
}

/// All that [`Row`] has comes first, then what [`body`] reads.
fn select(
    connection: &Connection,
    table: Table,
    condition: &str,
    values: impl Params,
) -> Result<Vec<Row>> {
    let rows = select_placed(connection, table, condition, values)?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

fn select_placed(
    connection: &Connection,
    table: Table,
    condition: &str,
    values: impl Params,
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
    let join = if table == Table::DeadLetter {
        ""
    } else {
        "JOIN tag USING (tag_id)"
    };
    let sql = format!(
        "SELECT seq, sub, time, topic, key, {columns}, src FROM {} {join} WHERE {condition}",
        table.name()
    );
    let mut select = connection.prepare_cached(&sql)?;
    let src = select.column_count() - 1;
    let rows = select.query_map(values, |row| {
        let found = Row {
            sequence: Sequence(row.get::<_, i64>(0)?.cast_unsigned()),
            sub: row.get::<_, Option<u32>>(1)?.unwrap_or(0),
            time: Nanos(row.get(2)?),
            topic: row.get::<_, String>(3)?.into(),
            key: row.get::<_, String>(4)?.into(),
            body: body(table, row)?,
        };
        let place = Place {
            time: found.time,
            sequence: found.sequence,
            src: row.get(src)?,
            sub: found.sub,
        };
        Ok((place, found))
    })?;
    rows.collect()
}

fn body(table: Table, row: &SqlRow<'_>) -> Result<Body> {
    let quality = || Ok::<_, rusqlite::Error>(Quality(row.get::<_, Option<u32>>(5)?.unwrap_or(0)));
    Ok(match table {
        Table::Value => {
            let number = Number {
                value: row.get(6)?,
                exact: row.get(7)?,
                original: row.get(8)?,
            };
            Body::of_number(quality()?, number, kind(row, 9)?)
        }
        Table::Text => Body::Text {
            quality: quality()?,
            value: row.get(6)?,
        },
        Table::Wave => Body::Wave {
            quality: quality()?,
            block: wave(row)?,
        },
        Table::Message => Body::Message {
            payload: blob(row, 5)?,
            problem: row.get(6)?,
        },
        Table::DeadLetter => Body::Dead(DeadLetter {
            offset: Offset(row.get::<_, i64>(5)?.cast_unsigned()),
            count: row.get(6)?,
            sqlstate: row.get(7)?,
            reason: row.get(8)?,
            payload: blob(row, 9)?,
        }),
    })
}

fn wave(row: &SqlRow<'_>) -> Result<WaveBlock> {
    let sample_type = SampleType::from_number(row.get(12)?);
    Ok(WaveBlock {
        start: Nanos(row.get(2)?),
        first_sample: row.get::<_, i64>(6)?.cast_unsigned(),
        rate: (row.get(7)?, row.get(8)?),
        scale: row.get(9)?,
        offset: row.get(10)?,
        unit: row.get(11)?,
        sample_type: sample_type.ok_or_else(|| unknown(12, "sample_type"))?,
        samples: blob(row, 13)?,
    })
}

fn blob(row: &SqlRow<'_>, column: usize) -> Result<Bytes> {
    Ok(row.get::<_, Vec<u8>>(column)?.into())
}
