//! What applying costs; for people, who compare two runs on one machine:
//! `cargo test -p updraft-raft-log --lib speed -- --ignored --nocapture` with
//! `CARGO_PROFILE_DEV_OPT_LEVEL=3`.

use std::time::Instant;

use super::*;

const APPENDS: u64 = 400;
const RECORDS: u64 = 500;

fn batches(topics: u64) -> Vec<Envelope> {
    let mut noise = 1u64;
    // Half of it does not compress.
    let mut payload = || -> Vec<u8> {
        let byte = |at: usize| {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            let byte = noise.to_be_bytes()[0];
            if at.is_multiple_of(2) { byte } else { 7 }
        };
        (0..200).map(byte).collect()
    };
    let mut records = |append: u64| {
        let mut record = |number: u64| {
            let topic = format!("umh/v1/acme/line/_raw/tag{}", (append + number) % topics);
            Record::message(topic, payload(), Nanos(1))
        };
        (0..RECORDS).map(&mut record).collect::<Vec<_>>()
    };
    let mut envelope = |append| {
        let batch = Batch::encode(&records(append)).unwrap();
        Envelope::birth(&batch, Lane::Normal, &Scope::up(), false)
    };
    (0..APPENDS).map(&mut envelope).collect()
}

#[test]
#[ignore = "it measures and asserts nothing"]
fn speed_of_apply() {
    for topics in [100, 100_000] {
        let mut state = hub();
        let stamp = producer(&mut state);
        let batches = batches(topics);
        let began = Instant::now();
        for (sequence, envelope) in (0..).zip(&batches) {
            let (applied, _) = apply(
                &mut state,
                append(&stamp, sequence, std::slice::from_ref(envelope)),
            );
            assert!(matches!(applied, Applied::Appended(_)));
        }
        let took = began.elapsed();
        let nanos = took.as_nanos() / u128::from(APPENDS * RECORDS);
        eprintln!("{topics} topics: {nanos} ns per record of 200 bytes, {took:?}");
        let began = Instant::now();
        let hash = state.hash();
        eprintln!("state hash {:02x?} in {:?}", &hash[..4], began.elapsed());
    }
}
