//! What callers see while nothing fails.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use futures::FutureExt;
use tempfile::tempdir;

use super::*;

#[test]
fn a_log_on_the_real_disk_is_there_again() {
    let directory = tempdir().unwrap();
    let options = Options {
        directory: directory.path().join("new/log"),
        ..options(8 << 10)
    };
    let written = frames(0..40, 1, 900);
    {
        let (log, recovered) = Segments::open(options.clone()).unwrap();
        assert_eq!(
            recovered,
            Recovered {
                segments: 1,
                ..Recovered::default()
            }
        );
        append(&log, written.clone());
        vote(&log, b"for me");
        log.set_committed(at(30, 1));
        assert_eq!(read_all(&log).unwrap(), written);
        log.close();
    }
    let (log, recovered) = Segments::open(options).unwrap();
    assert_eq!(recovered.vote.as_deref(), Some(&b"for me"[..]));
    assert_eq!(
        (recovered.committed, recovered.last),
        (Some(at(30, 1)), Some(at(39, 1)))
    );
    assert_eq!((recovered.torn_bytes, recovered.slot_damaged), (0, false));
    assert_eq!(read_all(&log).unwrap(), written);
    for segment in log.segments() {
        assert_eq!(
            std::fs::metadata(&segment.path).unwrap().len(),
            segment.bytes
        );
        log.scrub(segment.first_index).unwrap();
    }
}

#[test]
fn a_directory_is_open_once_and_for_one_node() {
    let directory = tempdir().unwrap();
    let options = Options {
        directory: directory.path().into(),
        ..options(4096)
    };
    let (log, _) = Segments::open(options.clone()).unwrap();
    let second = Segments::open(options.clone()).unwrap_err();
    assert!(
        matches!(&second, Error::Locked { directory: d } if d == directory.path()),
        "{second}"
    );
    log.close();
    let error = Segments::open(Options {
        node: 3,
        ..options.clone()
    })
    .unwrap_err();
    assert!(
        matches!(error, Error::Foreign { what: "node", .. }),
        "{error}"
    );
    let error = Segments::open(Options {
        cluster: 3,
        ..options.clone()
    })
    .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Foreign {
                what: "cluster",
                ..
            }
        ),
        "{error}"
    );
    let error = Segments::open(Options {
        segment_bytes: 4095,
        ..options.clone()
    })
    .unwrap_err();
    assert!(matches!(error, Error::SegmentTooSmall { .. }), "{error}");
    Segments::open(options).unwrap();
}

#[test]
fn segments_are_sealed_when_full() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk, &options(4096 + 3 * 1048));
    append(&log, frames(0..2, 1, 1000));
    assert_eq!(log.segment_end(1), None);
    let pending = start_append(&log, frames(2..8, 1, 1000));
    // Known before the writer has come to it.
    let ends: Vec<_> = (0..9).map(|index| log.segment_end(index)).collect();
    let (a, b) = (Some(2), Some(5));
    assert_eq!(ends, [a, a, a, b, b, b, None, None, None]);
    pending.recv().unwrap().unwrap();
    log.close();
    let (log, recovered) = open(&disk, &options(1 << 20));
    assert_eq!(recovered.segments, 3);
    let infos = log.segments();
    let shape: Vec<_> = infos
        .iter()
        .map(|s| (s.first_index, s.last_index, s.sealed))
        .collect();
    assert_eq!(
        shape,
        [(0, Some(2), true), (3, Some(5), true), (6, Some(7), false)]
    );
    assert_eq!((log.segment_end(4), log.segment_end(7)), (Some(5), None));
}

#[test]
fn reads_stop_at_the_limit_but_return_one_frame() {
    for cache_bytes in [0, 1 << 20] {
        let disk = FaultyDisk::default();
        let (log, _) = open(
            &disk,
            &Options {
                cache_bytes,
                ..options(8 << 10)
            },
        );
        append(&log, frames(0..100, 1, 500));
        let read = |range, max| -> Vec<u64> {
            log.read(range, max)
                .unwrap()
                .iter()
                .map(|f| f.index)
                .collect()
        };
        assert_eq!(read(7..90, 0), [7]);
        assert_eq!(read(7..90, 1499), [7, 8]);
        assert_eq!(read(7..90, 1500), [7, 8, 9]);
        assert_eq!(read(13..20, usize::MAX), [13, 14, 15, 16, 17, 18, 19]);
        assert_eq!(read(98..200, usize::MAX), [98, 99]);
        assert_eq!(read(100..200, usize::MAX), [0; 0]);
        let (from, to) = (5, 5);
        assert_eq!(read(from..to, usize::MAX), [0; 0]);
    }
}

#[test]
fn large_and_empty_bodies_are_kept() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk, &options(64 << 10));
    let sizes = [0, 1, 7, 8, 9, 70_000, 0, 3_000_000, 5];
    let written: Vec<_> = (0..)
        .zip(sizes)
        .map(|(i, bytes)| frame(i, 1, bytes.max(8)))
        .collect();
    let written: Vec<_> = written
        .into_iter()
        .zip(sizes)
        .map(|(frame, bytes)| Frame {
            body: frame.body.slice(..bytes),
            ..frame
        })
        .collect();
    append(&log, written.clone());
    assert_eq!(read_all(&log).unwrap(), written);
    log.close();
    let (log, _) = open(&disk, &options(64 << 10));
    assert_eq!(read_all(&log).unwrap(), written);
    let error = block_on(log.append(vec![frame(9, 1, MAX_BODY_BYTES + 1)], drop)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                what: "frame body",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn appends_continue_the_log() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk, &options(8 << 10));
    append(&log, frames(0..3, 1, 8));
    for wrong in [
        frames(4..5, 1, 8),
        frames(2..3, 1, 8),
        vec![frame(3, 1, 8), frame(5, 1, 8)],
    ] {
        let error = block_on(log.append(wrong, drop)).unwrap_err();
        assert!(matches!(error, Error::OutOfOrder { .. }), "{error}");
    }
    append(&log, Vec::new());
    append(&log, frames(3..4, 1, 8));
    assert_eq!(read_all(&log).unwrap(), frames(0..4, 1, 8));
}

#[test]
fn an_empty_log_begins_at_any_index() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk, &options(8 << 10));
    append(&log, frames(5..8, 1, 8));
    purge(&log, at(3, 1));
    assert_eq!(log.bounds().first, 5);
    log.close();
    let (log, _) = open(&disk, &options(8 << 10));
    assert_eq!(read_all(&log).unwrap(), frames(5..8, 1, 8));
    truncate(&log, None);
    assert_eq!((log.bounds().end, log.bounds().last), (4, Some(at(3, 1))));
    append(&log, frames(4..6, 2, 8));
    log.close();
    let (log, _) = open(&disk, &options(8 << 10));
    assert_eq!(read_all(&log).unwrap(), frames(4..6, 2, 8));
}

#[test]
fn truncated_frames_are_gone_at_once() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk, &options(8 << 10));
    append(&log, frames(0..30, 1, 1000));
    let cut = start(|done| log.truncate_after(Some(9), done));
    let again = start_append(&log, frames(10..12, 2, 1000));
    let expected = [frames(0..10, 1, 1000), frames(10..12, 2, 1000)].concat();
    assert_eq!(read_all(&log).unwrap(), expected);
    cut.recv().unwrap().unwrap();
    again.recv().unwrap().unwrap();
    assert_eq!(log.segment_end(9), Some(9));
    assert_eq!(read_all(&log).unwrap(), expected);
    log.close();
    let (log, recovered) = open(&disk, &options(8 << 10));
    assert_eq!(recovered.last, Some(at(11, 2)));
    assert_eq!(read_all(&log).unwrap(), expected);
    log.scrub(log.segments()[0].first_index).unwrap();
}

#[test]
fn what_was_purged_is_not_read_and_its_files_go() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk, &options(8 << 10));
    append(&log, frames(0..30, 1, 1000));
    let before = disk.names().len();
    purge(&log, at(19, 1));
    assert_eq!(read_all(&log).unwrap(), frames(20..30, 1, 1000));
    purge(&log, at(3, 1));
    assert_eq!(log.bounds().purged, Some(at(19, 1)));
    let error = wait(|done| log.truncate_after(Some(5), done)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Purged {
                index: 5,
                first: 20
            }
        ),
        "{error}"
    );
    log.close();
    assert!(disk.names().len() < before);
    let (log, recovered) = open(&disk, &options(8 << 10));
    assert_eq!(recovered.purged, Some(at(19, 1)));
    assert_eq!(read_all(&log).unwrap(), frames(20..30, 1, 1000));
}

#[test]
fn a_purge_beyond_the_end_moves_the_log_there() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk, &options(8 << 10));
    append(&log, frames(0..30, 1, 1000));
    purge(&log, at(99, 4));
    assert_eq!(log.bounds().last, Some(at(99, 4)));
    append(&log, frames(100..103, 4, 1000));
    log.close();
    // The slots, the open segment, and a file that is kept for the next.
    assert_eq!(disk.names().len(), 3);
    let (log, recovered) = open(&disk, &options(8 << 10));
    assert_eq!(
        (recovered.purged, recovered.last),
        (Some(at(99, 4)), Some(at(102, 4)))
    );
    assert_eq!(read_all(&log).unwrap(), frames(100..103, 4, 1000));
}

#[test]
fn appends_wait_for_room_and_answers_keep_their_order() {
    let disk = FaultyDisk::default();
    let (log, _) = open(
        &disk,
        &Options {
            waiting_bytes: 4000,
            ..options(1 << 20)
        },
    );
    // The writer is held in a callback, so nothing gets on.
    let (held, (release, gate)) = (channel(), channel::<()>());
    let held_sender = held.0;
    log.save_vote(vec![1], move |_| {
        held_sender.send(()).unwrap();
        gate.recv().unwrap();
    })
    .unwrap();
    held.1.recv().unwrap();
    let (sender, order) = channel();
    let send = |name: &'static str| {
        let sender = sender.clone();
        move |result: Result<(), Error>| sender.send((name, result.is_ok())).unwrap()
    };
    block_on(log.append(frames(0..3, 1, 1000), send("a"))).unwrap();
    let mut waiting = Box::pin(log.append(frames(3..5, 1, 1000), send("d")));
    assert!((&mut waiting).now_or_never().is_none());
    assert_eq!(log.bounds().end, 3);
    log.save_vote(vec![2], send("b")).unwrap();
    log.truncate_after(Some(2), send("c")).unwrap();
    release.send(()).unwrap();
    block_on(waiting).unwrap();
    let answers: Vec<_> = (0..4).map(|_| order.recv().unwrap()).collect();
    assert_eq!(
        answers,
        [("a", true), ("b", true), ("c", true), ("d", true)]
    );
}

#[test]
fn an_idle_writer_marks_what_is_durable() {
    let disk = FaultyDisk::default();
    let options = Options {
        // Longer than what lies between the last write and the commit below, on a busy machine.
        idle: Duration::from_millis(300),
        ..options(1 << 20)
    };
    let (log, _) = open(&disk, &options);
    append(&log, frames(0..3, 1, 100));
    vote(&log, b"me");
    log.set_committed(at(1, 1));
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        // What a power cut would leave now.
        let copy = disk.copy();
        let (other, recovered) = open(&copy, &options);
        other.close();
        if recovered.committed == Some(at(1, 1)) {
            assert_eq!(recovered.vote.as_deref(), Some(&b"me"[..]));
            return;
        }
        assert!(Instant::now() < deadline);
    }
}

#[test]
fn a_closed_log_refuses() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk, &options(1 << 20));
    append(&log, frames(0..3, 1, 100));
    log.close();
    log.close();
    assert!(matches!(read_all(&log), Err(Error::Closed)));
    assert!(matches!(
        block_on(log.append(frames(3..4, 1, 8), drop)),
        Err(Error::Closed)
    ));
    assert!(matches!(log.save_vote(vec![], drop), Err(Error::Closed)));
    let error = log
        .save_vote(vec![0; MAX_VOTE_BYTES + 1], drop)
        .unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { what: "vote", .. }),
        "{error}"
    );
}
