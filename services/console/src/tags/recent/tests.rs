use proptest::prelude::*;

use super::*;

fn push(ring: &mut Ring, tag: u32, offset: u64, value: RecentValue) {
    let place = (Offset(offset), Nanos(0), Sequence(offset));
    ring.push(TagId(tag), place, Quality::GOOD, value);
}

fn offsets(ring: &Ring, tag: u32) -> Vec<u64> {
    ring.of(TagId(tag)).map(|entry| entry.offset.0).collect()
}

#[test]
fn the_oldest_make_room() {
    let mut ring = Ring::new(Offset(5), 10 * ENTRY_BYTES);
    assert_eq!(ring.from(), Offset(5));
    for (offset, tag) in (5..25).zip([2, 0, 1].into_iter().cycle()) {
        push(&mut ring, tag, offset, RecentValue::Float(1.0));
    }
    assert_eq!(ring.from(), Offset(15));
    assert_eq!(offsets(&ring, 0), [24, 21, 18, 15]);
    assert_eq!(offsets(&ring, 1), [22, 19, 16]);
    assert!(offsets(&ring, 9).is_empty());
    // One text as large as all else.
    push(
        &mut ring,
        1,
        25,
        RecentValue::Text("x".repeat(9 * ENTRY_BYTES).into()),
    );
    assert_eq!(offsets(&ring, 1), [25]);
    assert!(offsets(&ring, 0).is_empty());
    assert_eq!(ring.from(), Offset(25));
}

proptest! {
    /// The model is a list of all that was pushed.
    #[test]
    fn the_newest_of_each_tag(tags in prop::collection::vec(0..4_u32, 0..60), room in 1..30_usize) {
        let mut ring = Ring::new(Offset(0), room * ENTRY_BYTES);
        for (offset, tag) in (0..).zip(&tags) {
            push(&mut ring, *tag, offset, RecentValue::Null);
        }
        let first = tags.len().saturating_sub(room);
        prop_assert_eq!(ring.from().0, first as u64);
        for tag in 0..4 {
            let expected = (first..tags.len()).rev().filter(|at| tags[*at] == tag);
            let expected: Vec<u64> = expected.map(|at| at as u64).collect();
            prop_assert_eq!(offsets(&ring, tag), expected);
        }
    }
}
