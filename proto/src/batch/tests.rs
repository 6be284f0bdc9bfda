use proptest::prelude::*;

use super::*;
use crate::record::Flags;
use crate::{Nanos, Quality, Value};

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::I64),
        any::<u64>().prop_map(Value::U64),
        any::<f64>().prop_map(Value::F64),
        ".{0,20}".prop_map(Value::Text),
        prop::collection::vec(any::<u8>(), 0..200).prop_map(|b| Value::Payload(b.into())),
    ]
}

prop_compose! {
    fn record()(
        topic in "(a|b/c|umh/v1/x/_raw/t|ä/é)",
        source_time in prop::option::of(any::<i64>()),
        receive_time in any::<i64>(),
        value in value(),
        quality in any::<u32>(),
        flags in any::<u8>(),
        headers in prop::collection::vec((".{0,5}", ".{0,5}"), 0..3),
    ) -> Record {
        Record {
            topic,
            source_time: source_time.map(Nanos),
            receive_time: Nanos(receive_time),
            value,
            quality: Quality(quality),
            flags: Flags(flags),
            headers,
        }
    }
}

/// NaN is not equal to itself; its bits are.
fn bits(records: &[Record]) -> Vec<(String, Option<u64>)> {
    let bits = |value: &Value| match value {
        Value::F64(number) => Some(number.to_bits()),
        _ => None,
    };
    let debug = |record: &Record| format!("{record:?}");
    records
        .iter()
        .map(|record| (debug(record), bits(&record.value)))
        .collect()
}

proptest! {
    #[test]
    fn what_is_encoded_comes_back(records in prop::collection::vec(record(), 1..60)) {
        let batch = Batch::encode(&records).unwrap();
        prop_assert_eq!(batch.count as usize, records.len());
        prop_assert_eq!(bits(&Batch::decode(&batch.bytes).unwrap()), bits(&records));
    }

    #[test]
    fn every_flipped_bit_is_seen(
        records in prop::collection::vec(record(), 1..5),
        place in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut bytes = Batch::encode(&records).unwrap().bytes.to_vec();
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        prop_assert!(Batch::decode(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Batch::decode(&bytes).is_err());
    }

    #[test]
    fn any_body_with_a_good_checksum_is_no_panic(
        body in prop::collection::vec(any::<u8>(), 0..300),
        compressed in any::<bool>(),
        count in 0..10u32,
    ) {
        let mut bytes = b"UPB\x01".to_vec();
        bytes.extend_from_slice(&[u8::from(compressed), 0, 0, 0]);
        bytes.extend_from_slice(&count.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), &body);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(&body);
        let _ = Batch::decode(&bytes);
    }
}

#[test]
fn large_batches_are_compressed_and_small_ones_are_not() {
    let records = |n: usize| vec![Record::message("a/b", vec![7; 100], Nanos(1)); n];
    assert_eq!(Batch::encode(&records(10)).unwrap().bytes[4], 0);
    let large = Batch::encode(&records(1000)).unwrap();
    assert_eq!(large.bytes[4], 1);
    assert!(large.bytes.len() < 10_000, "{}", large.bytes.len());
}

/// The first version's bytes are read for ever after.
#[test]
fn version_1_as_it_was_first_written() {
    let record = Record {
        topic: "a/b".into(),
        source_time: Some(Nanos(5)),
        receive_time: Nanos(7),
        value: Value::F64(21.5),
        quality: Quality(1),
        flags: Flags::new(true, 1),
        headers: vec![("k".into(), "v".into())],
    };
    let golden = hex::decode(include_str!("golden_v1.hex").trim()).unwrap();
    assert_eq!(Batch::decode(&golden).unwrap(), vec![record.clone()]);
    assert_eq!(
        hex::encode(&Batch::encode(&[record]).unwrap().bytes),
        hex::encode(golden)
    );
}

#[test]
fn an_unknown_version_says_so() {
    let mut bytes = Batch::encode(&[Record::message("a", "x", Nanos(0))])
        .unwrap()
        .bytes
        .to_vec();
    bytes[3] = 9;
    assert_eq!(Batch::decode(&bytes), Err(BatchError::UnknownVersion(9)));
}
