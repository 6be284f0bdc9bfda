//! A tag over a stretch of time, thinned out to what a chart can show. Pure.
//!
//! ```text
//! at most `points` values   each of them
//! more                      per bucket of the grid: first, smallest, largest and last value with
//!                           their times, how many there are, and the worst quality
//! ```
//! So the result is bounded whatever the database holds, and no peak is lost. Two halves of a trend
//! that were made on the same grid can be put together, in any order: [`Trend::add`].

use std::cmp::Ordering;
use std::ops::Range;

use proto::{Nanos, Offset, Quality, Sequence};

use crate::Number;

/// A trend has no more points or buckets than this, whatever is asked for.
pub const MAX_POINTS: u32 = 10_000;
/// PostgreSQL keeps microseconds apart from the rest, so stretches and buckets are made of them.
const MICRO: i64 = 1000;

/// What a chart asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrendQuery {
    /// Whose cursor is to be told in [`Trend::written`].
    pub stream: Option<String>,
    pub topic: String,
    pub key: String,
    pub grid: Grid,
}

/// A stretch of time cut into buckets of one width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    from: Nanos,
    to: Nanos,
    width: i64,
    points: u32,
}

impl Grid {
    /// The range is widened to whole microseconds and holds at least one.
    pub fn new(range: Range<Nanos>, points: u32) -> Grid {
        let points = points.clamp(1, MAX_POINTS);
        let from = range.start.0.div_euclid(MICRO).max(i64::MIN / MICRO) * MICRO;
        let micros = (i128::from(range.end.0) - i128::from(from)).max(1);
        let micros = (micros + i128::from(MICRO) - 1) / i128::from(MICRO);
        let width = (micros + i128::from(points) - 1) / i128::from(points);
        let nanos = |micros: i128| i64::try_from(micros * i128::from(MICRO)).unwrap_or(i64::MAX);
        Grid {
            from: Nanos(from),
            to: Nanos(from.saturating_add(nanos(micros))),
            width: nanos(width),
            points,
        }
    }

    pub fn from(&self) -> Nanos {
        self.from
    }

    /// Not part of the stretch itself.
    pub fn to(&self) -> Nanos {
        self.to
    }

    /// Of a bucket, in nanoseconds.
    pub fn width(&self) -> i64 {
        self.width
    }

    pub fn points(&self) -> usize {
        self.points as usize
    }

    pub fn contains(&self, time: Nanos) -> bool {
        (self.from..self.to).contains(&time)
    }

    /// Where the bucket begins that a time of the stretch falls into.
    pub fn bucket(&self, time: Nanos) -> Nanos {
        let since = i128::from(time.0) - i128::from(self.from.0);
        let start = since.div_euclid(i128::from(self.width)) * i128::from(self.width);
        let start = i128::from(self.from.0) + start;
        Nanos(i64::try_from(start).unwrap_or(self.from.0))
    }
}

/// One value in time.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub time: Nanos,
    pub sequence: Sequence,
    pub quality: Quality,
    /// All `None` where the source had no value. A bool is 0 or 1.
    pub number: Number,
}

impl Point {
    fn order(&self, other: &Point) -> Ordering {
        (self.time, self.sequence).cmp(&(other.time, other.sequence))
    }
}

/// What lies in one cell of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Bucket {
    pub start: Nanos,
    pub count: u64,
    /// The worst of all; the higher the number of an OPC UA status code, the worse.
    pub quality: Quality,
    pub first: Point,
    /// The earliest of the smallest; `None` when there is no finite number in it.
    pub min: Option<Point>,
    /// The earliest of the largest.
    pub max: Option<Point>,
    pub last: Point,
}

impl Bucket {
    pub fn of(start: Nanos, point: Point) -> Bucket {
        let extreme = point.number.value.is_some().then(|| point.clone());
        Bucket {
            start,
            count: 1,
            quality: point.quality,
            min: extreme.clone(),
            max: extreme,
            first: point.clone(),
            last: point,
        }
    }

    /// Puts another one of the same cell into this one.
    pub fn add(&mut self, other: Bucket) {
        self.count += other.count;
        self.quality = Quality(self.quality.0.max(other.quality.0));
        if other.first.order(&self.first).is_lt() {
            self.first = other.first;
        }
        if other.last.order(&self.last).is_ge() {
            self.last = other.last;
        }
        self.min = extreme(self.min.take(), other.min, Ordering::Less);
        self.max = extreme(self.max.take(), other.max, Ordering::Greater);
    }

    fn add_point(&mut self, point: &Point) {
        self.count += 1;
        self.quality = Quality(self.quality.0.max(point.quality.0));
        if point.order(&self.first).is_lt() {
            self.first = point.clone();
        }
        if point.order(&self.last).is_ge() {
            self.last = point.clone();
        }
        if wins(point, self.min.as_ref(), Ordering::Less) {
            self.min = Some(point.clone());
        }
        if wins(point, self.max.as_ref(), Ordering::Greater) {
            self.max = Some(point.clone());
        }
    }
}

fn extreme(ours: Option<Point>, theirs: Option<Point>, better: Ordering) -> Option<Point> {
    match theirs {
        Some(point) if wins(&point, ours.as_ref(), better) => Some(point),
        _ => ours,
    }
}

fn wins(point: &Point, holder: Option<&Point>, better: Ordering) -> bool {
    let Some(value) = point.number.value else {
        return false;
    };
    let Some(holder) = holder else {
        return true;
    };
    match holder.number.value.map(|held| value.total_cmp(&held)) {
        Some(Ordering::Equal) => point.order(holder).is_lt(),
        found => found == Some(better),
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Series {
    /// By time and sequence.
    Raw(Vec<Point>),
    /// By time; cells without a value are not there.
    Envelope(Vec<Bucket>),
}

/// A text from a moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub time: Nanos,
    pub quality: Quality,
    /// Cut at [`crate::MAX_TEXT`] characters.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Trend {
    pub grid: Grid,
    pub series: Series,
    /// The last value before the stretch and the first one after it, so that lines reach its edges.
    pub before: Option<Point>,
    pub after: Option<Point>,
    /// Where a text changed, the state at the beginning of the stretch included.
    pub states: Vec<State>,
    /// The oldest of the states are missing, because there are too many.
    pub states_cut: bool,
    /// All records of the stream below this offset are in the answer, none above it; `None` when
    /// the historian does not know the stream.
    pub written: Option<Offset>,
}

impl Trend {
    pub fn empty(grid: Grid) -> Trend {
        Trend {
            grid,
            series: Series::Raw(Vec::new()),
            before: None,
            after: None,
            states: Vec::new(),
            states_cut: false,
            written: None,
        }
    }

    /// Puts one more value in, wherever it belongs. Points may come in any order.
    pub fn add(&mut self, point: Point) {
        if point.time < self.grid.from() {
            if (self.before.as_ref()).is_none_or(|held| point.order(held).is_ge()) {
                self.before = Some(point);
            }
        } else if point.time >= self.grid.to() {
            if (self.after.as_ref()).is_none_or(|held| point.order(held).is_lt()) {
                self.after = Some(point);
            }
        } else {
            self.add_inside(point);
        }
    }

    fn add_inside(&mut self, point: Point) {
        match &mut self.series {
            Series::Raw(points) => {
                let at = points.partition_point(|held| held.order(&point).is_le());
                points.insert(at, point);
                if points.len() > self.grid.points() {
                    self.thin_out();
                }
            }
            Series::Envelope(buckets) => add_to(buckets, self.grid, &point),
        }
    }

    fn thin_out(&mut self) {
        if let Series::Raw(points) = &self.series {
            let mut buckets = Vec::new();
            for point in points {
                add_to(&mut buckets, self.grid, point);
            }
            self.series = Series::Envelope(buckets);
        }
    }

    /// Puts another answer on the same grid in, of another tag id or another place.
    pub(crate) fn merge(&mut self, other: Trend) {
        for point in [other.before, other.after].into_iter().flatten() {
            self.add(point);
        }
        match other.series {
            Series::Raw(points) => {
                for point in points {
                    self.add_inside(point);
                }
            }
            Series::Envelope(buckets) => {
                self.thin_out();
                for bucket in buckets {
                    self.add_bucket(bucket);
                }
            }
        }
    }

    fn add_bucket(&mut self, bucket: Bucket) {
        if let Series::Envelope(buckets) = &mut self.series {
            match buckets.binary_search_by_key(&bucket.start, |held| held.start) {
                Ok(at) => buckets[at].add(bucket),
                Err(at) => buckets.insert(at, bucket),
            }
        }
    }

    /// How many values the stretch holds.
    pub fn count(&self) -> u64 {
        match &self.series {
            Series::Raw(points) => points.len() as u64,
            Series::Envelope(buckets) => buckets.iter().map(|bucket| bucket.count).sum(),
        }
    }
}

/// Points mostly come in the order of time, so the last bucket is looked at first.
pub(crate) fn add_to(buckets: &mut Vec<Bucket>, grid: Grid, point: &Point) {
    let start = grid.bucket(point.time);
    if let Some(last) = buckets.last_mut().filter(|last| last.start == start) {
        return last.add_point(point);
    }
    match buckets.binary_search_by_key(&start, |held| held.start) {
        Ok(at) => buckets[at].add_point(point),
        Err(at) => buckets.insert(at, Bucket::of(start, point.clone())),
    }
}

#[cfg(test)]
mod tests;
