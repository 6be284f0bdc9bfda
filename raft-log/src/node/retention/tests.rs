use std::path::PathBuf;

use super::*;

/// Three full segments of 100 bytes with ten entries each, and an open one.
fn segments() -> Vec<SegmentInfo> {
    let segment = |first_index: u64| SegmentInfo {
        first_index,
        last_index: Some(first_index + 9),
        bytes: 100,
        sealed: first_index < 40,
        path: PathBuf::new(),
    };
    [10, 20, 30, 40].map(segment).to_vec()
}

/// At the ends of the full segments.
const CHECKPOINTS: [u64; 3] = [19, 29, 39];

fn free() -> Bounds {
    Bounds {
        kept: u64::MAX,
        session: u64::MAX,
        ..Bounds::default()
    }
}

#[test]
fn records_stay_as_long_as_there_is_room() {
    assert_eq!(choose(free(), &CHECKPOINTS, &segments()), None);
}

/// Nothing pins; what is older than `aged` should go, and so many bytes.
fn wish(aged: u64, wanted: u64) -> Bounds {
    Bounds {
        aged,
        wanted,
        ..free()
    }
}

/// Everything should go; a cursor pins `kept`, and a session is at `session`, with its limit.
fn pinned(kept: u64, session: u64, session_limit: u64) -> Bounds {
    Bounds {
        kept,
        session,
        session_limit,
        ..wish(ALL, 0)
    }
}

const ALL: u64 = u64::MAX;

#[test]
fn so_much_is_deleted_as_is_wished_and_allowed() {
    let table = [
        ("by age", wish(30, 0), Some(29)),
        ("within a segment", wish(29, 0), Some(19)),
        ("everything", wish(ALL, 0), Some(39)),
        // The file before the checkpoint goes: one is kept.
        ("a byte", wish(0, 1), Some(29)),
        ("a segment", wish(0, 100), Some(29)),
        ("more", wish(0, 101), Some(39)),
        ("more than there is", wish(0, 9000), Some(39)),
        ("age and bytes", wish(ALL, 1), Some(39)),
        ("a pin", pinned(25, ALL, 0), Some(19)),
        ("a pin at a segment's end", pinned(29, ALL, 0), Some(19)),
        ("a pin behind it", pinned(30, ALL, 0), Some(29)),
        ("a pin in the first", pinned(19, ALL, 0), None),
        ("a session", pinned(ALL, 22, 0), Some(19)),
        ("one beyond its limit", pinned(ALL, 22, 32), Some(29)),
        ("which frees nothing of a pin", pinned(24, 22, 32), Some(19)),
    ];
    for (name, bounds, expected) in table {
        let chosen = choose(bounds, &CHECKPOINTS, &segments());
        assert_eq!(chosen, expected, "{name}");
    }
}

#[test]
fn sessions_hold_back_a_share_of_the_bytes() {
    let table = [
        (0, 40),
        (100, 40),
        (199, 40),
        (200, 30),
        (350, 20),
        (4000, 10),
    ];
    for (bytes, begin) in table {
        assert_eq!(newest_bytes(bytes, &segments()), begin, "{bytes}");
    }
    assert_eq!(newest_bytes(1, &[]), u64::MAX);
}

#[test]
fn ages_are_told_in_a_unit_that_fits() {
    let second = 1_000_000_000;
    let table = [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7200, "2 h"),
        (691_200, "8 d"),
    ];
    for (seconds, text) in table {
        assert_eq!(age(seconds * second), text);
    }
}
