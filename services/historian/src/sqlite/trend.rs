//! Trends. SQLite runs in this process and has no aggregate that keeps the row of an extreme for
//! two extremes at once, so its rows go through the same buckets as everywhere else, one at a time.

use proto::{Nanos, Quality, Sequence};
use rusqlite::{Connection, Params, Row as SqlRow, params};

use crate::row::Table;
use crate::trend::add_to;
use crate::{Grid, MAX_TEXT, Number, Point, Series, State, Trend, TrendQuery};

use super::read::{cursor, ids};

type Result<T> = rusqlite::Result<T>;

pub(super) fn trend(connection: &Connection, query: &TrendQuery) -> Result<Trend> {
    let mut trend = Trend::empty(query.grid);
    if let Some(stream) = &query.stream {
        trend.written = cursor(connection, stream)?;
    }
    for tag in ids(connection, &query.topic, &query.key)? {
        match Table::of(tag.kind) {
            Table::Value => trend.merge(numbers(connection, tag.tag_id, query.grid)?),
            Table::Text => {
                (trend.states, trend.states_cut) = states(connection, tag.tag_id, query.grid)?
            }
            _ => {}
        }
    }
    Ok(trend)
}

const INSIDE: &str = "time >= ?2 AND time < ?3";

fn numbers(connection: &Connection, tag_id: i64, grid: Grid) -> Result<Trend> {
    let mut trend = Trend::empty(grid);
    let (from, to, most) = (grid.from().0, grid.to().0, grid.points());
    let few = format!("{INSIDE} ORDER BY time, seq LIMIT {}", most + 1);
    let points = select(connection, &few, params![tag_id, from, to])?;
    trend.series = if points.len() <= most {
        Series::Raw(points)
    } else {
        Series::Envelope(buckets(connection, tag_id, grid)?)
    };
    let before = "time < ?2 ORDER BY time DESC, seq DESC LIMIT 1";
    trend.before = select(connection, before, params![tag_id, from])?.pop();
    let after = "time >= ?2 ORDER BY time, seq LIMIT 1";
    trend.after = select(connection, after, params![tag_id, to])?.pop();
    Ok(trend)
}

fn buckets(connection: &Connection, tag_id: i64, grid: Grid) -> Result<Vec<crate::Bucket>> {
    let mut buckets = Vec::new();
    let mut select = connection.prepare_cached(&sql(INSIDE))?;
    let mut rows = select.query(params![tag_id, grid.from().0, grid.to().0])?;
    while let Some(row) = rows.next()? {
        add_to(&mut buckets, grid, &point(row)?);
    }
    Ok(buckets)
}

fn select(connection: &Connection, condition: &str, values: impl Params) -> Result<Vec<Point>> {
    let mut select = connection.prepare_cached(&sql(condition))?;
    select.query_map(values, point)?.collect()
}

fn sql(condition: &str) -> String {
    format!(
        "SELECT time, seq, quality, value, value_int, original FROM value
         WHERE tag_id = ?1 AND {condition}"
    )
}

fn point(row: &SqlRow<'_>) -> Result<Point> {
    Ok(Point {
        time: Nanos(row.get(0)?),
        sequence: Sequence(row.get::<_, i64>(1)?.cast_unsigned()),
        quality: Quality(row.get::<_, Option<u32>>(2)?.unwrap_or(0)),
        number: Number {
            value: row.get(3)?,
            exact: row.get(4)?,
            original: row.get(5)?,
        },
    })
}

/// The newest changes, by time, and whether older ones were left out.
fn states(connection: &Connection, tag_id: i64, grid: Grid) -> Result<(Vec<State>, bool)> {
    let sql = format!(
        "WITH begin AS (
            SELECT time, seq, quality, value FROM value_text WHERE tag_id = ?1 AND time < ?2
            ORDER BY time DESC, seq DESC LIMIT 1),
         stretch AS (
            SELECT * FROM begin UNION ALL
            SELECT time, seq, quality, value FROM value_text
            WHERE tag_id = ?1 AND {INSIDE}),
         compared AS (
            SELECT *, lag(value) OVER by_time AS old_value,
                lag(coalesce(quality, 0)) OVER by_time AS old_quality
            FROM stretch WINDOW by_time AS (ORDER BY time, seq))
         SELECT time, quality, substr(value, 1, {MAX_TEXT}) FROM compared
         WHERE value IS NOT old_value OR coalesce(quality, 0) IS NOT old_quality
         ORDER BY time DESC, seq DESC LIMIT {}",
        grid.points() + 1
    );
    let state = |row: &SqlRow<'_>| {
        Ok(State {
            time: Nanos(row.get(0)?),
            quality: Quality(row.get::<_, Option<u32>>(1)?.unwrap_or(0)),
            text: row.get(2)?,
        })
    };
    let mut select = connection.prepare_cached(&sql)?;
    let found = select.query_map(params![tag_id, grid.from().0, grid.to().0], state)?;
    let mut states: Vec<State> = found.collect::<Result<_>>()?;
    let cut = states.len() > grid.points();
    states.truncate(grid.points());
    states.reverse();
    Ok((states, cut))
}
