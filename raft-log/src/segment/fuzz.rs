//! Reads bytes that nobody wrote: the body of the fuzz target in `raft-log/fuzz`, and of a property
//! test.

use std::io::{self, IoSlice};

use super::disk::DiskFile;
use super::footer::Footer;
use super::frame::{Frame, HEAD_BYTES, Head, encode};
use super::header::{HEADER_BYTES, Header};
use super::layout::Identity;
use super::repair::{End, judge};
use super::scan::scan;
use super::scrub::first_bad;
use super::slots::Record;

/// A file that is only read.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl DiskFile for Bytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = from.saturating_add(buffer.len());
        let bytes = self.0.get(from..end);
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, _: &mut [IoSlice<'_>], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}

const IDENTITY: Identity = Identity {
    cluster: 1,
    node: 2,
};

/// Reads `bytes` as what follows the header of an open and of a sealed segment, with one good
/// frame before them so that they are reached.
///
/// # Panics
/// When a frame is served that was not written, or one that was is lost.
pub fn read_anything(bytes: &[u8]) {
    let header = Header {
        identity: IDENTITY,
        generation: 7,
        base: 5,
        previous: None,
    };
    let frame = Frame {
        index: 5,
        term: 1,
        leader: 1,
        kind: 0,
        body: "good".into(),
    };
    let (head, _) = encode(&frame, 0, 5, header.crc(), header.seed());
    let good = [&header.encode()[..], &head, &frame.body, frame.padding()].concat();
    let frames_end = good.len() as u64;
    let file = Bytes([&good[..], bytes].concat());
    let len = good.len() as u64 + bytes.len() as u64;
    let read = |from| scan(&file, &header, len, from);
    // No checksum of the bytes can be right: it would have to be made for this seed.
    let Ok(scan) = read(u64::MAX) else {
        panic!("a read that was in bounds failed");
    };
    assert_eq!((scan.end, scan.frames_end), (6, frames_end));
    let end = judge(&scan, &Record::default(), &header, &file, len);
    assert!(matches!(end, Ok(End::Clean | End::Torn(_))), "{end:?}");
    if let Ok(Some(footer)) = Footer::read(&file, header.seed()) {
        let _ = footer.read_points(&file);
        let _ = first_bad(&file, &footer);
    }
    let _ = Header::read(&Bytes(bytes.to_vec()));
    if bytes.len() >= HEAD_BYTES {
        assert!(Head::decode(bytes).stored_bytes() >= HEAD_BYTES as u64);
    }
    debug_assert!(frames_end > HEADER_BYTES);
}
