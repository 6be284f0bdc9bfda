//! Records as a log would deliver them.

use bytes::Bytes;
use historian::{Body, NewRow, Row};
use proto::{
    Batch, Incarnation, Lane, Nanos, Offset, Origin, Quality, Record, Scope, Sequence, Value, rpc,
};

pub(crate) const STREAM: &str = "acme.press/00000000000000000000000000000007";

pub(crate) fn origin(incarnation: u128) -> Origin {
    let hub = "acme.press".parse().unwrap();
    Origin {
        hub,
        incarnation: Incarnation(incarnation),
        lane: Lane::Normal,
    }
}

/// One envelope of the origin 7; its offsets are its sequences.
pub(crate) fn delivery(first: u64, records: &[Record]) -> rpc::Delivery {
    let batch = Batch::encode(records).unwrap();
    let mut envelope = rpc::Envelope::birth(&batch, Lane::Normal, &Scope::up(), false);
    envelope.first_sequence = first;
    envelope.origin = Some(rpc::Origin::from(&origin(7)));
    rpc::Delivery {
        offset: first,
        leader_time: 5,
        chain: Bytes::new(),
        envelope: Some(envelope),
    }
}

pub(crate) fn rows(first: u64, records: &[Record]) -> Vec<NewRow> {
    historian::convert::rows(&delivery(first, records)).unwrap()
}

pub(crate) fn typed(topic: &str, time: i64, value: Value) -> Record {
    Record {
        topic: topic.into(),
        source_time: Some(Nanos(time)),
        receive_time: Nanos(1),
        value,
        quality: Quality::GOOD,
        flags: Default::default(),
        headers: Vec::new(),
    }
}

pub(crate) fn numbers(count: u64) -> Vec<Record> {
    (0..count)
        .map(|n| typed(&format!("t{}", n % 3), now() + n as i64, Value::U64(n)))
        .collect()
}

/// 2024-03-01, a time that gets a partition of its own.
pub(crate) fn now() -> i64 {
    1_709_251_200_000_000_000
}

pub(crate) fn plain(rows: &[NewRow]) -> Vec<Row> {
    rows.iter().map(|new| new.row.clone()).collect()
}

pub(crate) fn all() -> std::ops::Range<Sequence> {
    Sequence(0)..Sequence(i64::MAX as u64)
}

pub(crate) fn sequences(rows: &[Row]) -> Vec<u64> {
    rows.iter().map(|row| row.sequence.0).collect()
}

pub(crate) fn dead(row: &Row) -> &historian::DeadLetter {
    match &row.body {
        Body::Dead(dead) => dead,
        other => panic!("no dead letter: {other:?}"),
    }
}

pub(crate) fn at(offset: u64) -> Offset {
    Offset(offset)
}
