//! Tests of the module as a whole; pure parts are tested where they stand.

mod behaviour;
mod damage;
mod faults;
mod faulty;
mod golden;
mod model;
mod scrub;
mod space;
mod tables;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;
use futures::executor::block_on;

use super::{
    Error, Frame, LogPosition, MAX_BODY_BYTES, MAX_VOTE_BYTES, Options, Recovered, Segments,
};
use faulty::FaultyDisk;

fn options(segment_bytes: u64) -> Options {
    let options = Options::new(PathBuf::new(), 1, 2);
    // No idle mark by accident: tests close the log, or say when it is idle.
    Options {
        segment_bytes,
        cache_bytes: 0,
        idle: Duration::from_secs(3600),
        space_retry: Duration::from_millis(2),
        scrub_every: Duration::ZERO,
        ..options
    }
}

fn open(disk: &FaultyDisk, options: &Options) -> (Segments, Recovered) {
    try_open(disk, options).unwrap()
}

fn try_open(disk: &FaultyDisk, options: &Options) -> Result<(Segments, Recovered), Error> {
    Segments::open_on(Arc::new(disk.clone()), options)
}

/// A frame whose body can be told from every other's.
fn frame(index: u64, term: u64, bytes: usize) -> Frame {
    let mut body: Vec<u8> = (index ^ (term << 32)).to_le_bytes().into();
    body.resize(bytes, u8::try_from(index % 251).unwrap());
    Frame {
        index,
        term,
        leader: term % 3,
        kind: 1,
        body: Bytes::from(body),
    }
}

fn frames(range: Range<u64>, term: u64, bytes: usize) -> Vec<Frame> {
    range.map(|index| frame(index, term, bytes)).collect()
}

fn at(index: u64, term: u64) -> LogPosition {
    LogPosition {
        index,
        term,
        leader: term % 3,
    }
}

/// Starts an append and returns where its result will come.
fn start_append(log: &Segments, frames: Vec<Frame>) -> Receiver<Result<(), Error>> {
    let (sender, receiver) = channel();
    block_on(log.append(frames, move |result| sender.send(result).unwrap())).unwrap();
    receiver
}

fn append(log: &Segments, frames: Vec<Frame>) {
    start_append(log, frames).recv().unwrap().unwrap();
}

type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// Starts a request that takes a callback and returns where its result will come.
fn start(request: impl FnOnce(Done) -> Result<(), Error>) -> Receiver<Result<(), Error>> {
    let (sender, receiver) = channel();
    request(Box::new(move |result| sender.send(result).unwrap())).unwrap();
    receiver
}

/// Runs a request that takes a callback and waits for it.
fn wait(request: impl FnOnce(Done) -> Result<(), Error>) -> Result<(), Error> {
    let (sender, receiver) = channel();
    request(Box::new(move |result| sender.send(result).unwrap()))?;
    receiver.recv().unwrap()
}

fn vote(log: &Segments, vote: &[u8]) {
    wait(|done| log.save_vote(vote.into(), done)).unwrap();
}

fn truncate(log: &Segments, index: Option<u64>) {
    wait(|done| log.truncate_after(index, done)).unwrap();
}

fn purge(log: &Segments, to: LogPosition) {
    wait(|done| log.purge(to, done)).unwrap();
}

fn read_all(log: &Segments) -> Result<Vec<Frame>, Error> {
    log.read(0..u64::MAX, usize::MAX)
}
