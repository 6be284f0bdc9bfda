//! Full disks, and files that are used again.

use std::time::Instant;

use super::super::layout::{parse_segment_name, parse_spare_name, prewritten_bytes};
use super::super::slots;
use super::*;
use futures::FutureExt;

pub(super) fn until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "it does not happen");
        std::thread::yield_now();
    }
}

fn generations(disk: &FaultyDisk) -> Vec<u32> {
    let names = disk.names();
    let segments = names.iter().filter_map(|name| parse_segment_name(name));
    segments.map(|(_, generation)| generation).collect()
}

fn has_spare(disk: &FaultyDisk) -> bool {
    disk.names()
        .iter()
        .any(|name| parse_spare_name(name).is_some())
}

/// A log on a disk without space that has used all it had: the last append waits.
fn stalled() -> (
    FaultyDisk,
    Options,
    Segments,
    Receiver<Result<(), Error>>,
    u64,
) {
    let disk = FaultyDisk::default();
    let options = options(8 << 10);
    let (log, _) = open(&disk, &options);
    append(&log, frames(0..10, 1, 1000));
    until(|| has_spare(&disk));
    disk.limit(Some(0));
    let mut next = 10;
    loop {
        let answer = start_append(&log, frames(next..next + 1, 1, 1000));
        next += 1;
        until(|| log.space().stalled || log.inner.shared.lock().log.all_flushed());
        // In this order: once it is stalled, nothing reaches the disk any more.
        let stalled = log.space().stalled;
        if stalled && !log.inner.shared.lock().log.all_flushed() {
            return (disk, options, log, answer, next);
        }
        answer.recv().unwrap().unwrap();
    }
}

#[test]
fn a_full_disk_stops_nothing_that_has_its_space() {
    let (disk, options, log, answer, end) = stalled();
    // About a segment was written after the disk was full.
    assert!(end - 10 >= 7, "{end}");
    let space = log.space();
    assert!(space.short && space.stalled, "{space:?}");
    assert!(answer.try_recv().is_err());
    assert_eq!(read_all(&log).unwrap(), frames(0..end, 1, 1000));
    // The machine restarts, and the disk is still full.
    log.close();
    assert!(answer.recv().unwrap().is_err());
    let copy = disk.copy();
    copy.limit(Some(0));
    let (log, recovered) = open(&copy, &options);
    assert!(recovered.last >= Some(at(end - 2, 1)));
    vote(&log, b"me");
    drop(log);
    drop(disk);
}

#[test]
fn what_is_durable_is_marked_while_the_disk_is_full() {
    let (disk, _, log, _answer, end) = stalled();
    let durable_end = || {
        let found = slots::look(&disk).unwrap().newest;
        found.map(|(_, _, record)| record.durable_end)
    };
    until(|| durable_end() == Some(end - 1));
    assert!(log.space().stalled);
    log.close();
}

#[test]
fn what_waits_for_space_goes_on_by_itself() {
    let (disk, options, log, answer, end) = stalled();
    let later = start(|done| log.save_vote(b"me".to_vec(), done));
    assert!(later.recv_timeout(Duration::from_millis(20)).is_err());
    disk.limit(None);
    answer.recv().unwrap().unwrap();
    later.recv().unwrap().unwrap();
    until(|| !log.space().stalled && !log.space().short);
    append(&log, frames(end..end + 20, 1, 1000));
    log.close();
    let (log, recovered) = open(&disk, &options);
    assert_eq!(recovered.vote.as_deref(), Some(&b"me"[..]));
    assert_eq!(read_all(&log).unwrap(), frames(0..end + 20, 1, 1000));
}

#[test]
fn a_purge_goes_first_and_frees_what_is_needed() {
    let (disk, options, log, answer, end) = stalled();
    purge(&log, at(9, 1));
    answer.recv().unwrap().unwrap();
    assert!(!log.space().short);
    log.close();
    let (log, recovered) = open(&disk, &options);
    assert_eq!(recovered.purged, Some(at(9, 1)));
    assert_eq!(read_all(&log).unwrap(), frames(10..end, 1, 1000));
}

#[test]
fn what_waits_is_bounded_and_a_close_does_not_wait_for_space() {
    let (disk, options, log, answer, end) = stalled();
    let options = Options {
        waiting_bytes: 1,
        ..options
    };
    log.close();
    let error = answer.recv().unwrap().unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    let (log, _) = open(&disk, &options);
    let end = log.bounds().end.min(end);
    let waiting: Vec<_> = (end..)
        .map(|index| Box::pin(log.append(vec![frame(index, 2, 1000)], |_| ())).now_or_never())
        .take_while(Option::is_some)
        .take(100)
        .collect();
    assert!(waiting.len() < 100);
}

#[test]
fn a_purged_file_is_the_next_segment_with_a_new_generation() {
    let disk = FaultyDisk::default();
    let options = options(8 << 10);
    let (log, _) = open(&disk, &options);
    let mut seen: Vec<u32> = Vec::new();
    for round in 0..20u64 {
        append(&log, frames(round * 8..round * 8 + 8, 1, 1000));
        purge(&log, at((round * 8).saturating_sub(1), 1));
        let highest = seen.iter().copied().max().unwrap_or_default();
        for generation in generations(&disk) {
            if !seen.contains(&generation) {
                assert!(generation > highest);
                seen.push(generation);
            }
        }
        if round % 7 == 6 {
            truncate(&log, Some(round * 8 + 3));
            append(&log, frames(round * 8 + 4..round * 8 + 8, 1, 1000));
        }
    }
    until(|| !log.inner.shared.lock().pool.has_retired());
    log.close();
    // The open one, one or two that hold something, and the one that is kept.
    assert!(disk.names().len() <= 5, "{:?}", disk.names());
    let used = log.space().used_bytes;
    let files: usize = disk.names().iter().map(|name| disk.get(name).len()).sum();
    assert_eq!(used, files as u64);
    let (log, _) = open(&disk, &options);
    assert_eq!(read_all(&log).unwrap(), frames(152..160, 1, 1000));
}

#[test]
fn stale_frames_behind_the_end_are_nothing() {
    // A file that is used again, of which the new segment has overwritten little.
    let disk = FaultyDisk::default();
    let options = options(16 << 10);
    let (log, _) = open(&disk, &options);
    append(&log, frames(0..30, 1, 1000));
    purge(&log, at(29, 1));
    append(&log, frames(30..42, 1, 1000));
    purge(&log, at(41, 1));
    append(&log, frames(42..43, 1, 1000));
    log.close();
    let (log, recovered) = open(&disk, &options);
    assert_eq!((recovered.torn_bytes, recovered.last), (0, Some(at(42, 1))));
    assert_eq!(read_all(&log).unwrap(), frames(42..43, 1, 1000));
}

#[test]
fn a_small_log_takes_little() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk, &options(64 << 20));
    append(&log, frames(0..10, 1, 1000));
    let space = log.space();
    assert!(space.used_bytes < 300 << 10, "{space:?}");
    assert!(
        space.spare_bytes > 200 << 10 && !space.short && !space.stalled,
        "{space:?}"
    );
    log.close();
    assert_eq!(disk.names().len(), 2);
    assert!(prewritten_bytes(64 << 20) < 67 << 20);
}

#[test]
fn half_made_files_are_removed() {
    let disk = FaultyDisk::default();
    let options = options(8 << 10);
    let (log, _) = open(&disk, &options);
    append(&log, frames(0..3, 1, 100));
    log.close();
    let spare = "spare-00000000000000000000-0000000077.log";
    disk.put(&format!("{spare}.new"), vec![0; 100]);
    disk.put(spare, vec![0; 100]);
    let (log, recovered) = open(&disk, &options);
    assert!(recovered.spares <= 1);
    append(&log, frames(3..30, 1, 1000));
    log.close();
    assert!(!disk.names().iter().any(|name| name.ends_with("77.log.new")));
    assert!(!disk.names().iter().any(|name| name == spare));
    assert!(
        generations(&disk)
            .iter()
            .skip(1)
            .all(|generation| *generation > 77)
    );
}
