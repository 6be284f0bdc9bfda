//! Trends, thinned out by the server.

use proto::{Nanos, Offset, Quality, Sequence};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row as SqlRow};

use crate::row::Table;
use crate::{Bucket, Grid, MAX_TEXT, Number, Point, Series, State, Trend, TrendQuery};

use super::config::Schema;
use super::fault::Fault;
use super::read::{ids, unknown};
use super::time::{Micros, join};

type Result<T> = std::result::Result<T, Fault>;

/// All of a [`Point`], in the order in which [`point`] reads it.
const POINT: &str = "time, ns_rem, seq, quality, value, value_int, original";
const POINT_COLUMNS: usize = 7;
/// Rows of one moment by what the time has no place for.
const FORWARD: &str = "time, coalesce(ns_rem, 0), seq";
const BACKWARD: &str = "time DESC, coalesce(ns_rem, 0) DESC, seq DESC";

pub(super) async fn trend(client: &Client, schema: &Schema, query: &TrendQuery) -> Result<Trend> {
    let mut trend = Trend::empty(query.grid);
    if let Some(stream) = &query.stream {
        trend.written = cursor(client, schema, stream).await?;
    }
    for tag in ids(client, schema, &query.topic, &query.key).await? {
        let reader = Reader {
            client,
            schema,
            tag_id: i32::try_from(tag.tag_id).map_err(|_| unknown("tag_id"))?,
            grid: query.grid,
        };
        match Table::of(tag.kind) {
            Table::Value => trend.merge(reader.numbers().await?),
            Table::Text => (trend.states, trend.states_cut) = reader.states().await?,
            _ => {}
        }
    }
    Ok(trend)
}

pub(super) async fn cursor(
    client: &Client,
    schema: &Schema,
    stream: &str,
) -> Result<Option<Offset>> {
    let sql =
        format!("SELECT next_offset FROM {schema}.writer_offset WHERE stream = $1 AND part = 0");
    let row = client
        .query_typed_opt(&sql, &[(&stream, Type::TEXT)])
        .await?;
    let offset = row.map(|row| row.try_get::<_, i64>(0)).transpose()?;
    Ok(offset.map(|offset| Offset(offset.cast_unsigned())))
}

/// One tag id over one stretch.
struct Reader<'a> {
    client: &'a Client,
    schema: &'a Schema,
    tag_id: i32,
    grid: Grid,
}

impl Reader<'_> {
    async fn numbers(&self) -> Result<Trend> {
        let mut trend = Trend::empty(self.grid);
        let most = self.grid.points();
        let few = format!(
            "time >= $2 AND time < $3 ORDER BY {FORWARD} LIMIT {}",
            most + 1
        );
        let points = self
            .select(&few, &[self.grid.from(), self.grid.to()])
            .await?;
        trend.series = if points.len() <= most {
            Series::Raw(points)
        } else {
            Series::Envelope(self.buckets().await?)
        };
        let before = format!("time < $2 ORDER BY {BACKWARD} LIMIT 1");
        trend.before = self.select(&before, &[self.grid.from()]).await?.pop();
        let after = format!("time >= $2 ORDER BY {FORWARD} LIMIT 1");
        trend.after = self.select(&after, &[self.grid.to()]).await?.pop();
        Ok(trend)
    }

    async fn select(&self, condition: &str, times: &[Nanos]) -> Result<Vec<Point>> {
        let schema = self.schema;
        let sql = format!("SELECT {POINT} FROM {schema}.value WHERE tag_id = $1 AND {condition}");
        let rows = self.query(&sql, times).await?;
        rows.iter().map(|row| point(row, 0)).collect()
    }

    /// The parameters are the tag id, then times.
    async fn query(&self, sql: &str, times: &[Nanos]) -> Result<Vec<SqlRow>> {
        let times: Vec<Micros> = times.iter().map(|time| Micros::of(*time)).collect();
        let mut values: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&self.tag_id, Type::INT4)];
        for time in &times {
            values.push((time, Type::TIMESTAMPTZ));
        }
        Ok(self.client.query_typed(sql, &values).await?)
    }

    /// One pass over the index for the figures, then for each bucket the rows that they stand for.
    async fn buckets(&self) -> Result<Vec<Bucket>> {
        let (schema, micros) = (self.schema, self.grid.width() / 1000);
        let one = |condition: &str, order: &str| {
            format!(
                "SELECT {POINT} FROM {schema}.value WHERE tag_id = $1 AND {condition}
                 ORDER BY {order} LIMIT 1"
            )
        };
        let first = one("time = b.first_time", FORWARD);
        let last = one("time = b.last_time", BACKWARD);
        let inside = "time >= b.first_time AND time <= b.last_time";
        let min = one(&format!("{inside} AND value = b.low"), FORWARD);
        let max = one(&format!("{inside} AND value = b.high"), FORWARD);
        let sql = format!(
            "WITH bucket AS MATERIALIZED (
                SELECT date_bin({micros} * interval '1 microsecond', time, $2) AS start,
                    count(*) AS count, max(quality) AS quality, min(value) AS low,
                    max(value) AS high, min(time) AS first_time, max(time) AS last_time
                FROM {schema}.value WHERE tag_id = $1 AND time >= $2 AND time < $3 GROUP BY 1)
             SELECT b.start, b.count, b.quality, f.*, l.*, n.*, x.*
             FROM bucket b CROSS JOIN LATERAL ({first}) f CROSS JOIN LATERAL ({last}) l
             LEFT JOIN LATERAL ({min}) n ON TRUE LEFT JOIN LATERAL ({max}) x ON TRUE
             ORDER BY b.start"
        );
        let rows = self
            .query(&sql, &[self.grid.from(), self.grid.to()])
            .await?;
        rows.iter().map(bucket).collect()
    }

    /// The newest changes, by time, and whether older ones were left out.
    async fn states(&self) -> Result<(Vec<State>, bool)> {
        let (schema, most) = (self.schema, self.grid.points());
        let sql = format!(
            "WITH begin AS (
                SELECT time, ns_rem, seq, quality, value FROM {schema}.value_text
                WHERE tag_id = $1 AND time < $2 ORDER BY {BACKWARD} LIMIT 1),
             stretch AS (
                SELECT * FROM begin UNION ALL
                SELECT time, ns_rem, seq, quality, value FROM {schema}.value_text
                WHERE tag_id = $1 AND time >= $2 AND time < $3),
             compared AS (
                SELECT *, lag(value) OVER by_time AS old_value,
                    lag(coalesce(quality, 0)) OVER by_time AS old_quality
                FROM stretch WINDOW by_time AS (ORDER BY {FORWARD}))
             SELECT time, ns_rem, quality, left(value, {MAX_TEXT}) FROM compared
             WHERE value IS DISTINCT FROM old_value
                OR coalesce(quality, 0) IS DISTINCT FROM old_quality
             ORDER BY {BACKWARD} LIMIT {}",
            most + 1
        );
        let rows = self
            .query(&sql, &[self.grid.from(), self.grid.to()])
            .await?;
        let mut states = rows.iter().map(state).collect::<Result<Vec<_>>>()?;
        let cut = states.len() > most;
        states.truncate(most);
        states.reverse();
        Ok((states, cut))
    }
}

fn bucket(row: &SqlRow) -> Result<Bucket> {
    let at = |index: usize| point(row, 3 + index * POINT_COLUMNS);
    let (low, high) = (3 + 2 * POINT_COLUMNS, 3 + 3 * POINT_COLUMNS);
    let present = |column: usize| row.try_get::<_, Option<i64>>(column + 2);
    Ok(Bucket {
        start: join(row.try_get::<_, Micros>(0)?, None),
        count: row.try_get::<_, i64>(1)?.cast_unsigned(),
        quality: quality(row, 2)?,
        first: at(0)?,
        last: at(1)?,
        min: present(low)?.map(|_| at(2)).transpose()?,
        max: present(high)?.map(|_| at(3)).transpose()?,
    })
}

fn point(row: &SqlRow, column: usize) -> Result<Point> {
    Ok(Point {
        time: join(row.try_get::<_, Micros>(column)?, row.try_get(column + 1)?),
        sequence: Sequence(row.try_get::<_, i64>(column + 2)?.cast_unsigned()),
        quality: quality(row, column + 3)?,
        number: Number {
            value: row.try_get(column + 4)?,
            exact: row.try_get(column + 5)?,
            original: row.try_get(column + 6)?,
        },
    })
}

fn state(row: &SqlRow) -> Result<State> {
    Ok(State {
        time: join(row.try_get::<_, Micros>(0)?, row.try_get(1)?),
        quality: quality(row, 2)?,
        text: row.try_get(3)?,
    })
}

pub(super) fn quality(row: &SqlRow, column: usize) -> Result<Quality> {
    let quality = row.try_get::<_, Option<i64>>(column)?.unwrap_or(0);
    u32::try_from(quality)
        .map(Quality)
        .map_err(|_| unknown("quality"))
}
