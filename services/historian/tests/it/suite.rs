//! What holds on every backend.

use bytes::Bytes;
use historian::{Body, Error, Kind, Number};
use proto::wave::{SampleType, WaveBlock};
use proto::{Nanos, Quality, Record, Sequence, Value};

use crate::backend::Database;
use crate::fixture::{STREAM, all, at, dead, now, numbers, origin, plain, rows, sequences, typed};

macro_rules! suite {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Database::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Database::postgres()).await;
            })*
        }
    };
}
pub(crate) use suite;

suite! {
    values_come_back_exactly
    a_tag_changes_its_kind
    two_values_at_one_time
    messages_waves_and_dead_batches
    nul_in_text
    a_refused_row_does_not_stop_its_neighbours
    a_second_writer_fences_the_first
    a_repeated_delivery_is_refused
    what_is_not_committed_is_not_there
    it_is_found_again_when_opened_again
    last_values
}

async fn values_come_back_exactly(database: Database) {
    let historian = database.open();
    let two_53 = 1_i64 << 53;
    let values = [
        Value::F64(0.1 + 0.2),
        Value::F64(5e-324),
        Value::F64(-0.0),
        Value::F64(f64::MAX),
        Value::F64(f64::NAN),
        Value::F64(f64::from_bits(0x7ff0_0000_0000_0001)),
        Value::F64(f64::INFINITY),
        Value::F64(f64::NEG_INFINITY),
        Value::I64(two_53 + 1),
        Value::I64(i64::MIN),
        Value::I64(i64::MAX),
        Value::U64(u64::MAX),
        Value::Bool(true),
        Value::Bool(false),
        Value::Text("größer ≥ 7\n".into()),
        Value::Text(String::new()),
        Value::Null,
    ];
    let times = [0, -1, i64::MIN, i64::MAX, now(), now() + 1, -1_000_001];
    let records: Vec<Record> = values
        .iter()
        .zip(times.iter().cycle())
        .enumerate()
        .map(|(index, (value, time))| {
            let mut record = typed(&format!("tag/{index}"), *time, value.clone());
            record.quality = Quality(if index % 2 == 0 { 0 } else { 0x8000_0000 });
            record
        })
        .collect();
    let written = rows(0, &records);
    let claim = historian.take_over(STREAM).await.unwrap();
    historian
        .write(&claim, written.clone(), at(17))
        .await
        .unwrap();

    let read = historian.rows(&origin(7), all()).await.unwrap();
    assert_eq!(read, plain(&written));
    for (row, value) in read.iter().zip(&values) {
        let Body::Number { number, .. } = &row.body else {
            continue;
        };
        match (number.read().unwrap(), value) {
            (Value::F64(read), Value::F64(value)) => assert_eq!(read.to_bits(), value.to_bits()),
            (Value::F64(read), Value::I64(value)) => assert_eq!(read as i64, *value),
            (read, value) => assert_eq!(read, *value),
        }
    }
    assert_eq!(historian.records(&origin(7)).await.unwrap(), 17);
    assert_eq!(historian.records(&origin(8)).await.unwrap(), 0);
    assert_eq!(historian.origins().await.unwrap(), [origin(7)]);
    let part = historian
        .rows(&origin(7), Sequence(3)..Sequence(5))
        .await
        .unwrap();
    assert_eq!(sequences(&part), [3, 4]);
}

async fn a_tag_changes_its_kind(database: Database) {
    let historian = database.open();
    let topic = "umh/v1/acme/_raw/t";
    let message = |value: &str| {
        Record::message(
            topic,
            format!(r#"{{"timestamp_ms": 1, "value": {value}}}"#),
            Nanos(9),
        )
    };
    let written = rows(0, &["1", "2.5", "true", r#""on""#, "3"].map(message));
    let claim = historian.take_over(STREAM).await.unwrap();
    historian
        .write(&claim, written.clone(), at(5))
        .await
        .unwrap();
    let tags = historian.tags().await.unwrap();
    let mut kinds: Vec<Kind> = tags.iter().map(|tag| tag.kind).collect();
    kinds.sort();
    assert_eq!(kinds, [Kind::Number, Kind::Bool, Kind::Text]);
    assert!(
        tags.iter()
            .all(|tag| tag.topic == topic && tag.key.is_empty())
    );
    assert_eq!(
        historian.rows(&origin(7), all()).await.unwrap(),
        plain(&written)
    );
}

async fn two_values_at_one_time(database: Database) {
    let historian = database.open();
    let written = rows(
        0,
        &[1.0, 2.0].map(|value| typed("t", now(), Value::F64(value))),
    );
    let claim = historian.take_over(STREAM).await.unwrap();
    historian
        .write(&claim, written.clone(), at(2))
        .await
        .unwrap();
    assert_eq!(
        historian.rows(&origin(7), all()).await.unwrap(),
        plain(&written)
    );
    assert_eq!(
        historian.last("t", "").await.unwrap(),
        Some(written[1].row.clone())
    );
}

async fn messages_waves_and_dead_batches(database: Database) {
    let historian = database.open();
    let samples: Vec<u8> = (0..=255).chain([0, 1, 2, 3]).collect();
    let block = WaveBlock {
        first_sample: u64::MAX - 7,
        start: Nanos(now() - 3),
        rate: (u32::MAX, 3),
        scale: 0.1,
        offset: -1.5e-300,
        unit: "m/s²".into(),
        sample_type: SampleType::F32,
        samples: samples.into(),
    };
    let payload = block.encode().unwrap();
    let mut written = rows(
        0,
        &[
            Record::message("umh/v1/acme/_wave/s", payload.clone(), Nanos(1)),
            Record::message("other", Bytes::from_static(&[0, 255, 0]), Nanos(2)),
            Record::message("umh/v1/acme/_raw/t", "21.5 °C", Nanos(3)),
            Record::message(
                "umh/v1/acme/_historian/t",
                r#"{"timestamp_ms": 4, "a": 1, "b": {"c": "x"}}"#,
                Nanos(4),
            ),
        ],
    );
    let mut newer = crate::fixture::delivery(4, &numbers(3));
    let envelope = newer.envelope.as_mut().unwrap();
    envelope.batch = "from the future".into();
    written.extend(historian::convert::rows(&newer).unwrap());
    let claim = historian.take_over(STREAM).await.unwrap();
    let done = historian
        .write(&claim, written.clone(), at(7))
        .await
        .unwrap();
    assert_eq!((done.rows, done.dead_letters), (6, 1));

    let read = historian.rows(&origin(7), all()).await.unwrap();
    assert_eq!(read, plain(&written));
    match &read[0].body {
        Body::Wave { block, .. } => assert_eq!(block.encode().unwrap(), payload),
        other => panic!("{other:?}"),
    }
    match &read[2].body {
        Body::Message {
            payload,
            problem: Some(problem),
        } => {
            assert_eq!(payload, "21.5 °C");
            assert!(problem.starts_with("not JSON"));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(dead(&read[5]).count, 3);
    assert_eq!(historian.records(&origin(7)).await.unwrap(), 7);
}

async fn nul_in_text(database: Database) {
    let historian = database.open();
    let topic = "umh/v1/acme/_historian/t";
    let payload = r#"{"timestamp_ms": 1, "a": 1, "b": "x\u0000y", "c\u0000": 2, "d": 3}"#;
    let written = rows(
        0,
        &[
            typed("text", 1, Value::Text("a\0b".into())),
            Record::message(topic, payload, Nanos(1)),
            typed("to\0pic", 1, Value::F64(7.0)),
            typed("text", 2, Value::Text("ab".into())),
        ],
    );
    let claim = historian.take_over(STREAM).await.unwrap();
    historian
        .write(&claim, written.clone(), at(4))
        .await
        .unwrap();
    let read = historian.rows(&origin(7), all()).await.unwrap();
    let expected = plain(&written);
    assert_eq!(historian.records(&origin(7)).await.unwrap(), 4);
    if !database.is_postgres() {
        assert_eq!(read, expected);
        return;
    }
    for (index, original) in [(0, "a\0b"), (2, payload), (3, payload), (5, "7")] {
        let letter = dead(&read[index]);
        assert_eq!(letter.payload, original, "{index}");
        assert_eq!(letter.sqlstate.as_deref(), Some("22021"));
        let identity = |row: &historian::Row| (row.sequence, row.sub, row.time);
        assert_eq!(identity(&read[index]), identity(&expected[index]));
    }
    for index in [1, 4, 6] {
        assert_eq!(read[index], expected[index]);
    }
}

async fn a_refused_row_does_not_stop_its_neighbours(database: Database) {
    let historian = database.open();
    let claim = historian.take_over(STREAM).await.unwrap();
    let claim = historian
        .write(&claim, Vec::new(), at(0))
        .await
        .unwrap()
        .claim;
    database.execute(if database.is_postgres() {
        "ALTER TABLE {s}value ADD CONSTRAINT cold CHECK (value <> 13 AND value <> 77)"
    } else {
        "CREATE TRIGGER cold BEFORE INSERT ON value WHEN new.value IN (13, 77)
         BEGIN SELECT RAISE(ABORT, 'value violates cold'); END"
    });
    let written = rows(0, &numbers(100));
    let done = historian
        .write(&claim, written.clone(), at(100))
        .await
        .unwrap();
    assert_eq!((done.rows, done.dead_letters), (100, 2));
    let read = historian.rows(&origin(7), all()).await.unwrap();
    for (row, expected) in read.iter().zip(plain(&written)) {
        match row.sequence.0 {
            13 | 77 => {
                let letter = dead(row);
                assert!(letter.reason.contains("cold"), "{}", letter.reason);
                assert!(letter.sqlstate.is_some());
                assert_eq!(letter.offset.0, row.sequence.0);
            }
            _ => assert_eq!(*row, expected),
        }
    }
    // What was rolled back on the way is not remembered.
    let more = rows(100, &numbers(3));
    historian.write(&done.claim, more, at(103)).await.unwrap();
    assert_eq!(historian.records(&origin(7)).await.unwrap(), 103);
}

async fn a_second_writer_fences_the_first(database: Database) {
    let (first, second) = (database.open(), database.open());
    let old = first.take_over(STREAM).await.unwrap();
    let old = first
        .write(&old, rows(0, &numbers(2)), at(2))
        .await
        .unwrap()
        .claim;
    let new = second.take_over(STREAM).await.unwrap();
    assert_eq!((new.epoch, new.next_offset), (old.epoch + 1, at(2)));

    let more = rows(2, &[typed("only the first", 1, Value::F64(1.0))]);
    let refused = first.write(&old, more, at(3)).await;
    assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    let refused = first.refresh(&old).await;
    assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    assert_eq!(second.refresh(&new).await.unwrap(), new);
    second
        .write(&new, rows(2, &numbers(1)), at(3))
        .await
        .unwrap();
    let read = second.rows(&origin(7), all()).await.unwrap();
    assert_eq!(sequences(&read), [0, 1, 2]);
    assert!(
        second
            .tags()
            .await
            .unwrap()
            .iter()
            .all(|tag| tag.topic != "only the first")
    );
}

async fn a_repeated_delivery_is_refused(database: Database) {
    let historian = database.open();
    let start = historian.take_over(STREAM).await.unwrap();
    let written = rows(0, &numbers(5));
    let next = historian
        .write(&start, written.clone(), at(5))
        .await
        .unwrap()
        .claim;
    // As after a commit whose answer was lost.
    let refused = historian.write(&start, written, at(5)).await;
    assert!(matches!(refused, Err(Error::Moved { .. })), "{refused:?}");
    assert_eq!(historian.refresh(&start).await.unwrap(), next);
    assert_eq!(
        sequences(&historian.rows(&origin(7), all()).await.unwrap()),
        [0, 1, 2, 3, 4]
    );
}

async fn what_is_not_committed_is_not_there(database: Database) {
    let historian = database.open();
    let claim = historian.take_over(STREAM).await.unwrap();
    let claim = historian
        .write(&claim, rows(0, &numbers(1)), at(1))
        .await
        .unwrap()
        .claim;
    database.execute("ALTER TABLE {s}writer_offset RENAME TO away");
    let refused = historian.write(&claim, rows(1, &numbers(4)), at(5)).await;
    assert!(
        matches!(refused, Err(Error::Configuration { .. })),
        "{refused:?}"
    );
    assert_eq!(historian.records(&origin(7)).await.unwrap(), 1);
    database.execute("ALTER TABLE {s}away RENAME TO writer_offset");
    let claim = historian.refresh(&claim).await.unwrap();
    assert_eq!(claim.next_offset, at(1));
    historian
        .write(&claim, rows(1, &numbers(4)), at(5))
        .await
        .unwrap();
    assert_eq!(historian.records(&origin(7)).await.unwrap(), 5);
}

async fn it_is_found_again_when_opened_again(database: Database) {
    let written = rows(0, &numbers(9));
    {
        let historian = database.open();
        let claim = historian.take_over(STREAM).await.unwrap();
        historian
            .write(&claim, written.clone(), at(9))
            .await
            .unwrap();
    }
    let historian = database.open();
    assert_eq!(
        historian.take_over(STREAM).await.unwrap().next_offset,
        at(9)
    );
    assert_eq!(
        historian.take_over("another").await.unwrap().next_offset,
        at(0)
    );
    assert_eq!(
        historian.rows(&origin(7), all()).await.unwrap(),
        plain(&written)
    );
    assert_eq!(historian.tags().await.unwrap().len(), 3);
    database.execute("UPDATE {s}schema_version SET version = 99");
    let newer = match &database {
        Database::Sqlite(dir) => historian::Sqlite::open(dir.path().join("h.sqlite"))
            .map(|_| ())
            .unwrap_err(),
        Database::Postgres(_) => database.open().take_over(STREAM).await.unwrap_err(),
    };
    assert!(
        newer.to_string().contains("newer than this program"),
        "{newer}"
    );
}

async fn last_values(database: Database) {
    let historian = database.open();
    let number = |value: f64, time| typed("t", time, Value::F64(value));
    let written = rows(
        0,
        &[
            number(1.0, now() + 1),
            number(2.0, now() + 2),
            number(3.0, now()),
            typed("t", now() - 1, Value::Text("old".into())),
            typed("x", now(), Value::Text("x".into())),
        ],
    );
    let claim = historian.take_over(STREAM).await.unwrap();
    historian.write(&claim, written, at(5)).await.unwrap();
    let last = historian.last("t", "").await.unwrap().unwrap();
    let number = Number::of(&Value::F64(2.0)).unwrap();
    assert_eq!(
        last.body,
        Body::Number {
            quality: Quality::GOOD,
            number
        }
    );
    assert_eq!(historian.last("t", "no such key").await.unwrap(), None);
}
