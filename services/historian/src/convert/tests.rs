use proto::wave::SampleType;
use proto::{Incarnation, Lane, Quality, Scope};

use super::*;

fn delivery(records: &[Record]) -> rpc::Delivery {
    let batch = Batch::encode(records).unwrap();
    let mut envelope = rpc::Envelope::birth(&batch, Lane::Normal, &Scope::up(), false);
    envelope.first_sequence = 100;
    envelope.origin = Some(rpc::Origin::from(&origin()));
    let envelope = Some(envelope);
    rpc::Delivery {
        offset: 1000,
        leader_time: 5,
        chain: Bytes::new(),
        envelope,
    }
}

fn origin() -> Origin {
    Origin {
        hub: "acme.press".parse().unwrap(),
        incarnation: Incarnation(7),
        lane: Lane::Normal,
    }
}

fn message(topic: &str, payload: &str) -> Record {
    Record::message(topic, payload.to_owned(), Nanos(42))
}

fn number(value: f64) -> Body {
    let number = Number::of(&Value::F64(value)).unwrap();
    Body::Number {
        quality: Quality::GOOD,
        number,
    }
}

#[test]
fn sequence_sub_and_offset_count_on() {
    let older = r#"{"timestamp_ms": 1, "a": 1.5, "g": {"b": 2}}"#;
    let rows = rows(&delivery(&[
        message("umh/v1/acme/_raw/t", r#"{"timestamp_ms": 2, "value": 3}"#),
        message("umh/v1/acme/_historian/t", older),
        message("other", "x"),
    ]))
    .unwrap();
    let found: Vec<_> = rows
        .iter()
        .map(|new| {
            (
                new.row.sequence.0,
                new.row.sub,
                new.offset.0,
                new.row.time.0,
                &*new.row.key,
            )
        })
        .collect();
    let expected = [
        (100, 0, 1000, 2_000_000, ""),
        (101, 0, 1001, 1_000_000, "a"),
        (101, 1, 1001, 1_000_000, "g$b"),
        (102, 0, 1002, 42, ""),
    ];
    assert_eq!(found, expected);
    assert_eq!(rows[0].row.body, number(3.0));
    assert_eq!(rows[2].row.body, number(2.0));
    assert_eq!(*rows[0].origin, origin());
    assert_eq!(
        rows[3].row.body,
        Body::Message {
            payload: "x".into(),
            problem: None
        }
    );
}

#[test]
fn typed_values() {
    let quality = Quality(0x8000_0000);
    for (value, body) in [
        (
            Value::Bool(true),
            Body::Bool {
                quality,
                value: true,
            },
        ),
        (
            Value::Text("on".into()),
            Body::Text {
                quality,
                value: "on".into(),
            },
        ),
        (Value::Null, Body::Null { quality }),
    ] {
        let mut record = message("umh/v1/acme/_raw/t", "");
        (record.value, record.quality, record.source_time) = (value, quality, Some(Nanos(-1)));
        let rows = rows(&delivery(&[record])).unwrap();
        assert_eq!((&rows[0].row.body, rows[0].row.time), (&body, Nanos(-1)));
    }
}

#[test]
fn what_carries_no_data_gives_no_rows() {
    let mut withheld = delivery(&[message("a", "x")]);
    withheld.envelope = withheld.envelope.map(rpc::Envelope::withheld);
    assert_eq!(rows(&withheld).unwrap(), []);
    withheld.envelope = None;
    assert!(rows(&withheld).is_err());
}

#[test]
fn a_batch_that_does_not_decode_is_one_dead_letter() {
    type Edit = fn(&mut rpc::Envelope);
    let newer: Edit = |envelope| {
        let mut batch = envelope.batch.to_vec();
        batch[3] = 9;
        envelope.batch = batch.into();
    };
    let table: [(Edit, u32, &str); 3] = [
        (newer, 2, "batch version 9 is newer"),
        (
            |envelope| envelope.batch = "garbage".into(),
            2,
            "not a batch",
        ),
        (
            |envelope| envelope.count = 3,
            3,
            "the batch holds 2 records, its envelope 3",
        ),
    ];
    for (edit, count, reason) in table {
        let mut delivery = delivery(&[message("a", "x"), message("b", "y")]);
        let envelope = delivery.envelope.as_mut().unwrap();
        edit(envelope);
        let payload = envelope.batch.clone();
        let rows = rows(&delivery).unwrap();
        assert_eq!(
            (rows.len(), rows[0].row.sequence, rows[0].row.sub),
            (1, Sequence(100), 0)
        );
        match &rows[0].row.body {
            Body::Dead(dead) => {
                assert_eq!((dead.count, &dead.payload), (count, &payload));
                assert!(dead.reason.starts_with(reason), "{}", dead.reason);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn waves_and_waves_without_a_scale() {
    let mut block = WaveBlock {
        first_sample: u64::MAX,
        start: Nanos(9),
        rate: (20_000, 1),
        scale: 0.5,
        offset: 1.0,
        unit: "g".into(),
        sample_type: SampleType::I16,
        samples: Bytes::from_static(&[1, 0, 2, 0]),
    };
    for (scale, is_wave) in [(0.5, true), (f64::NAN, false), (-0.0, false)] {
        block.scale = scale;
        let payload = block.encode().unwrap();
        let record = Record::message("umh/v1/acme/_wave/s", payload.clone(), Nanos(42));
        let rows = rows(&delivery(&[record])).unwrap();
        assert_eq!(rows[0].row.time, Nanos(9));
        match &rows[0].row.body {
            Body::Wave { block: found, .. } => assert!(is_wave && *found == block),
            Body::Message {
                payload: found,
                problem,
            } => {
                assert!(!is_wave && *found == payload && problem.is_some());
            }
            other => panic!("{other:?}"),
        }
    }
}
