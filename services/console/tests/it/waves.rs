//! Waveforms, read from the log itself.

use std::f64::consts::TAU;

use hyper::StatusCode;
use proto::wave::{SampleType, WaveBlock};
use proto::{Nanos, Record, Value};
use serde_json::Value as Json;

use crate::rig::Hub;
use crate::tags::{OPEN, record};

const TOPIC: &str = "umh/v1/acme/_wave/vibration";
const START: i64 = 1_709_251_200_000_000_000;
const SECOND: i64 = 1_000_000_000;

fn block(n: u64, sample_type: SampleType, samples: Vec<u8>) -> Record {
    let block = WaveBlock {
        first_sample: n * 4096,
        start: Nanos(START + n.cast_signed() * SECOND),
        rate: (4096, 1),
        scale: 0.5,
        offset: 0.0,
        unit: "mm/s".into(),
        sample_type,
        samples: samples.into(),
    };
    Record::message(TOPIC, block.encode().unwrap(), Nanos::now())
}

fn sine(n: u64) -> Record {
    let sample = |i: u32| 8.0 * (TAU * 512.0 * f64::from(i) / 4096.0).sin();
    let samples = (0..4096).flat_map(|i| sample(i).to_le_bytes());
    block(n, SampleType::F64, samples.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waveform_and_its_spectrum() {
    let hub = Hub::with(OPEN, None).await;
    hub.publish(vec![sine(0), sine(1), sine(4)]).await;
    let browser = hub.browser();
    let millis = START / 1_000_000;
    let path = format!(
        "/wave/data?topic={TOPIC}&from={millis}&to={}",
        millis + 5000
    );
    let text = browser
        .until(&path, |text| text.contains("\"blocks\":3"))
        .await;
    let chart: Json = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&chart["unit"], &chart["rate"]),
        (&"mm/s".into(), &"4096".into())
    );
    let gap = &chart["gaps"][0];
    let from = chart["from"].as_f64().unwrap();
    assert_eq!(
        (gap[0].as_f64(), gap[1].as_f64()),
        (Some(from + 2000.0), Some(from + 4000.0))
    );
    assert_eq!(gap[2], 8192);
    let peak = &chart["spectrum"]["peaks"][0];
    assert!((peak[0].as_f64().unwrap() - 512.0).abs() < 1e-3, "{peak}");
    assert!((peak[1].as_f64().unwrap() - 4.0).abs() < 1e-3, "{peak}");
    // The newest samples without a gap are the last block alone.
    assert_eq!(chart["spectrum"]["samples"], 4096);

    let newest = browser.get(&format!("/wave/data?topic={TOPIC}")).await.text;
    let newest: Json = serde_json::from_str(&newest).unwrap();
    assert_eq!(newest["from"].as_f64(), Some(from + 4000.0));
    let page = browser
        .get(&format!(
            "/wave?topic={TOPIC}&from={millis}&to={}",
            millis + 5000
        ))
        .await;
    assert!(page.text.contains("8,192 samples"), "{}", page.text);
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_come_back_bit_for_bit() {
    let hub = Hub::with(OPEN, None).await;
    // Letters, so that the answer is a text as well.
    let letters: Vec<u8> = (0..4096 * 2).map(|n| b'a' + (n % 23) as u8).collect();
    hub.publish(vec![
        block(0, SampleType::I16, letters.clone()),
        block(1, SampleType::I16, letters.clone()),
        record("t", START, Value::F64(1.0)),
    ])
    .await;
    let browser = hub.browser();
    let until = START + 2 * SECOND;
    let link =
        |format: &str| format!("/wave/raw?topic={TOPIC}&from={START}&to={until}&format={format}");
    let twice = String::from_utf8([letters.clone(), letters.clone()].concat()).unwrap();
    browser.until(&link("bin"), |text| text == twice).await;
    let part = format!(
        "/wave/raw?topic={TOPIC}&from={}&to={until}&format=bin",
        START + SECOND / 2
    );
    let part = browser.get(&part).await;
    assert_eq!(part.text, twice[4096..]);
    assert_eq!(
        part.header("content-disposition"),
        "attachment; filename=\"waveform.i16le\""
    );
    let csv = browser.get(&link("csv")).await.text;
    let lines: Vec<&str> = csv.split("\r\n").collect();
    let first = i16::from_le_bytes([letters[2], letters[3]]);
    let expected = format!(
        "1,{},{first},{},mm/s",
        START + SECOND / 4096,
        f64::from(first) / 2.0
    );
    assert_eq!((lines[2], lines.len()), (&*expected, 8192 + 2));

    for (query, problem) in [
        ("topic=none", "There is no tag"),
        ("topic=t", "holds no waveforms"),
        (&*format!("topic={TOPIC}&from=2&to=1"), "`from` before `to`"),
        (&*format!("topic={TOPIC}&format=mp3"), "csv or bin"),
    ] {
        let answer = browser.get(&format!("/wave/raw?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(answer.text.contains(problem), "{query}: {}", answer.text);
    }
    hub.stop().await;
}
