//! A directory as the first version wrote it, which every later one opens.

use std::path::Path;

use tempfile::tempdir;

use super::super::inspect::{Depth, SegmentKind, inspect};
use super::*;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1");

fn golden_options(directory: &Path) -> Options {
    Options {
        directory: directory.into(),
        cluster: 0x00c0_ffee,
        node: 0xbeef,
        ..options(6000)
    }
}

fn golden_frames() -> Vec<Frame> {
    [frames(8..27, 1, 200), frames(27..44, 3, 300)].concat()
}

/// Writes it. Only ever run for a new format version, into a new directory:
/// `cargo test -p updraft-raft-log write_golden -- --ignored`
#[test]
#[ignore = "writes the golden files, which are not to change"]
fn write_golden() {
    let directory = Path::new(GOLDEN);
    assert!(!directory.exists(), "golden files are never written again");
    let (log, _) = Segments::open(golden_options(directory)).unwrap();
    for chunk in frames(0..40, 1, 200).chunks(3) {
        append(&log, chunk.to_vec());
    }
    vote(&log, b"a vote for node 3");
    truncate(&log, Some(26));
    append(&log, frames(27..44, 3, 300));
    log.set_committed(at(30, 3));
    purge(&log, at(12, 1));
    log.close();
    std::fs::remove_file(directory.join("LOCK")).unwrap();
}

fn copy_golden(to: &Path) {
    for entry in std::fs::read_dir(GOLDEN).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn files_of_the_first_version_are_read() {
    let directory = tempdir().unwrap();
    copy_golden(directory.path());
    let found = inspect(directory.path(), Depth::Frames, false).unwrap();
    assert_eq!(found.problems, []);
    assert_eq!(found.owner, Some((0x00c0_ffee, 0xbeef)));
    let sealed = |kind| found.segments.iter().filter(|s| s.kind == kind).count();
    assert!(sealed(SegmentKind::Sealed) >= 3 && sealed(SegmentKind::Open) == 1);
    assert_eq!(found.spares.len(), 1);
    let slots = found.slots.unwrap();
    assert_eq!(slots.vote.as_deref(), Some(&b"a vote for node 3"[..]));
    assert_eq!((slots.cut_end, slots.durable_end), (27, 44));
    // Looking has changed nothing, not even by a LOCK file.
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let golden = std::fs::read(Path::new(GOLDEN).join(entry.file_name())).unwrap();
        assert_eq!(std::fs::read(entry.path()).unwrap(), golden);
    }

    let (log, recovered) = Segments::open(golden_options(directory.path())).unwrap();
    assert_eq!(recovered.vote.as_deref(), Some(&b"a vote for node 3"[..]));
    assert_eq!(
        (recovered.purged, recovered.last),
        (Some(at(12, 1)), Some(at(43, 3)))
    );
    assert_eq!(recovered.committed, Some(at(30, 3)));
    assert_eq!(recovered.found(), "nothing to repair");
    let mut expected: Vec<Frame> = golden_frames();
    expected.retain(|frame| frame.index > 12);
    assert_eq!(read_all(&log).unwrap(), expected);
    for segment in log.segments() {
        log.scrub(segment.first_index).unwrap();
    }
    append(&log, frames(44..60, 4, 300));
    expected.extend(frames(44..60, 4, 300));
    log.close();
    let (log, _) = Segments::open(golden_options(directory.path())).unwrap();
    assert_eq!(read_all(&log).unwrap(), expected);
}

#[test]
fn a_directory_in_use_is_not_looked_at_unless_asked_for() {
    let directory = tempdir().unwrap();
    copy_golden(directory.path());
    let (log, _) = Segments::open(golden_options(directory.path())).unwrap();
    let error = inspect(directory.path(), Depth::Frames, false).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    let found = inspect(directory.path(), Depth::Frames, true).unwrap();
    assert_eq!(found.problems, []);
    log.close();
    // Two may look at once, and no node starts meanwhile.
    inspect(directory.path(), Depth::Shape, false).unwrap();
    let error = inspect(Path::new("/nonexistent"), Depth::Shape, false).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("give the data directory of a node"),
        "{error}"
    );
}

#[test]
fn every_flipped_bit_is_seen_from_outside() {
    let directory = tempdir().unwrap();
    copy_golden(directory.path());
    let whole = inspect(directory.path(), Depth::Frames, false).unwrap();
    let mut seen = 0;
    for segment in &whole.segments {
        let path = directory.path().join(&segment.file);
        let bytes = std::fs::read(&path).unwrap();
        let used = usize::try_from(segment.used_bytes).unwrap();
        let footer = match segment.kind {
            SegmentKind::Sealed => bytes.len() - 72..bytes.len(),
            _ => 0..0,
        };
        for at in (0..used).step_by(41).chain(footer.step_by(5)) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            std::fs::write(&path, flipped).unwrap();
            let found = inspect(directory.path(), Depth::Frames, false).unwrap();
            assert!(!found.problems.is_empty(), "{} byte {at}", segment.file);
            seen += 1;
        }
        std::fs::write(&path, &bytes).unwrap();
    }
    assert!(seen > 500, "{seen}");
}
