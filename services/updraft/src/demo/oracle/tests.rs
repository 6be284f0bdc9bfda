//! Tables: what is published and found, and what is counted.

use proto::wave::SampleType;

use super::*;
use crate::demo::ledger::Account;

const A: usize = 0;
const B: usize = 1;

/// Topics `a` and `b` at `acme.line`, numbers 1 to 4 on each at these times; 4 is not acknowledged.
fn ledger() -> Ledger {
    let account = Account::new(
        "m",
        "acme.line".parse().unwrap(),
        vec!["a".into(), "b".into()],
    );
    let mut number = 0;
    for time in 1..=4 {
        for topic in [A, B] {
            let payload = payload(topic, time);
            let value = Expected::Number(f64::from(u32::try_from(time).unwrap()).to_bits());
            account.publish(topic, Nanos(time), payload.as_bytes(), value);
            if time < 4 {
                account.acknowledge(number);
            }
            number += 1;
        }
    }
    let mut ledger = Ledger::default();
    ledger.add(&account);
    ledger
}

fn payload(topic: usize, time: i64) -> String {
    format!("{topic} {time}")
}

fn all() -> Vec<(usize, i64)> {
    vec![(A, 1), (B, 1), (A, 2), (B, 2), (A, 3), (B, 3)]
}

fn judge(hub: &str, found: &[(usize, i64)], payload: fn(usize, i64) -> String) -> Tally {
    let ledger = ledger();
    let mut oracle = Oracle::new(&ledger, &hub.parse().unwrap());
    for (topic, time) in found {
        let bytes = payload(*topic, *time);
        oracle.take(
            ["a", "b"][*topic],
            Nanos(*time),
            &Found::Payload(bytes.as_bytes()),
        );
    }
    oracle.finish().0
}

#[test]
fn what_is_found_in_a_log() {
    type Edit = fn(&mut Vec<(usize, i64)>);
    let table: [(&str, Edit, [u64; 5]); 9] = [
        ("all of it", |_| {}, [6, 0, 0, 0, 0]),
        (
            "an unknown outcome that is there",
            |f| f.push((A, 4)),
            [7, 0, 0, 0, 0],
        ),
        ("topics in another order", |f| f.swap(0, 1), [6, 0, 0, 0, 0]),
        (
            "one is missing",
            |f| {
                f.remove(2);
            },
            [5, 1, 0, 0, 0],
        ),
        (
            "one is there twice",
            |f| f.insert(3, (A, 2)),
            [7, 0, 1, 0, 0],
        ),
        (
            "an unknown outcome twice",
            |f| f.extend([(A, 4), (A, 4)]),
            [8, 0, 1, 0, 0],
        ),
        ("one came late", |f| f.swap(0, 2), [6, 0, 0, 1, 0]),
        (
            "one was never published",
            |f| f.push((A, 9)),
            [7, 0, 0, 0, 1],
        ),
        ("nothing", Vec::clear, [0, 6, 0, 0, 0]),
    ];
    for (name, edit, [records, missing, duplicate, reordered, altered]) in table {
        let mut found = all();
        edit(&mut found);
        let expected = Tally {
            records,
            missing,
            duplicate,
            reordered,
            altered,
        };
        assert_eq!(judge("acme", &found, payload), expected, "{name}");
    }
}

#[test]
fn an_altered_payload_is_not_missing_as_well() {
    let garble = |topic, time| {
        if time == 2 {
            "?".into()
        } else {
            payload(topic, time)
        }
    };
    let expected = Tally {
        records: 6,
        altered: 2,
        ..Tally::default()
    };
    assert_eq!(judge("acme.line", &all(), garble), expected);
}

#[test]
fn a_hub_holds_only_what_is_below_it() {
    let elsewhere = judge("acme.other", &all(), payload);
    assert_eq!(
        elsewhere,
        Tally {
            records: 6,
            altered: 6,
            ..Tally::default()
        }
    );
    assert!(judge("acme.other", &[], payload).is_clean());
}

#[test]
fn a_row_of_a_historian_must_have_the_very_value() {
    let next_up = f64::from_bits(1.0_f64.to_bits() + 1);
    for (found, altered) in [
        (Found::Number(1.0), 0),
        (Found::Number(next_up), 1),
        (Found::Bool(true), 1),
        (Found::Other("dead letter"), 1),
    ] {
        let ledger = ledger();
        let mut oracle = Oracle::new(&ledger, &"acme".parse().unwrap());
        oracle.take("a", Nanos(1), &found);
        assert_eq!(oracle.finish().0.altered, altered, "{found:?}");
    }
}

#[test]
fn a_wave_must_encode_to_what_was_published() {
    let block = WaveBlock {
        first_sample: 0,
        start: Nanos(7),
        rate: (20_000, 1),
        scale: 0.5,
        offset: 0.0,
        unit: "m/s²".into(),
        sample_type: SampleType::I16,
        samples: vec![1, 2, 3, 4].into(),
    };
    let mut other = block.clone();
    other.samples = vec![1, 2, 3, 5].into();
    let account = Account::new("m", "acme.line".parse().unwrap(), vec!["w".into()]);
    account.publish(0, Nanos(7), &block.encode().unwrap(), Expected::Wave);
    account.acknowledge(0);
    let mut ledger = Ledger::default();
    ledger.add(&account);
    for (found, altered) in [(block, 0), (other, 1)] {
        let mut oracle = Oracle::new(&ledger, &"acme".parse().unwrap());
        oracle.take("w", Nanos(7), &Found::Wave(Box::new(found)));
        let expected = Tally {
            records: 1,
            altered,
            ..Tally::default()
        };
        assert_eq!(oracle.finish().0, expected);
    }
}

#[test]
fn differences_are_named() {
    let ledger = ledger();
    let oracle = Oracle::new(&ledger, &"acme".parse().unwrap());
    let (_, described) = oracle.finish();
    assert_eq!(described[0], "missing: a at 0 ms");
    assert_eq!(described.len(), DESCRIBED);
}
