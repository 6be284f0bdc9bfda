//! Blocks of samples, on every backend.

use proto::wave::{SampleType, WaveBlock};
use proto::{Nanos, Record};

use crate::backend::Database;
use crate::fixture::{STREAM, at, now, rows};
use crate::suite::suite;

suite! {
    blocks_of_a_stretch
}

const TOPIC: &str = "umh/v1/acme/_wave/vibration";
const SECOND: i64 = 1_000_000_000;

fn block(n: u64) -> WaveBlock {
    let samples: Vec<u8> = (0..1000_u64)
        .flat_map(|i| (((n * 1000 + i) % 30_000) as i16).to_le_bytes())
        .collect();
    WaveBlock {
        first_sample: n * 1000,
        start: Nanos(now() + n as i64 * SECOND + 7),
        rate: (1000, 1),
        scale: 0.5,
        offset: 0.0,
        unit: "mm/s".into(),
        sample_type: SampleType::I16,
        samples: samples.into(),
    }
}

async fn blocks_of_a_stretch(database: Database) {
    let historian = database.open();
    let records: Vec<Record> = (0..10)
        .map(|n| Record::message(TOPIC, block(n).encode().unwrap(), Nanos(now())))
        .collect();
    let claim = historian.take_over(STREAM).await.unwrap();
    historian
        .write(&claim, rows(0, &records), at(10))
        .await
        .unwrap();

    // From the middle of block 2 to the very beginning of block 5, which has nothing in it.
    let range = Nanos(now() + 5 * SECOND / 2)..Nanos(now() + 5 * SECOND + 7);
    let heads = historian
        .waves(TOPIC, "", range.clone(), 100)
        .await
        .unwrap();
    let firsts: Vec<u64> = heads.iter().map(|head| head.first_sample).collect();
    assert_eq!(firsts, [2000, 3000, 4000]);
    let head = &heads[0];
    assert_eq!(
        (head.count, head.rate, &*head.unit),
        (1000, (1000, 1), "mm/s")
    );
    assert_eq!(head.end(), heads[1].start);
    let first = historian.waves(TOPIC, "", range.clone(), 2).await.unwrap();
    assert_eq!(first, heads[..2]);

    let blocks = async |max: u64| {
        let range = range.clone();
        historian.wave_blocks(TOPIC, "", range, max).await.unwrap()
    };
    assert_eq!(blocks(u64::MAX).await, [block(2), block(3), block(4)]);
    assert_eq!(blocks(2999).await, [block(2), block(3)]);
    assert_eq!(blocks(1).await, [block(2)]);
    // Block 2 ends where block 3 begins.
    let begin = Nanos(now() + 3 * SECOND + 7);
    let heads = historian
        .waves(TOPIC, "", begin..Nanos(begin.0 + 1), 100)
        .await
        .unwrap();
    assert_eq!(
        heads
            .iter()
            .map(|head| head.first_sample)
            .collect::<Vec<_>>(),
        [3000]
    );
    assert_eq!(
        historian
            .waves("none", "", begin..begin, 100)
            .await
            .unwrap(),
        []
    );
}
