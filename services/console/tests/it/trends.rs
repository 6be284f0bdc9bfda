//! Trends, from a database that is behind and a log that has all.

use std::path::Path;
use std::pin::pin;

use futures::StreamExt;
use historian::Historian;
use hyper::StatusCode;
use proto::{Nanos, Offset, Value};
use raft_log::client::TailFrom;
use serde_json::Value as Json;

use crate::rig::Hub;
use crate::tags::{OPEN, record};

const START: i64 = 1_709_251_200_000_000_000;
const SECOND: i64 = 1_000_000_000;
const TOPIC: &str = "umh/v1/acme/_raw/t";

fn with_historian(path: &Path) -> String {
    format!("{OPEN}historian: {{ sqlite: {} }}\n", path.display())
}

/// What a writer would do, up to an offset.
async fn write(hub: &Hub, path: &Path, until: u64) {
    let sqlite = historian::Sqlite::open(path).unwrap();
    let status = hub.log().status().await.unwrap();
    let incarnation = proto::Incarnation::from_bytes(&status.incarnation).unwrap();
    let stream = format!("{}/{incarnation}", status.hub);
    let claim = sqlite.take_over(&stream).await.unwrap();
    let mut rows = Vec::new();
    let mut tail = pin!(hub.log().tail(TailFrom {
        stop_at_end: true,
        ..TailFrom::default()
    }));
    while let Some(response) = tail.next().await {
        for delivery in response.unwrap().deliveries {
            rows.extend(historian::convert::rows(&delivery).unwrap());
        }
    }
    rows.retain(|row| row.offset >= claim.next_offset && row.offset.0 < until);
    sqlite.write(&claim, rows, Offset(until)).await.unwrap();
}

fn link(path: &str, to: i64, more: &str) -> String {
    let millis = |n: i64| (START + n * SECOND) / 1_000_000;
    format!(
        "{path}?tag={TOPIC}&from={}&to={}{more}",
        millis(0),
        millis(to)
    )
}

fn values(n: std::ops::Range<i64>) -> Vec<proto::Record> {
    n.map(|n| record(TOPIC, START + n * SECOND, Value::I64(n)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_and_the_log_are_joined() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("h.sqlite");
    let hub = Hub::with(&with_historian(&path), None).await;
    hub.publish(values(0..1000)).await;
    write(&hub, &path, 600).await;
    let browser = hub.browser();
    let count = |text: &str| {
        let chart: Json = serde_json::from_str(text).unwrap();
        chart["tags"][0]["count"].as_u64().unwrap()
    };
    let raw = link("/trend/data", 1000, "&points=2000");
    let text = browser.until(&raw, |text| count(text) == 1000).await;
    let chart: Json = serde_json::from_str(&text).unwrap();
    let line = &chart["tags"][0];
    let expected: Vec<f64> = (0..1000).map(f64::from).collect();
    assert_eq!(line["v"], serde_json::json!(expected));
    assert_eq!(
        (&line["lo"], &chart["notices"]),
        (&Json::Null, &serde_json::json!([]))
    );

    let envelope = browser
        .get(&link("/trend/data", 1000, "&points=50"))
        .await
        .text;
    let envelope: Json = serde_json::from_str(&envelope).unwrap();
    let line = &envelope["tags"][0];
    assert_eq!(
        (line["count"].as_u64(), line["t"].as_array().unwrap().len()),
        (Some(1000), 50)
    );
    assert_eq!(
        (line["lo"][49].as_f64(), line["hi"][49].as_f64()),
        (Some(980.0), Some(999.0))
    );

    // What comes while somebody looks is sent once, from where the chart ends.
    let next = chart["next"][0].as_u64().unwrap();
    hub.publish(values(1000..1010)).await;
    let live = format!("/trend/live?tag={TOPIC}&since={next}");
    browser
        .follow(&live, "what came since", |text| {
            let news = text.lines().filter_map(|line| line.strip_prefix("data: "));
            let sent: Vec<f64> = news
                .flat_map(|news| {
                    let news: Json = serde_json::from_str(news).unwrap();
                    serde_json::from_value::<Vec<f64>>(news["tags"][0]["v"].clone()).unwrap()
                })
                .collect();
            let expected: Vec<f64> = (1000..1010).map(f64::from).collect();
            assert!(expected.starts_with(&sent), "{sent:?}");
            sent == expected
        })
        .await;
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_value_is_exported_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("h.sqlite");
    let hub = Hub::with(&with_historian(&path), None).await;
    let mut records = values(0..2500);
    records.push(record(TOPIC, START + 2500 * SECOND, Value::U64(u64::MAX)));
    records.push(record(
        TOPIC,
        START + 2501 * SECOND,
        Value::Text("a \"b\", c".into()),
    ));
    hub.publish(records).await;
    write(&hub, &path, 2200).await;
    let browser = hub.browser();
    let whole = |text: &str| text.lines().count() == 2503;
    let text = browser.until(&link("/trend/csv", 9999, ""), whole).await;
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines[0], "tag,time,time_ns,value,quality");
    for (n, line) in lines[1..2501].iter().enumerate() {
        let ns = START + i64::try_from(n).unwrap() * SECOND;
        assert!(line.ends_with(&format!(",{ns},{n},good")), "{line}");
        assert!(line.starts_with(&format!("{TOPIC},2024-03-01T0")), "{line}");
    }
    assert!(
        lines[2501].ends_with(",18446744073709551615,good"),
        "{}",
        lines[2501]
    );
    assert!(
        lines[2502].ends_with(",\"a \"\"b\"\", c\",good"),
        "{}",
        lines[2502]
    );
    let some = browser.get(&link("/trend/csv", 3, "")).await;
    assert_eq!(some.text.lines().count(), 4);
    assert_eq!(some.header("content-type"), "text/csv; charset=utf-8");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_and_without_scripts() {
    let hub = Hub::with(OPEN, None).await;
    hub.publish(values(0..100)).await;
    let browser = hub.browser();
    let path = link("/trend/data", 100, "");
    let text = browser
        .until(&path, |text| text.contains("\"count\":100"))
        .await;
    assert!(text.contains("no historian"), "{text}");
    let plain = browser.get(&link("/trend", 100, "&plain=1")).await.text;
    assert!(
        plain.contains("<polyline class=\"series-1\" points=\"0.0,320.0 "),
        "{plain}"
    );
    assert!(
        plain.contains("Zoom out") && plain.contains("100 values"),
        "{plain}"
    );
    let empty = browser.get("/trend").await.text;
    assert!(empty.contains("Choose a tag"), "{empty}");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_link_is_told() {
    let hub = Hub::with(OPEN, None).await;
    hub.publish(vec![record("t", Nanos::now().0, Value::Bool(true))])
        .await;
    let browser = hub.browser();
    browser.until("/tags", |page| page.contains("1 tags")).await;
    let many: String = (0..13).map(|n| format!("tag={n}&")).collect();
    for path in ["/trend", "/trend/data", "/trend/csv"] {
        for (query, problem) in [
            ("tag=none", "There is no tag"),
            ("tag=t&from=soon", "`from` is a time such as"),
            ("tag=t&from=2&to=1", "must lie before"),
            ("tag=t&last=100y", "between 1s and 400d"),
            (&*many, "at most 12 tags"),
        ] {
            let answer = browser.get(&format!("{path}?{query}")).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}?{query}");
            assert!(
                answer.text.contains(problem),
                "{path}?{query}: {}",
                answer.text
            );
        }
    }
    hub.stop().await;
}
