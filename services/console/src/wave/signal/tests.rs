use super::*;

const SECOND: i64 = 1_000_000_000;

fn block(n: u64, sample_type: SampleType) -> WaveBlock {
    let samples: Vec<u8> = (0..1000_i16)
        .flat_map(|i| match sample_type {
            SampleType::I16 => i.to_le_bytes().to_vec(),
            SampleType::I32 => i32::from(i).to_le_bytes().to_vec(),
            SampleType::F32 => f32::from(i).to_le_bytes().to_vec(),
            SampleType::F64 => f64::from(i).to_le_bytes().to_vec(),
        })
        .collect();
    WaveBlock {
        first_sample: n * 1000,
        start: Nanos(n as i64 * SECOND),
        rate: (1000, 1),
        scale: 2.0,
        offset: -1.0,
        unit: "g".into(),
        sample_type,
        samples: samples.into(),
    }
}

fn blocks(numbers: &[u64]) -> Vec<WaveBlock> {
    numbers.iter().map(|n| block(*n, SampleType::I16)).collect()
}

#[test]
fn samples_of_every_type() {
    let kinds = [
        SampleType::I16,
        SampleType::I32,
        SampleType::F32,
        SampleType::F64,
    ];
    for kind in kinds {
        let values = values(&block(0, kind));
        let found = (values.len(), values[0], values[999]);
        assert_eq!(found, (1000, -1.0, 1997.0), "{kind:?}");
    }
}

#[test]
fn gaps_between_blocks() {
    let heads = |blocks: &[WaveBlock]| blocks.iter().map(WaveHead::of).collect::<Vec<_>>();
    assert_eq!(gaps(&heads(&blocks(&[3, 4, 5]))), []);
    let missing = Gap {
        from: Nanos(4 * SECOND),
        to: Nanos(6 * SECOND),
        samples: 2000,
    };
    assert_eq!(gaps(&heads(&blocks(&[3, 6, 7]))), [missing]);
    // Numbers that begin anew are a gap of nobody knows how many.
    let mut anew = blocks(&[3, 4]);
    anew[1].first_sample = 0;
    assert_eq!(gaps(&heads(&anew))[0].samples, 0);
    // A clock that jitters is none.
    let mut late = blocks(&[3, 4]);
    late[1].start.0 += 3_000_000;
    assert_eq!(gaps(&heads(&late)), []);
}

#[test]
fn what_is_transformed_has_no_gap_in_it() {
    let range = Nanos(0)..Nanos(100 * SECOND);
    let (samples, rate) = unbroken(&blocks(&[1, 3, 4]), &range, 1 << 17);
    assert_eq!((samples.len(), rate), (2000, 1000.0));
    let half = Nanos(0)..Nanos(9 * SECOND / 2);
    let (samples, _) = unbroken(&blocks(&[3, 4]), &half, 1 << 17);
    assert_eq!(samples.len(), 1500);
    let (samples, _) = unbroken(&blocks(&[3, 4]), &range, 100);
    assert_eq!((samples.len(), samples[99]), (100, 1997.0));
    assert_eq!(unbroken(&[], &range, 100), (Vec::new(), 0.0));
}

#[test]
fn no_peak_is_lost_in_what_is_drawn() {
    let range = Nanos(0)..Nanos(100 * SECOND);
    let all = drawn(&blocks(&[3]), &range, 5000);
    assert_eq!((all.step, all.t.len(), all.t[1]), (1, 1000, 3001.0));
    let few = drawn(&blocks(&[3, 5]), &range, 10);
    assert_eq!((few.step, few.t.len()), (200, 11));
    assert_eq!((few.lo[0], few.hi[0]), (Some(-1.0), Some(397.0)));
    // Between the two blocks the line is broken.
    assert_eq!((few.lo[5], few.t[5]), (None, 5000.0));
    let late = Nanos(3 * SECOND + SECOND / 2)..Nanos(4 * SECOND);
    let part = drawn(&blocks(&[3]), &late, 5000);
    assert_eq!((part.t.len(), part.lo[0]), (500, Some(999.0)));
}
