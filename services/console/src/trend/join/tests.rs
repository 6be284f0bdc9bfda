use historian::{Brief, Grid, Number};
use proptest::prelude::*;
use proto::{Quality, Sequence};

use crate::tags::ring_of;

use super::*;

fn entries(values: &[(u64, i64, RecentValue)]) -> Vec<Recent> {
    let place = |offset: u64, time: i64| (Offset(offset), Nanos(time), Sequence(offset));
    let values = values
        .iter()
        .map(|(offset, time, value)| (place(*offset, *time), value.clone()));
    ring_of(values)
}

fn grid(points: u32) -> Grid {
    Grid::new(Nanos(0)..Nanos(1_000_000), points)
}

fn written(offset: u64, points: u32) -> Trend {
    let mut trend = Trend::empty(grid(points));
    trend.written = Some(Offset(offset));
    trend
}

fn text(text: &str) -> RecentValue {
    RecentValue::of(&Brief::Text(text.into()))
}

#[test]
fn texts_are_told_where_they_change() {
    let mut trend = written(3, 10);
    let state = |time: i64, text: &str| State {
        time: Nanos(time),
        quality: Quality::GOOD,
        text: text.into(),
    };
    trend.states = vec![state(-5, "off"), state(1000, "run")];
    let recent = entries(&[
        (2, 900, text("of the database")),
        (3, 2000, text("run")),
        (4, 3000, text("fault")),
        (5, 4000, text("fault")),
        (6, 2_000_000, text("after the stretch")),
    ]);
    let joined = join(trend.clone(), Offset(0), &recent).trend;
    assert_eq!(
        joined.states,
        [state(-5, "off"), state(1000, "run"), state(3000, "fault")]
    );

    trend.grid = grid(1);
    let joined = join(trend.clone(), Offset(0), &recent).trend;
    assert!(joined.states_cut && joined.states == [state(3000, "fault")]);

    // What was before the stretch counts only as what holds at its beginning.
    trend.states = vec![state(-5, "off")];
    let joined = join(trend, Offset(0), &entries(&[(7, -3, text("on"))])).trend;
    assert_eq!(joined.states, [state(-3, "on")]);
}

#[test]
fn a_gap_is_told() {
    for (stored, memory, gap) in [(5, 5, false), (5, 4, false), (5, 6, true)] {
        assert_eq!(join(written(stored, 9), Offset(memory), &[]).gap, gap);
    }
    // Without a historian there is nothing to be missed.
    assert!(!join(Trend::empty(grid(9)), Offset(6), &[]).gap);
}

proptest! {
    /// Wherever the database's cursor stands, the trend is the same as if it had all of it.
    #[test]
    fn no_value_is_missing_and_none_is_there_twice(
        times in prop::collection::vec(-100_000..1_100_000_i64, 1..200),
        cursor in 0..200_usize,
        overlap in 0..50_usize,
        points in 1..300_u32,
    ) {
        let cursor = cursor.min(times.len());
        let all: Vec<(u64, i64, RecentValue)> = (0..)
            .zip(&times)
            .map(|(offset, time)| (offset, *time, RecentValue::Float((time % 97) as f64)))
            .collect();
        let mut stored = written(cursor as u64, points);
        for entry in entries(&all[..cursor]) {
            stored.add(point(&entry).unwrap());
        }
        // Memory begins somewhere before the cursor.
        let from = cursor.saturating_sub(overlap);
        let joined = join(stored, Offset(from as u64), &entries(&all[from..]));
        let mut whole = written(cursor as u64, points);
        for entry in entries(&all) {
            whole.add(point(&entry).unwrap());
        }
        prop_assert!(!joined.gap);
        prop_assert_eq!(joined.trend, whole);
    }

    #[test]
    fn thinning_keeps_every_peak(values in prop::collection::vec(-1000..1000_i32, 1..500)) {
        let make = |(n, value): (u64, &i32)| Point {
            time: Nanos(n.cast_signed() * 1000),
            sequence: Sequence(n),
            quality: Quality::GOOD,
            number: Number { value: Some(f64::from(*value)), exact: None, original: None },
        };
        let all: Vec<Point> = (0..).zip(&values).map(make).collect();
        let thin = thinned(all.clone(), 40);
        prop_assert!(thin.len() <= 40);
        let extremes = |points: &[Point]| {
            let values = || points.iter().filter_map(|point| point.number.value);
            (values().min_by(f64::total_cmp), values().max_by(f64::total_cmp))
        };
        prop_assert_eq!(extremes(&thin), extremes(&all));
        prop_assert_eq!((thin.first(), thin.last()), (all.first(), all.last()));
        prop_assert!(thin.windows(2).all(|pair| pair[0].time < pair[1].time));
    }
}
