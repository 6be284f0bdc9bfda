//! Bytes as a segment file and as a frame: `cargo +nightly fuzz run segment` in `raft-log`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| raft_log::segment::fuzz::read_anything(bytes));
