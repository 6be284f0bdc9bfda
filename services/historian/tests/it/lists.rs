//! What lists show, on every backend.

use historian::{Brief, Kind, Last, MAX_TEXT};
use proto::{Nanos, Quality, Record, Value};

use crate::backend::Database;
use crate::fixture::{STREAM, at, now, origin, rows, typed};
use crate::suite::suite;

suite! {
    the_last_value_of_every_tag_in_pages
    the_newest_readings_of_a_tag
}

async fn the_last_value_of_every_tag_in_pages(database: Database) {
    let historian = database.open();
    let long = "ä".repeat(1000);
    let mut bad = typed("bad", now(), Value::F64(2.0));
    bad.quality = Quality(0x8000_0000);
    let records = [
        typed("t", now() + 1, Value::I64(7)),
        typed("t", now(), Value::I64(8)),
        typed("on", now(), Value::Bool(true)),
        typed("text", now(), Value::Text(long.clone())),
        Record::message("m", vec![7_u8; 999], Nanos(now())),
        bad,
        typed("t", now() - 1, Value::Text("was a text".into())),
    ];
    let claim = historian.take_over(STREAM).await.unwrap();
    historian
        .write(&claim, rows(0, &records), at(7))
        .await
        .unwrap();

    let mut all: Vec<Last> = Vec::new();
    loop {
        let after = all.last().map_or(0, |last| last.tag.tag_id);
        let page = historian.lasts(after, 4).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 4);
        all.extend(page);
    }
    assert_eq!(all.len(), 6);
    let reading = |topic: &str, kind: Kind| {
        let found = all
            .iter()
            .find(|last| last.tag.topic == topic && last.tag.kind == kind);
        found.unwrap().reading.clone().unwrap()
    };
    let number = reading("t", Kind::Number);
    assert_eq!(
        (number.time, &*number.hub),
        (Nanos(now() + 1), origin(7).hub.as_str())
    );
    assert!(matches!(number.value, Brief::Number(number) if number.value == Some(7.0)));
    assert_eq!(
        reading("t", Kind::Text).value,
        Brief::Text("was a text".into())
    );
    assert_eq!(reading("on", Kind::Bool).value, Brief::Bool(true));
    let cut = long.chars().take(MAX_TEXT).collect();
    assert_eq!(reading("text", Kind::Text).value, Brief::Text(cut));
    assert_eq!(reading("bad", Kind::Number).quality, Quality(0x8000_0000));
    match reading("m", Kind::Message).value {
        Brief::Message {
            start,
            bytes: 999,
            problem: None,
        } => assert_eq!(start, vec![7_u8; MAX_TEXT]),
        other => panic!("{other:?}"),
    }
}

async fn the_newest_readings_of_a_tag(database: Database) {
    let historian = database.open();
    let record = |n: i64| match n % 2 {
        0 => typed("t", now() + n, Value::I64(n)),
        _ => typed("t", now() + n, Value::Text(n.to_string())),
    };
    let records: Vec<Record> = (0..20).map(record).collect();
    let claim = historian.take_over(STREAM).await.unwrap();
    historian
        .write(&claim, rows(0, &records), at(20))
        .await
        .unwrap();
    let newest = historian.newest("t", "", 5).await.unwrap();
    let times: Vec<i64> = newest
        .iter()
        .map(|reading| reading.time.0 - now())
        .collect();
    assert_eq!(times, [19, 18, 17, 16, 15]);
    assert_eq!(newest[0].value, Brief::Text("19".into()));
    assert_eq!(historian.newest("t", "no such key", 5).await.unwrap(), []);
}
