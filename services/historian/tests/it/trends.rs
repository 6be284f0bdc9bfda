//! What a chart asks for, on every backend.

use historian::{Grid, Point, Series, Trend, TrendQuery, ValuesQuery};
use proto::{Nanos, Quality, Record, Value};

use crate::backend::Database;
use crate::fixture::{STREAM, at, now, rows, typed};
use crate::suite::suite;

suite! {
    few_values_come_raw
    many_values_come_as_an_envelope
    an_envelope_over_months_and_kinds
    exact_numbers_and_none
    changes_of_a_text
    values_in_pages
    a_reader_does_not_hold_the_writer_up
}

const SECOND: i64 = 1_000_000_000;

async fn stored(
    database: &Database,
    records: &[Record],
) -> std::sync::Arc<dyn historian::Historian> {
    let historian = database.open();
    let claim = historian.take_over(STREAM).await.unwrap();
    let next = at(records.len() as u64);
    historian
        .write(&claim, rows(0, records), next)
        .await
        .unwrap();
    historian
}

fn query(from: i64, to: i64, points: u32) -> TrendQuery {
    TrendQuery {
        stream: Some(STREAM.into()),
        topic: "t".into(),
        key: String::new(),
        grid: Grid::new(Nanos(from)..Nanos(to), points),
    }
}

fn number(time: i64, value: f64) -> Record {
    typed("t", time, Value::F64(value))
}

fn raw(trend: &Trend) -> Vec<(i64, Option<f64>)> {
    match &trend.series {
        Series::Raw(points) => points.iter().map(plain).collect(),
        Series::Envelope(buckets) => panic!("{buckets:?}"),
    }
}

fn plain(point: &Point) -> (i64, Option<f64>) {
    (point.time.0, point.number.value)
}

async fn few_values_come_raw(database: Database) {
    let records: Vec<Record> = (0..10)
        .map(|n| number(now() + n * SECOND, n as f64))
        .collect();
    let historian = stored(&database, &records).await;
    let asked = query(now() + 2 * SECOND, now() + 5 * SECOND, 3);
    let trend = historian.trend(&asked).await.unwrap();
    let expected = |n: i64| (now() + n * SECOND, Some(n as f64));
    assert_eq!(raw(&trend), [expected(2), expected(3), expected(4)]);
    assert_eq!(trend.before.as_ref().map(plain), Some(expected(1)));
    assert_eq!(trend.after.as_ref().map(plain), Some(expected(5)));
    assert_eq!(trend.written, Some(at(10)));
    assert_eq!(historian.cursor(STREAM).await.unwrap(), Some(at(10)));
    assert_eq!(historian.cursor("another").await.unwrap(), None);

    let mut unknown = query(0, now(), 3);
    (unknown.topic, unknown.stream) = ("none".into(), Some("another".into()));
    let nothing = historian.trend(&unknown).await.unwrap();
    assert_eq!(nothing, Trend::empty(unknown.grid));
}

/// The oracle is what the same grid makes of all points, put in one by one.
fn of_points(query: &TrendQuery, records: &[Record]) -> Trend {
    let mut trend = Trend::empty(query.grid);
    trend.written = Some(at(records.len() as u64));
    for row in rows(0, records) {
        let (quality, value) = match &row.row.body {
            historian::Body::Number { quality, number } => (*quality, number.clone()),
            historian::Body::Bool { quality, value } => {
                let number = historian::Number::of(&Value::U64(u64::from(*value)));
                (*quality, number.unwrap())
            }
            other => panic!("{other:?}"),
        };
        trend.add(Point {
            time: row.row.time,
            sequence: row.row.sequence,
            quality,
            number: value,
        });
    }
    trend
}

async fn many_values_come_as_an_envelope(database: Database) {
    // Not in the order of time, several at one time, nanoseconds that a microsecond has not.
    let record = |n: i64| {
        let mut record = number(
            now() + (n * 7919 % 5000) * 1_000_777,
            f64::from((n * n % 997) as i32),
        );
        record.quality = Quality(if n % 321 == 0 { 0x8000_0000 } else { 0 });
        record
    };
    let records: Vec<Record> = (0..6000).map(record).collect();
    let historian = stored(&database, &records).await;
    for (from, to, points) in [
        (now(), now() + 6 * SECOND, 100),
        (now() + SECOND + 1, now() + 2 * SECOND, 7),
        (now() + SECOND, now() + 4 * SECOND, 1),
        (now() + SECOND, now() + 2 * SECOND, 10_000),
    ] {
        let query = query(from, to, points);
        let trend = historian.trend(&query).await.unwrap();
        match &trend.series {
            Series::Envelope(buckets) => assert!(buckets.len() <= points as usize),
            Series::Raw(_) => assert_eq!(points, 10_000),
        }
        assert_eq!(trend, of_points(&query, &records), "{from} {to} {points}");
    }
}

async fn an_envelope_over_months_and_kinds(database: Database) {
    const DAY: i64 = 86_400 * SECOND;
    let record = |n: i64| {
        let value = match n % 10 {
            3 => Value::Bool(true),
            _ => Value::F64((n % 100) as f64),
        };
        typed("t", now() + n * DAY / 10, value)
    };
    let records: Vec<Record> = (0..1200).map(record).collect();
    let historian = stored(&database, &records).await;
    let query = query(now() + DAY, now() + 100 * DAY, 50);
    let trend = historian.trend(&query).await.unwrap();
    assert_eq!(trend, of_points(&query, &records));
    assert_eq!(trend.count(), 990);
}

async fn exact_numbers_and_none(database: Database) {
    let exact = (1_i64 << 53) + 1;
    let values = [
        Value::I64(exact),
        Value::U64(u64::MAX),
        Value::F64(f64::NAN),
        Value::Null,
        Value::I64(-exact),
    ];
    let records: Vec<Record> = (0..)
        .zip(values)
        .map(|(n, value)| typed("t", now() + n * SECOND, value))
        .collect();
    let historian = stored(&database, &records).await;
    let trend = historian
        .trend(&query(now(), now() + 9 * SECOND, 9))
        .await
        .unwrap();
    let Series::Raw(points) = trend.series else {
        panic!("{trend:?}");
    };
    let texts: Vec<String> = points
        .iter()
        .map(|point| point.number.to_string())
        .collect();
    let max = u64::MAX.to_string();
    assert_eq!(
        texts,
        [
            &*exact.to_string(),
            &max,
            "NaN",
            "null",
            &(-exact).to_string()
        ]
    );

    let trend = historian
        .trend(&query(now(), now() + 9 * SECOND, 1))
        .await
        .unwrap();
    let Series::Envelope(buckets) = trend.series else {
        panic!("{trend:?}");
    };
    let bucket = &buckets[0];
    let text = |point: &Option<Point>| point.as_ref().unwrap().number.to_string();
    assert_eq!(
        (bucket.count, text(&bucket.min), text(&bucket.max)),
        (5, (-exact).to_string(), max)
    );
}

async fn changes_of_a_text(database: Database) {
    let texts = ["off", "off", "run", "run", "run", "fault", "off"];
    let records: Vec<Record> = (0..)
        .zip(texts)
        .map(|(n, text)| typed("t", now() + n * SECOND, Value::Text(text.into())))
        .collect();
    let historian = stored(&database, &records).await;
    let states = async |from: i64, points: u32| {
        let query = query(now() + from * SECOND, now() + 7 * SECOND, points);
        let trend = historian.trend(&query).await.unwrap();
        let states = trend.states.into_iter();
        let states: Vec<_> = states
            .map(|s| ((s.time.0 - now()) / SECOND, s.text))
            .collect();
        (states, trend.states_cut)
    };
    let state = |n: i64, text: &str| (n, text.to_owned());
    let all = vec![
        state(0, "off"),
        state(2, "run"),
        state(5, "fault"),
        state(6, "off"),
    ];
    assert_eq!(states(0, 10).await, (all.clone(), false));
    // What holds at the beginning is told with the time at which it last was said.
    assert_eq!(
        states(4, 10).await.0,
        [state(3, "run"), state(5, "fault"), state(6, "off")]
    );
    assert_eq!(states(0, 2).await, (all[2..].to_vec(), true));
}

async fn values_in_pages(database: Database) {
    let record = |n: i64| match n % 4 {
        0 => typed("t", now() + n / 3 * 1500, Value::Text(format!("text {n}"))),
        1 => typed("t", now() + n / 3 * 1500, Value::Bool(n % 8 == 1)),
        _ => typed("t", now() + n / 3 * 1500, Value::I64(i64::MAX - n)),
    };
    let records: Vec<Record> = (0..100).map(record).collect();
    let historian = stored(&database, &records).await;
    let mut query = ValuesQuery {
        topic: "t".into(),
        key: String::new(),
        range: Nanos(now() + 1500)..Nanos(now() + 30 * 1500),
        after: None,
        limit: 7,
    };
    let mut found = Vec::new();
    loop {
        let page = historian.values(&query).await.unwrap();
        assert!(page.rows.len() <= 7);
        found.extend(page.rows);
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    let expected = rows(3, &records[3..90]);
    assert_eq!(found, crate::fixture::plain(&expected));
}

async fn a_reader_does_not_hold_the_writer_up(database: Database) {
    let records: Vec<Record> = (0..2000).map(|n| number(now() + n * SECOND, 1.0)).collect();
    let historian = stored(&database, &records).await;
    let claim = historian.take_over(STREAM).await.unwrap();
    let query = query(now(), now() + 2000 * SECOND, 10);
    // Each of them is of one moment: what it says is written is in it, no more and no less.
    let read = async {
        let mut cursors = std::collections::BTreeSet::new();
        while cursors.last() != Some(&at(2100)) {
            let trend = historian.trend(&query).await.unwrap();
            let written = trend.written.unwrap();
            assert_eq!(trend.count(), written.0);
            cursors.insert(written);
        }
    };
    let write = async {
        let mut claim = claim;
        for first in 2000..2100_u64 {
            let one = rows(first, &[number(now() + 5, 2.0)]);
            claim = historian
                .write(&claim, one, at(first + 1))
                .await
                .unwrap()
                .claim;
        }
    };
    tokio::join!(read, write);
}
