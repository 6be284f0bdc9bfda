use proptest::prelude::*;

use super::*;

fn point(time: i64, sequence: u64, value: Option<f64>) -> Point {
    Point {
        time: Nanos(time),
        sequence: Sequence(sequence),
        quality: Quality(if sequence.is_multiple_of(5) {
            0x8000_0000
        } else {
            0
        }),
        number: Number {
            value,
            exact: None,
            original: None,
        },
    }
}

#[test]
fn grids() {
    for (from, to, points, expected) in [
        (0, 10_000, 5, (0, 10_000, 2000)),
        (999, 10_001, 5, (0, 11_000, 3000)),
        (-1, 1, 1, (-1000, 1000, 2000)),
        (5000, 5000, 10, (5000, 6000, 1000)),
        (5000, 4000, 10, (5000, 6000, 1000)),
        (0, 7000, 0, (0, 7000, 7000)),
    ] {
        let grid = Grid::new(Nanos(from)..Nanos(to), points);
        let found = (grid.from().0, grid.to().0, grid.width());
        assert_eq!(found, expected, "{from}..{to} in {points}");
    }
    let all = Grid::new(Nanos(i64::MIN)..Nanos(i64::MAX), u32::MAX);
    assert_eq!(all.points(), MAX_POINTS as usize);
    assert!(all.contains(Nanos(0)));
    assert!(all.bucket(Nanos(i64::MAX - 1)) > all.bucket(Nanos(0)));
}

#[test]
fn values_without_a_number_count_but_are_no_extreme() {
    let grid = Grid::new(Nanos(0)..Nanos(10_000), 1);
    let mut trend = Trend::empty(grid);
    for (sequence, value) in [(1, None), (2, Some(3.0)), (3, None)] {
        trend.add(point(sequence * 1000, sequence as u64, value));
    }
    let Series::Envelope(buckets) = &trend.series else {
        panic!("{trend:?}");
    };
    let bucket = &buckets[0];
    assert_eq!((buckets.len(), bucket.count), (1, 3));
    assert_eq!(bucket.first.number.value, None);
    assert_eq!(bucket.min.as_ref().unwrap().number.value, Some(3.0));
    assert_eq!(bucket.min, bucket.max);
}

fn points() -> impl Strategy<Value = Vec<Point>> {
    let values = prop_oneof![Just(None), (-50..50_i32).prop_map(|n| Some(f64::from(n)))];
    prop::collection::vec((-5000..60_000_i64, values), 0..120).prop_map(|drawn| {
        let numbered = (0..).zip(drawn);
        numbered
            .map(|(n, (time, value))| point(time, n, value))
            .collect()
    })
}

/// What stands in the cell of each bucket, from all points at once.
fn check(trend: &Trend, all: &[Point]) {
    let grid = trend.grid;
    let mut inside: Vec<&Point> = all.iter().filter(|p| grid.contains(p.time)).collect();
    inside.sort_by_key(|p| (p.time, p.sequence));
    assert_eq!(trend.count(), inside.len() as u64);
    let key = |p: &Point| (p.time, p.sequence);
    let before = all
        .iter()
        .filter(|p| p.time < grid.from())
        .max_by_key(|p| key(p));
    let after = all
        .iter()
        .filter(|p| p.time >= grid.to())
        .min_by_key(|p| key(p));
    assert_eq!(
        (trend.before.as_ref(), trend.after.as_ref()),
        (before, after)
    );
    match &trend.series {
        Series::Raw(points) => {
            assert!(points.len() <= grid.points());
            assert!(points.iter().eq(inside));
        }
        Series::Envelope(buckets) => {
            assert!(inside.len() > grid.points() && buckets.len() <= grid.points());
            for bucket in buckets {
                let cell: Vec<_> = (inside.iter())
                    .filter(|p| grid.bucket(p.time) == bucket.start)
                    .collect();
                assert_eq!(bucket.count, cell.len() as u64);
                assert_eq!(
                    (&bucket.first, &bucket.last),
                    (*cell[0], *cell[cell.len() - 1])
                );
                let values = || cell.iter().filter_map(|p| p.number.value);
                let extreme = |p: &Option<Point>| p.as_ref().and_then(|p| p.number.value);
                assert_eq!(extreme(&bucket.min), values().min_by(f64::total_cmp));
                assert_eq!(extreme(&bucket.max), values().max_by(f64::total_cmp));
                let worst = cell.iter().map(|p| p.quality.0).max();
                assert_eq!(Some(bucket.quality.0), worst);
            }
        }
    }
}

proptest! {
    #[test]
    fn a_trend_of_points_in_any_order(all in points(), buckets in 1..90_u32) {
        let mut trend = Trend::empty(Grid::new(Nanos(0)..Nanos(50_000), buckets));
        for point in &all {
            trend.add(point.clone());
        }
        check(&trend, &all);
    }

    #[test]
    fn two_halves_make_the_whole(all in points(), cut in 0..120_usize, buckets in 1..90_u32) {
        let grid = Grid::new(Nanos(0)..Nanos(50_000), buckets);
        let (left, right) = all.split_at(cut.min(all.len()));
        let half = |points: &[Point]| {
            let mut trend = Trend::empty(grid);
            points.iter().for_each(|point| trend.add(point.clone()));
            trend
        };
        let mut whole = half(left);
        whole.merge(half(right));
        check(&whole, &all);
    }
}
