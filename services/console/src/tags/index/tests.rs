use historian::{Body, Number, Reading, Row, Tag};
use proto::{Incarnation, Lane, Origin, Sequence};

use super::*;

fn incoming(topic: &str, offset: u64, body: Body) -> Incoming {
    let origin = Origin {
        hub: "acme.press".parse().unwrap(),
        incarnation: Incarnation(7),
        lane: Lane::Normal,
    };
    let row = Row {
        sequence: Sequence(offset),
        sub: 0,
        time: Nanos(offset.cast_signed()),
        topic: topic.into(),
        key: "".into(),
        body,
    };
    Incoming {
        row: NewRow {
            origin: Arc::new(origin),
            offset: Offset(offset),
            original: None,
            row,
        },
        taken: Nanos(1_000_000_000 * offset.cast_signed()),
    }
}

fn float(value: f64) -> Body {
    Body::Number {
        quality: Quality::GOOD,
        number: Number {
            value: Some(value),
            exact: None,
            original: None,
        },
    }
}

fn last(topic: &str, time: i64, value: f64) -> Last {
    let reading = Reading {
        time: Nanos(time),
        sequence: Sequence(0),
        hub: "acme.press".into(),
        quality: Quality::GOOD,
        value: Brief::of(&float(value)),
    };
    Last {
        tag: Tag {
            tag_id: 1,
            topic: topic.into(),
            key: String::new(),
            kind: Kind::Number,
        },
        reading: Some(reading),
    }
}

fn newest(index: &Index, topic: &str) -> Newest {
    let id = index.find(topic, "").unwrap();
    index.look_up(&[id])[0].2.newest.clone().unwrap()
}

#[test]
fn the_log_knows_better_than_the_database() {
    let index = Index::default();
    index.load(vec![last("t", 5, 1.0)]);
    assert_eq!(newest(&index, "t").value, Brief::of(&float(1.0)));
    index.update(vec![incoming("t", 3, float(2.0))], Offset(4));
    let from_log = newest(&index, "t");
    assert_eq!(from_log.value, Brief::of(&float(2.0)));
    assert_eq!(from_log.taken, Some(Nanos(3_000_000_000)));
    index.load(vec![last("t", 9, 3.0)]);
    assert_eq!(newest(&index, "t"), from_log);
    assert_eq!(index.next_offset(), Offset(4));
}

#[test]
fn a_tag_without_a_value_keeps_its_type() {
    let index = Index::default();
    let null = Body::Null {
        quality: Quality(0x8000_0000),
    };
    let on = Body::Bool {
        quality: Quality::GOOD,
        value: true,
    };
    index.update(
        vec![incoming("t", 0, on), incoming("t", 1, null)],
        Offset(2),
    );
    let found = newest(&index, "t");
    assert_eq!((found.kind, found.value), (Kind::Bool, Brief::Null));
    assert_eq!(found.quality, Quality(0x8000_0000));
}

#[test]
fn only_what_changed_is_told() {
    let index = Index::default();
    index.update(
        vec![incoming("a", 0, float(1.0)), incoming("b", 1, float(1.0))],
        Offset(2),
    );
    let mut watched: Vec<(TagId, u64)> = vec![(TagId(0), 0), (TagId(1), 0), (TagId(9), 0)];
    let changed = |watched: &mut Vec<(TagId, u64)>| {
        let mut ids = Vec::new();
        index.changes(watched, |id, _| ids.push(id));
        ids
    };
    assert_eq!(changed(&mut watched), [TagId(0), TagId(1)]);
    assert_eq!(changed(&mut watched), []);
    index.update(vec![incoming("b", 2, float(1.0))], Offset(3));
    assert_eq!(changed(&mut watched), [TagId(1)]);
}

#[test]
fn recent_values_from_an_offset_on() {
    let index = Index::default();
    index.begin(Offset(10));
    let values = (10..2000)
        .map(|offset| incoming("t", offset, float(1.0)))
        .collect();
    index.update(values, Offset(2000));
    let id = index.find("t", "").unwrap();
    let since = index.recent(id, Offset(1990), 100);
    let offsets: Vec<u64> = since.entries.iter().map(|entry| entry.offset.0).collect();
    assert_eq!(offsets, (1990..2000).collect::<Vec<_>>());
    assert!(since.complete && since.next == Offset(2000));
    let few = index.recent(id, Offset(1990), 4);
    assert_eq!(
        (few.entries[0].offset, few.entries.len(), few.complete),
        (Offset(1996), 4, false)
    );
    // Before it began, nobody knows what there was.
    assert!(!index.recent(id, Offset(9), 5000).complete);
    assert!(index.recent(id, Offset(10), 5000).complete);
}

#[test]
fn tags_beyond_the_limit_are_counted() {
    let index = Index::new(Limits {
        tags: 2,
        bytes: 1 << 20,
    });
    let values = ["a", "b", "c", "a", "d"];
    let values = (0..)
        .zip(values)
        .map(|(n, topic)| incoming(topic, n, float(1.0)));
    index.update(values.collect(), Offset(5));
    assert_eq!((index.names().len(), index.beyond()), (2, 2));
    assert_eq!(newest(&index, "a").time, Nanos(3));
}
