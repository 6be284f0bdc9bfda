//! Bits that rot, tails that are torn, files that go missing.

use super::super::footer::POINT_EVERY;
use super::super::frame::HEAD_BYTES;
use super::super::header::HEADER_BYTES;
use super::super::layout::size;
use super::super::slots;
use super::*;

/// Two sealed segments and an open one, a vote, and the durable mark.
fn closed_log() -> (FaultyDisk, Options, Vec<Frame>) {
    let disk = FaultyDisk::default();
    let options = options(7000);
    let (log, _) = open(&disk, &options);
    let written = frames(0..26, 1, 200);
    for chunk in written.chunks(2) {
        append(&log, chunk.to_vec());
    }
    vote(&log, b"me");
    assert_eq!(log.segments().len(), 3);
    log.close();
    (disk, options, written)
}

/// Opens and reads everything there is to read: the first error, or what was found.
fn examine(disk: &FaultyDisk, options: &Options) -> Result<(Vec<Frame>, Recovered), Error> {
    let (log, recovered) = try_open(disk, options)?;
    for segment in log.segments() {
        log.scrub(segment.first_index)?;
    }
    let frames = read_all(&log)?;
    // A read returns what stands before the damage; it says so when it comes to it.
    let end = frames.last().map_or(0, |frame| frame.index + 1);
    log.read(end..u64::MAX, 0)?;
    log.close();
    Ok((frames, recovered))
}

fn segment_name(disk: &FaultyDisk, at: usize) -> String {
    disk.names()
        .into_iter()
        .filter(|name| name.starts_with("segment"))
        .nth(at)
        .unwrap()
}

fn flip(disk: &FaultyDisk, name: &str, byte: usize, bit: usize) {
    let mut bytes = disk.get(name);
    bytes[byte] ^= 1 << bit;
    disk.put(name, bytes);
}

fn corrupt(error: &Error) -> (&str, u64, u64, &str) {
    let Error::Corrupt {
        path,
        offset,
        index,
        what,
    } = error
    else {
        panic!("{error}")
    };
    (
        path.file_name().unwrap().to_str().unwrap(),
        *offset,
        *index,
        what,
    )
}

#[test]
fn every_flipped_bit_of_a_segment_is_noticed() {
    let (disk, options, written) = closed_log();
    let mut flips = 0;
    for segment in 0..3 {
        let name = segment_name(&disk, segment);
        // Every byte of frames and footer, some of the padding of the header, and of what lies
        // between, which holds nothing.
        let Regions {
            frames,
            unused,
            footer,
        } = regions(&disk.get(&name));
        let header = (0..90).chain((90..size(HEADER_BYTES)).step_by(97));
        for byte in header.chain(frames).chain(footer) {
            let copy = disk.copy();
            flip(&copy, &name, byte, byte % 8);
            let found = examine(&copy, &options);
            assert!(
                matches!(found, Err(Error::Corrupt { .. })),
                "{name} byte {byte}: {found:?}"
            );
            flips += 1;
        }
        for byte in unused.step_by(31) {
            let copy = disk.copy();
            flip(&copy, &name, byte, byte % 8);
            let (frames, recovered) = examine(&copy, &options).unwrap();
            assert_eq!((frames, recovered.torn_bytes), (written.clone(), 0));
        }
    }
    assert!(flips > 5000);
}

/// Where a segment of `closed_log` holds what.
struct Regions {
    frames: Range<usize>,
    unused: Range<usize>,
    footer: Range<usize>,
}

fn regions(file: &[u8]) -> Regions {
    let mut end = size(HEADER_BYTES);
    while file[end..end + 4] == 200u32.to_le_bytes() {
        end += HEAD_BYTES + 200;
    }
    // The zeros before the footer of one point.
    let sealed = file.ends_with(&[0; 4]) && file[file.len() - 64..].starts_with(b"UPDSEAL1");
    let footer = file.len() - if sealed { 72 } else { 0 };
    Regions {
        frames: size(HEADER_BYTES)..end,
        unused: end..footer,
        footer: footer..file.len(),
    }
}

#[test]
fn a_flipped_bit_of_a_vote_slot_costs_nothing() {
    let (disk, options, written) = closed_log();
    for byte in (0..8192).step_by(7).chain(0..140) {
        let copy = disk.copy();
        flip(&copy, slots::NAME, byte, byte % 8);
        let (frames, recovered) = examine(&copy, &options).unwrap();
        assert_eq!(
            (frames, recovered.torn_bytes),
            (written.clone(), 0),
            "byte {byte}"
        );
        assert_eq!(recovered.vote.as_deref(), Some(&b"me"[..]), "byte {byte}");
        assert!(recovered.slot_damaged);
    }
    flip(&disk, slots::NAME, 100, 0);
    flip(&disk, slots::NAME, 5000, 0);
    let error = examine(&disk, &options).unwrap_err();
    assert_eq!(corrupt(&error).0, slots::NAME);
}

#[test]
fn a_flipped_bit_of_a_spare_file_costs_nothing() {
    let (disk, options, written) = closed_log();
    let names = disk.names();
    let spare = names.iter().find(|name| name.starts_with("spare")).unwrap();
    for byte in (0..disk.get(spare).len()).step_by(211) {
        let copy = disk.copy();
        flip(&copy, spare, byte, byte % 8);
        // The file becomes the next segment, whatever it holds.
        let (log, _) = open(&copy, &options);
        append(&log, frames(26..50, 2, 200));
        log.close();
        let (frames_found, _) = examine(&copy, &options).unwrap();
        assert_eq!(
            frames_found,
            [written.clone(), frames(26..50, 2, 200)].concat()
        );
    }
}

#[test]
fn corruption_is_named() {
    let (disk, options, _) = closed_log();
    let name = segment_name(&disk, 1);
    let stored = HEAD_BYTES + 200;
    flip(&disk, &name, size(HEADER_BYTES) + 2 * stored + 60, 0);
    let (log, _) = try_open(&disk, &options).unwrap();
    let first = log.segments()[1].first_index;
    assert_eq!(log.read(first..u64::MAX, usize::MAX).unwrap().len(), 2);
    let error = log.read(first + 2..u64::MAX, usize::MAX).unwrap_err();
    let offset = HEADER_BYTES + 2 * stored as u64;
    let what = "the checksum of a frame differs";
    assert_eq!(corrupt(&error), (&*name, offset, first + 2, what));
}

#[test]
fn missing_files_are_noticed() {
    let (disk, options, _) = closed_log();
    let (first, second, third) = (
        segment_name(&disk, 0),
        segment_name(&disk, 1),
        segment_name(&disk, 2),
    );
    let sets: [&[&str]; 6] = [
        &[&first],
        &[&second],
        &[&third],
        &[&first, &second],
        &[&first, &second, &third],
        &[slots::NAME],
    ];
    for set in sets {
        let copy = disk.copy();
        for name in set {
            copy.remove(name);
        }
        corrupt(&examine(&copy, &options).unwrap_err());
    }
}

/// An open segment of five frames, two and three, whose last ones no mark knows.
fn unmarked_log() -> (FaultyDisk, Options) {
    unmarked_log_of(frames(2..5, 1, 100))
}

fn unmarked_log_of(second: Vec<Frame>) -> (FaultyDisk, Options) {
    let disk = FaultyDisk::default();
    let options = options(1 << 20);
    let (log, _) = open(&disk, &options);
    append(&log, frames(0..2, 1, 100));
    append(&log, second);
    disk.power_off();
    log.close();
    disk.restart(0);
    (disk, options)
}

#[test]
fn a_torn_tail_is_cut() {
    let (disk, options) = unmarked_log();
    let name = segment_name(&disk, 0);
    let whole = disk.get(&name);
    let stored = HEAD_BYTES + 104;
    for frames_left in 2..5 {
        let start = size(HEADER_BYTES) + frames_left * stored;
        for len in start..start + stored {
            let copy = disk.copy();
            copy.put(&name, whole[..len].to_vec());
            check_torn(
                &copy,
                &options,
                frames_left as u64,
                len - start,
                len - start,
            );
            let copy = disk.copy();
            let zeros = vec![0; whole.len() - len];
            copy.put(&name, [&whole[..len], &zeros].concat());
            check_torn(&copy, &options, frames_left as u64, len - start, stored);
        }
    }
}

/// Of the frame behind the last that is left there are `there` bytes, and then zeros up to `torn`.
fn check_torn(disk: &FaultyDisk, options: &Options, frames_left: u64, there: usize, torn: usize) {
    let (found, recovered) = examine(disk, options).unwrap();
    // The last bytes of a frame are padding and may be zero already.
    let (left, torn_bytes) = (found.len() as u64, size(recovered.torn_bytes));
    if left == frames_left {
        // Less than a head can't be told from what was there before.
        assert!(torn_bytes == torn || there < HEAD_BYTES && torn_bytes == 0);
    } else {
        assert_eq!(left, frames_left + 1);
    }
    assert_eq!(found, frames(0..left, 1, 100));
    let (log, recovered) = open(disk, options);
    assert_eq!(recovered.torn_bytes, 0);
    append(&log, frames(left..left + 2, 2, 50));
    log.close();
    assert_eq!(examine(disk, options).unwrap().0.len() as u64, left + 2);
}

#[test]
fn a_hole_in_an_unsynced_write_is_a_torn_tail() {
    // Pages reach the disk in any order: frame 3 is damaged and frame 4 is good.
    let (disk, options) = unmarked_log();
    let name = segment_name(&disk, 0);
    flip(
        &disk,
        &name,
        size(HEADER_BYTES) + 3 * (HEAD_BYTES + 104) + 50,
        0,
    );
    let (found, recovered) = examine(&disk, &options).unwrap();
    assert_eq!(found, frames(0..3, 1, 100));
    assert_eq!(recovered.torn_bytes, 2 * (HEAD_BYTES as u64 + 104));
}

#[test]
fn what_a_later_frame_knows_to_be_durable_is_not_cut() {
    let (disk, options) = unmarked_log();
    let name = segment_name(&disk, 0);
    for byte in size(HEADER_BYTES)..size(HEADER_BYTES) + 2 * (HEAD_BYTES + 104) {
        let copy = disk.copy();
        flip(&copy, &name, byte, byte % 8);
        let error = examine(&copy, &options).unwrap_err();
        assert!(
            corrupt(&error)
                .3
                .ends_with("a later frame says that it was durable"),
            "{error}"
        );
        assert_eq!(copy.get(&name).len(), disk.get(&name).len());
    }
}

#[test]
fn what_the_mark_knows_to_be_durable_is_not_cut() {
    let (disk, options, _) = closed_log();
    let name = segment_name(&disk, 2);
    let whole = disk.get(&name);
    let end = regions(&whole).frames.end;
    for len in [end - 1, end - HEAD_BYTES - 200, size(HEADER_BYTES)] {
        let copy = disk.copy();
        copy.put(&name, whole[..len].to_vec());
        let error = examine(&copy, &options).unwrap_err();
        assert!(
            corrupt(&error)
                .3
                .ends_with("the vote slots say that it was durable"),
            "{error}"
        );
    }
}

#[test]
fn a_stale_frame_of_an_earlier_generation_is_not_taken() {
    let disk = FaultyDisk::default();
    let options = options(1 << 20);
    let (log, _) = open(&disk, &options);
    append(&log, frames(0..3, 1, 100));
    truncate(&log, None);
    log.close();
    let new = segment_name(&disk, 0);
    // The same frames, as the first generation wrote them.
    let other = FaultyDisk::default();
    let (log, _) = open(&other, &options);
    append(&log, frames(0..3, 1, 100));
    log.close();
    let stale = other.get(&segment_name(&other, 0));
    let mut bytes = disk.get(&new);
    bytes.truncate(size(HEADER_BYTES));
    disk.put(&new, [bytes, stale[size(HEADER_BYTES)..].to_vec()].concat());
    let (found, recovered) = examine(&disk, &options).unwrap();
    assert_eq!((found, recovered.last), (vec![], None));
}

#[test]
fn a_frame_that_follows_another_one_is_not_taken() {
    // Frame 3 of a log whose frame 2 is another: valid in itself, at its place, of this node.
    let (disk, options) = unmarked_log();
    let (other, _) = unmarked_log_of([frames(2..3, 2, 100), frames(3..5, 1, 100)].concat());
    let name = segment_name(&disk, 0);
    let third = size(HEADER_BYTES) + 3 * (HEAD_BYTES + 104);
    let third = third..third + HEAD_BYTES + 104;
    let mut bytes = disk.get(&name);
    bytes[third.clone()].copy_from_slice(&other.get(&name)[third]);
    disk.put(&name, bytes);
    assert_eq!(examine(&disk, &options).unwrap().0, frames(0..3, 1, 100));
}

#[test]
fn look_ups_use_the_sparse_index() {
    let disk = FaultyDisk::default();
    let options = options(POINT_EVERY * 8);
    let (log, _) = open(&disk, &options);
    append(&log, frames(0..1500, 1, 900));
    log.close();
    let (log, _) = open(&disk, &options);
    // Damage close to the beginning is not on the way to a frame near the end.
    let segment = log.segments()[0].clone();
    flip(
        &disk,
        segment.path.file_name().unwrap().to_str().unwrap(),
        5000,
        0,
    );
    let last = segment.last_index.unwrap();
    for index in (200..last).step_by(37) {
        assert_eq!(
            log.read(index..index + 1, 0).unwrap(),
            [frame(index, 1, 900)]
        );
    }
    assert!(log.read(0..1, 0).is_err());
}
