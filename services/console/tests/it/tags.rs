//! The tag browser.

use hyper::StatusCode;
use proto::{Nanos, Quality, Record, Value};

use crate::rig::Hub;

/// Nobody has to sign in.
pub(crate) const OPEN: &str = "console: { listen: \"127.0.0.1:0\" }\n";

pub(crate) fn record(topic: &str, time: i64, value: Value) -> Record {
    let mut record = Record::message(topic, "", Nanos::now());
    record.source_time = Some(Nanos(time));
    record.value = value;
    record
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_found_in_the_tree_and_by_search() {
    let hub = Hub::with(OPEN, None).await;
    let mut bad = record("umh/v1/acme/press/_raw/force", 1, Value::F64(21.125));
    bad.quality = Quality(0x8000_0000);
    hub.publish(vec![
        bad,
        record("umh/v1/acme/paint/_raw/flow", 1, Value::Bool(true)),
        Record::message("umh/v1/acme/paint/_raw/<i>odd", "<script>", Nanos::now()),
        Record::message(
            "umh/v1/acme/_historian/head",
            r#"{"timestamp_ms": 1, "pos": {"x": 1.5, "y": 2}}"#,
            Nanos::now(),
        ),
    ])
    .await;
    let browser = hub.browser();
    let page = browser.until("/tags", |page| page.contains("5 tags")).await;
    assert!(
        page.contains("data-path=\"umh\"") && page.contains(">21.125<"),
        "{page}"
    );
    assert!(page.contains("data-state=\"bad\">bad<"), "{page}");
    assert!(
        page.contains("&lt;script&gt;") && !page.contains("<script>"),
        "{page}"
    );

    let below = browser.get("/tags?path=umh/v1/acme/paint").await.text;
    assert!(
        below.contains("2 tags") && !below.contains("force"),
        "{below}"
    );
    assert!(below.contains("aria-current=\"true\""), "{below}");
    let levels = browser.get("/tags/tree?path=umh/v1").await.text;
    assert!(levels.contains("data-path=\"umh/v1/acme\""), "{levels}");
    let found = browser.get("/tags/list?q=ACME+force").await.text;
    assert!(
        found.contains("1 tag ") && found.contains("/tags/one?topic=umh"),
        "{found}"
    );
    let keys = browser.get("/tags/list?q=pos").await.text;
    assert!(
        keys.contains("2 tags") && keys.contains("key=pos%24x"),
        "{keys}"
    );
    let offers = browser.get("/tags/find?q=flow").await.text;
    let offers: serde_json::Value = serde_json::from_str(&offers).unwrap();
    assert_eq!(offers[0]["tag"], "umh/v1/acme/paint/_raw/flow");
    assert_eq!(offers[0]["value"], "true");
    let long = browser.get(&format!("/tags?q={}", "x".repeat(500))).await;
    assert_eq!(long.status, StatusCode::BAD_REQUEST);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_on_the_screen_is_live() {
    let hub = Hub::with(OPEN, None).await;
    let value = |tag: &str, value: i64| record(tag, value, Value::I64(value));
    hub.publish(vec![value("a", 1), value("b", 1)]).await;
    let browser = hub.browser();
    let page = browser.until("/tags", |page| page.contains("2 tags")).await;
    let (_, rest) = page.split_once("data-run=\"").unwrap();
    let run = rest.split_once('"').unwrap().0;

    let publish = async {
        for n in 2..40 {
            hub.publish(vec![value("a", n), value("b", 900_000 + n)])
                .await;
        }
    };
    let path = format!("/tags/live?run={run}&ids=0");
    let changes = browser.follow(&path, "the newest value", |text| {
        assert!(
            !text.contains("\"id\":1") && !text.contains("\"value\":\"9000"),
            "{text}"
        );
        text.contains("\"value\":\"39\"")
    });
    tokio::join!(publish, changes);

    let stale = |text: &str| text.contains("event: stale");
    browser
        .follow(
            "/tags/live?run=1&ids=0",
            "that ids are of another run",
            stale,
        )
        .await;
    let many: Vec<String> = (0..200).map(|id| id.to_string()).collect();
    for ids in ["", "x", "1,,2", &many.join(",")] {
        let answer = browser
            .get(&format!("/tags/live?run={run}&ids={ids}"))
            .await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{ids}");
    }
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tag_in_detail() {
    let hub = Hub::with(OPEN, None).await;
    let exact = (1_i64 << 53) + 1;
    let mut uncertain = record("u/t", 1_709_251_200_123_456_789, Value::I64(exact));
    uncertain.quality = Quality(0x4000_0001);
    hub.publish(vec![
        record("u/t", 0, Value::Text("before".into())),
        uncertain,
    ])
    .await;
    let browser = hub.browser();
    let path = "/tags/one?topic=u/t";
    let page = browser.until(path, |page| page.contains("uncertain")).await;
    for shown in [
        "9007199254740993",
        "0x40000001",
        "2024-03-01T00:00:00.123456789Z",
        "before",
        "acme.press",
        "/trend?tag=u%2Ft",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    let live = "/tags/one/live?topic=u/t";
    let newer = |text: &str| text.contains("newer");
    hub.publish(vec![record("u/t", 9, Value::Text("newer".into()))])
        .await;
    browser.follow(live, "the new value", newer).await;
    for (path, problem) in [
        ("/tags/one?topic=none", "There is no tag &quot;none&quot;"),
        ("/tags/one?topic=", "A tag is a topic"),
    ] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.text.contains(problem), "{}", answer.text);
    }
    hub.stop().await;
}
