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

#[test]
fn so_much_is_deleted_as_is_wished_and_allowed() {
    let all = u64::MAX;
    let table = [
        ("by age", Bounds { aged: 30, ..free() }, Some(29)),
        ("within a segment", Bounds { aged: 29, ..free() }, Some(19)),
        (
            "everything",
            Bounds {
                aged: all,
                ..free()
            },
            Some(39),
        ),
        (
            "a pin",
            Bounds {
                aged: all,
                kept: 25,
                ..free()
            },
            Some(19),
        ),
        (
            "a pin at a segment's end",
            Bounds {
                aged: all,
                kept: 29,
                ..free()
            },
            Some(19),
        ),
        (
            "a pin behind it",
            Bounds {
                aged: all,
                kept: 30,
                ..free()
            },
            Some(29),
        ),
        (
            "a pin in the first",
            Bounds {
                aged: all,
                kept: 19,
                ..free()
            },
            None,
        ),
        (
            "a session",
            Bounds {
                aged: all,
                session: 22,
                ..free()
            },
            Some(19),
        ),
        (
            "a session beyond its limit",
            Bounds {
                aged: all,
                session: 22,
                session_limit: 32,
                ..free()
            },
            Some(29),
        ),
        (
            "its limit frees nothing of a pin",
            Bounds {
                aged: all,
                session: 22,
                session_limit: 32,
                kept: 24,
                ..free()
            },
            Some(19),
        ),
        // The file before the checkpoint goes: one is kept.
        (
            "a byte",
            Bounds {
                wanted: 1,
                ..free()
            },
            Some(29),
        ),
        (
            "a segment",
            Bounds {
                wanted: 100,
                ..free()
            },
            Some(29),
        ),
        (
            "more",
            Bounds {
                wanted: 101,
                ..free()
            },
            Some(39),
        ),
        (
            "more than there is",
            Bounds {
                wanted: 9000,
                ..free()
            },
            Some(39),
        ),
        (
            "age and bytes",
            Bounds {
                wanted: 1,
                aged: all,
                ..free()
            },
            Some(39),
        ),
    ];
    for (name, bounds, expected) in table {
        assert_eq!(
            choose(bounds, &CHECKPOINTS, &segments()),
            expected,
            "{name}"
        );
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
