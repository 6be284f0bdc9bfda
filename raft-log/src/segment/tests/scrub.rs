//! The scrub, at a pace for tests.

use super::super::header::HEADER_BYTES;
use super::super::layout::size;
use super::space::until;
use super::*;

fn scrubbed() -> (FaultyDisk, Options) {
    let disk = FaultyDisk::default();
    let options = Options {
        scrub_every: Duration::from_millis(5),
        ..options(8 << 10)
    };
    (disk, options)
}

/// Flips a bit of the second segment, from outside.
fn damage(disk: &FaultyDisk, log: &Segments, at: usize) -> String {
    let segment = log.segments()[1].clone();
    assert!(segment.sealed);
    let name = segment
        .path
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    disk.flip(&name, at);
    name
}

#[test]
fn a_damaged_segment_is_named_and_not_served() {
    let (disk, options) = scrubbed();
    let (log, _) = open(&disk, &options);
    append(&log, frames(0..30, 1, 1000));
    let third = size(HEADER_BYTES) + 2 * 1048;
    let name = damage(&disk, &log, third + 500);
    until(|| !log.damaged().is_empty());
    let damaged = log.damaged();
    let bad = &damaged[0];
    assert_eq!(damaged.len(), 1);
    assert!(bad.path.ends_with(&name));
    let segment = &log.segments()[1];
    assert_eq!(
        (Some(bad.first_index), Some(bad.last_index)),
        (Some(segment.first_index), segment.last_index)
    );
    assert_eq!(bad.offset, third as u64);
    let error = log
        .read(bad.first_index + 2..bad.last_index, 0)
        .unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    // It is gone with the segment.
    purge(&log, at(bad.last_index, 1));
    assert_eq!(log.damaged(), []);
}

#[test]
fn header_and_footer_are_scrubbed_too() {
    for at in [100, usize::MAX] {
        let (disk, options) = scrubbed();
        let (log, _) = open(&disk, &options);
        append(&log, frames(0..30, 1, 1000));
        let len = disk
            .get(
                log.segments()[1]
                    .path
                    .file_name()
                    .unwrap()
                    .to_str()
                    .unwrap(),
            )
            .len();
        damage(&disk, &log, at.min(len - 20));
        until(|| !log.damaged().is_empty());
        assert_eq!(log.damaged().len(), 1);
    }
}
