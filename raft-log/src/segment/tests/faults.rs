//! Disks that fail.

use std::io::ErrorKind;

use super::*;

#[test]
fn the_first_error_answers_everything() {
    // A sync that says the disk is full has failed like any other.
    for (kind, after) in [
        (ErrorKind::Other, 0),
        (ErrorKind::Other, 1),
        (ErrorKind::StorageFull, 1),
    ] {
        let disk = FaultyDisk::default();
        let (log, _) = open(&disk, &options(1 << 20));
        append(&log, frames(0..3, 1, 100));
        disk.fail_after(after, kind);
        let first = start_append(&log, frames(3..4, 1, 100))
            .recv()
            .unwrap()
            .unwrap_err();
        assert!(matches!(first, Error::Io { .. }), "{first}");
        let same = |error: Error| assert_eq!(error.to_string(), first.to_string());
        same(block_on(log.append(frames(4..5, 1, 8), drop)).unwrap_err());
        same(log.save_vote(vec![1], drop).unwrap_err());
        same(log.truncate_after(Some(1), drop).unwrap_err());
        same(log.purge(at(1, 1), drop).unwrap_err());
        same(read_all(&log).unwrap_err());
        log.close();
        same(read_all(&log).unwrap_err());
    }
}

/// Nobody waits for the write that comes of idleness, so nobody else would notice.
#[test]
fn an_error_while_idle_is_told() {
    let options = Options {
        idle: Duration::from_millis(1),
        ..options(1 << 20)
    };
    // The first change after those of the start is the durable mark.
    let log = (0..100).find_map(|after| {
        let disk = FaultyDisk::default();
        disk.fail_after(after, ErrorKind::Other);
        try_open(&disk, &options).ok()
    });
    let (log, _) = log.unwrap();
    assert!(matches!(block_on(log.stopped()), Error::Io { .. }));
}

#[test]
fn an_error_reaches_all_that_wait() {
    let disk = FaultyDisk::default();
    let (log, _) = open(&disk, &options(1 << 20));
    disk.fail_after(0, ErrorKind::Other);
    let mut waiting = vec![start_append(&log, frames(0..3, 1, 100))];
    for request in 0..3 {
        let (sender, receiver) = channel();
        let done = move |result| sender.send(result).unwrap();
        let started = match request {
            0 => log.save_vote(vec![1], done),
            1 => log.truncate_after(Some(1), done),
            _ => log.purge(at(0, 1), done),
        };
        if started.is_ok() {
            waiting.push(receiver);
        }
    }
    for receiver in waiting {
        assert!(receiver.recv().unwrap().is_err());
    }
}

#[test]
fn frames_of_a_failed_sync_are_written_again() {
    // After the failure the page cache shows the frame and calls it clean. A restart that took
    // it for durable would lose it with the next power cut.
    let disk = FaultyDisk::default();
    let options = options(1 << 20);
    let (log, _) = open(&disk, &options);
    append(&log, frames(0..3, 1, 100));
    disk.fail_after(1, ErrorKind::Other);
    start_append(&log, frames(3..5, 1, 100))
        .recv()
        .unwrap()
        .unwrap_err();
    log.close();
    disk.heal();
    let (log, recovered) = open(&disk, &options);
    assert_eq!(recovered.last, Some(at(4, 1)));
    disk.power_off();
    log.close();
    disk.restart(7);
    let (log, recovered) = open(&disk, &options);
    assert_eq!(recovered.last, Some(at(4, 1)));
    assert_eq!(read_all(&log).unwrap(), frames(0..5, 1, 100));
}

#[test]
fn a_start_that_is_interrupted_can_be_repeated() {
    // A cut over three segments, stopped after every number of changes, and the start that
    // finishes it stopped after every number of its own.
    for changes in 0..14 {
        for start_changes in 0..12 {
            let disk = FaultyDisk::default();
            let options = options(6000);
            let (log, _) = open(&disk, &options);
            append(&log, frames(0..30, 1, 500));
            disk.power_off_after(changes);
            let cut = start(|done| log.truncate_after(Some(4), done))
                .recv()
                .unwrap();
            disk.power_off();
            log.close();
            disk.restart(changes);
            disk.power_off_after(start_changes);
            if let Ok((log, _)) = try_open(&disk, &options) {
                log.close();
            }
            disk.restart(start_changes);
            let (log, _) = open(&disk, &options);
            let found = read_all(&log).unwrap();
            let whole = found == frames(0..30, 1, 500);
            assert!(found == frames(0..5, 1, 500) || whole && cut.is_err());
            log.close();
        }
    }
}
