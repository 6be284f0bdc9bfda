//! A trend of the database and what the log brought since, put together. Pure.

use historian::{Point, Series, State, Trend};
use proto::{Nanos, Offset};

use crate::tags::{Recent, RecentValue};

/// A trend without a value twice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Joined {
    pub(crate) trend: Trend,
    /// Between the database and what is in memory, values are missing.
    pub(crate) gap: bool,
}

/// `recent` are values by offset, all from `memory` on.
pub(crate) fn join(mut trend: Trend, memory: Offset, recent: &[Recent]) -> Joined {
    let gap = trend.written.is_some_and(|written| written < memory);
    let from = trend.written.unwrap_or_default();
    for entry in recent.iter().filter(|entry| entry.offset >= from) {
        if let RecentValue::Text(text) = &entry.value {
            add_state(&mut trend, entry, text);
        } else if let Some(point) = point(entry) {
            trend.add(point);
        }
    }
    let most = trend.grid.points();
    if trend.states.len() > most {
        trend.states.drain(..trend.states.len() - most);
        trend.states_cut = true;
    }
    Joined { trend, gap }
}

pub(crate) fn point(entry: &Recent) -> Option<Point> {
    entry.value.number().map(|number| Point {
        time: entry.time,
        sequence: entry.sequence,
        quality: entry.quality,
        number,
    })
}

/// Texts of the log come in the order of time, nearly always.
fn add_state(trend: &mut Trend, entry: &Recent, text: &str) {
    if entry.time >= trend.grid.to() {
        return;
    }
    let at = trend
        .states
        .partition_point(|state| state.time <= entry.time);
    let before = at.checked_sub(1).and_then(|at| trend.states.get(at));
    if before.is_some_and(|state| state.text == text && state.quality == entry.quality) {
        return;
    }
    let state = State {
        time: entry.time,
        quality: entry.quality,
        text: text.to_owned(),
    };
    // Of what was before the stretch, only the last is of interest.
    if at > 0 && entry.time < trend.grid.from() {
        trend.states[at - 1] = state;
    } else {
        trend.states.insert(at, state);
    }
}

/// The points that a line must go through, so that no peak is lost: all when they are few.
pub(crate) fn thinned(points: Vec<Point>, most: u32) -> Vec<Point> {
    let time = |point: Option<&Point>| point.map_or(Nanos(0), |point| point.time);
    if points.len() <= most as usize {
        return points;
    }
    let (from, to) = (
        time(points.iter().min_by_key(|p| p.time)),
        time(points.iter().max_by_key(|p| p.time)),
    );
    let grid = historian::Grid::new(from..Nanos(to.0.saturating_add(1)), most / 4);
    let mut trend = Trend::empty(grid);
    for point in points {
        trend.add(point);
    }
    match trend.series {
        Series::Raw(points) => points,
        Series::Envelope(buckets) => buckets
            .into_iter()
            .flat_map(|bucket| {
                let mut corners: Vec<Point> = [
                    Some(bucket.first),
                    bucket.min,
                    bucket.max,
                    Some(bucket.last),
                ]
                .into_iter()
                .flatten()
                .collect();
                corners.sort_by_key(|point| (point.time, point.sequence));
                corners.dedup_by_key(|point| (point.time, point.sequence));
                corners
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
