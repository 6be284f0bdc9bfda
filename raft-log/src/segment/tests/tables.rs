//! The byte tables, pinned: files of one release are read by the next.

use std::sync::Arc;

use super::super::disk::Disk;
use super::super::footer::{Footer, Point};
use super::super::frame::{self, HEAD_BYTES, Head, LAST_OF_SEGMENT};
use super::super::header::{HEADER_BYTES, Header, Unusable};
use super::super::layout::{Identity, parse_segment_name, segment_name, size};
use super::super::logical::{Logical, Place, Start};
use super::super::slots::{self, Slots};
use super::*;

const IDENTITY: Identity = Identity {
    cluster: 1,
    node: 2,
};

#[test]
fn names_sort_and_are_parsed_strictly() {
    assert_eq!(
        segment_name(7, 3),
        "segment-00000000000000000007-0000000003.log"
    );
    assert_eq!(
        parse_segment_name(&segment_name(u64::MAX, u32::MAX)),
        Some((u64::MAX, u32::MAX))
    );
    for name in [
        "LOCK",
        "vote.slots",
        "segment-7-3.log",
        "segment-00000000000000000007-0.log",
    ] {
        assert_eq!(parse_segment_name(name), None);
    }
}

#[test]
fn seeds_differ_by_cluster_node_and_generation() {
    let seeds = [
        IDENTITY.seed(1),
        IDENTITY.seed(2),
        Identity {
            cluster: 2,
            ..IDENTITY
        }
        .seed(1),
        Identity {
            node: 1,
            ..IDENTITY
        }
        .seed(1),
    ];
    for (i, seed) in seeds.iter().enumerate() {
        assert!(!seeds[..i].contains(seed));
    }
}

#[test]
fn a_frame_is_stored_as_documented() {
    let frame = Frame {
        index: 0x11,
        term: 0x22,
        leader: 0x33,
        kind: 0x44,
        body: "hello".into(),
    };
    let (head, crc) = frame::encode(&frame, LAST_OF_SEGMENT, 0x55, 0x66, IDENTITY.seed(1));
    let mut expected = [0; HEAD_BYTES];
    let fields = [
        (0, 5),
        (8, 0x66),
        (12, 0x44),
        (13, 1),
        (16, 0x11),
        (24, 0x22),
        (32, 0x33),
    ];
    for (at, byte) in fields.into_iter().chain([(40, 0x55)]) {
        expected[at] = byte;
    }
    expected[4..8].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(head, expected);
    let stored = [&head[..], b"hello", &[0; 3]].concat();
    assert_eq!((frame.stored_bytes(), stored.len()), (56, 56));
    let head = Head::decode(&stored);
    assert!(head.verify(&stored, IDENTITY.seed(1)) && !head.verify(&stored, IDENTITY.seed(2)));
    assert_eq!(head.frame(&stored.into()), frame);
}

#[test]
fn files_keep_their_format() {
    let previous = Some(LogPosition {
        index: 8,
        term: 4,
        leader: 5,
    });
    let header = Header {
        identity: IDENTITY,
        generation: 3,
        base: 9,
        previous,
    };
    let bytes = header.encode();
    assert_eq!(Header::decode(&bytes), Ok(header));
    let points: Vec<_> = [(9, 4096), (12, 70_000)]
        .into_iter()
        .map(|(index, offset)| Point::new(9, index, offset).unwrap())
        .collect();
    let footer = Footer::encode(80_000, at(20, 4), 77, &points, 5);
    let disk = FaultyDisk::default();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut slots = Slots::create(&shared, IDENTITY).unwrap();
    slots.record.vote = Some(b"me".to_vec());
    slots.record.purged = previous;
    slots.record.durable_end = 21;
    slots.write().unwrap();
    let crcs = [bytes, footer, disk.get(slots::NAME)].map(|bytes| crc32c::crc32c(&bytes));
    // A change here needs a new format version, golden files of it, and code that reads the old one.
    assert_eq!(crcs, PINNED);
}

const PINNED: [u32; 3] = [2_911_037_684, 2_618_984_578, 4_159_161_762];

#[test]
fn a_newer_header_is_not_called_damaged() {
    let header = Header {
        identity: IDENTITY,
        generation: 1,
        base: 0,
        previous: None,
    };
    let mut bytes = header.encode();
    bytes[8] = 9;
    assert_eq!(Header::decode(&bytes), Err(Unusable::Damaged));
    let crc = super::super::layout::crc_around(0, &bytes, 12);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    assert_eq!(Header::decode(&bytes), Err(Unusable::Version(9)));
}

#[test]
fn frames_leave_the_cache_when_flushed() {
    let start = Start {
        bases: [0].into(),
        open_bytes: 4096,
        ..Start::default()
    };
    let mut log = Logical::new(start, 1 << 20, 2000);
    let (_, first) = log.append(frames(0..3, 1, 1000)).unwrap();
    let (_, second) = log.append(frames(3..6, 1, 1000)).unwrap();
    assert_eq!(log.cache_start(), 0);
    log.flushed(first);
    assert_eq!(log.cache_start(), 3);
    // The same indexes again, of which nothing is on the disk yet.
    log.truncate(Some(at(3, 1))).unwrap();
    let (_, third) = log.append(frames(4..7, 2, 1000)).unwrap();
    log.flushed(second);
    assert_eq!(log.cache_start(), 4);
    log.flushed(third);
    assert_eq!(log.cache_start(), 6);
    assert_eq!(log.place(6).unwrap(), Place::Known(at(6, 2)));
    assert_eq!(log.place(2).unwrap(), Place::OnDisk);
}

/// The rows of the tables below a heading of `docs/log-format.md`: offset and size.
fn documented(heading: &str) -> Vec<(usize, usize)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/log-format.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, section) = text.split_once(heading).unwrap();
    let section = section.split("\n#").next().unwrap();
    let number = |cell: Option<&str>| cell?.trim().parse().ok();
    let row = |line: &str| {
        let mut cells = line.strip_prefix('|')?.split('|');
        Some((number(cells.next())?, number(cells.next())?))
    };
    section.lines().filter_map(row).collect()
}

#[test]
fn the_format_is_documented_without_a_gap() {
    for (heading, bytes) in [
        ("### Header", size(HEADER_BYTES)),
        ("### Frame", HEAD_BYTES),
        ("### Footer", 64),
        ("## `vote.slots`", 136),
    ] {
        let rows = documented(heading);
        let end = rows.iter().fold(0, |end, (offset, size)| {
            assert_eq!(*offset, end, "{heading}");
            offset + size
        });
        assert_eq!(end, bytes, "{heading}");
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..3000)) {
        super::super::fuzz::read_anything(&bytes);
    }

    /// Heads that claim to follow, so that more than the first check is passed.
    #[test]
    fn any_heads_are_read(
        heads in proptest::collection::vec((0..5000u32, 5..9u64, proptest::prelude::any::<u64>()), 1..40),
        durable_end in 0..20u64,
    ) {
        let mut bytes = Vec::new();
        for (length, index, rest) in heads {
            let mut head = [0; HEAD_BYTES];
            head[..4].copy_from_slice(&length.to_le_bytes());
            head[4..12].copy_from_slice(&rest.to_le_bytes());
            head[16..24].copy_from_slice(&index.to_le_bytes());
            head[40..].copy_from_slice(&durable_end.to_le_bytes());
            bytes.extend(head);
        }
        super::super::fuzz::read_anything(&bytes);
    }
}
