//! A client that pushes as fast as its socket takes, whatever is acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Result, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinHandle;

use crate::wire::{self, PUBACK, Wire};

/// Pushes numbered messages until it is told to stop.
#[derive(Debug)]
pub struct Flood {
    counts: Arc<Counts>,
    /// Gives its half of the socket back, for dropping it would end the connection.
    writer: JoinHandle<Result<OwnedWriteHalf>>,
    reader: JoinHandle<Result<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    stop: AtomicBool,
    /// Messages that the socket has taken whole.
    sent: AtomicU64,
    acknowledged: AtomicU64,
}

impl Flood {
    pub fn start(wire: Wire, topic: &str, payload_bytes: usize) -> Flood {
        let (read, write) = wire.into_stream().into_split();
        let counts = Arc::new(Counts::default());
        let writing = push(write, counts.clone(), topic.to_owned(), payload_bytes);
        let reading = count(read, counts.clone());
        Flood {
            counts,
            writer: tokio::spawn(writing),
            reader: tokio::spawn(reading),
        }
    }

    pub fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::SeqCst)
    }

    pub fn acknowledged(&self) -> u64 {
        self.counts.acknowledged.load(Ordering::SeqCst)
    }

    /// Nothing new is sent; what is under way goes on.
    pub fn stop(&self) {
        self.counts.stop.store(true, Ordering::SeqCst);
    }

    /// Whether all that was sent is acknowledged, and nothing more comes.
    pub fn is_done(&self) -> bool {
        self.writer.is_finished() && self.sent() == self.acknowledged()
    }

    /// Whether it still gets answers.
    pub fn is_connected(&self) -> bool {
        !self.reader.is_finished()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.writer.abort();
        self.reader.abort();
    }
}

/// The payload of message `number`.
pub fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let mut payload = format!("{number} ").into_bytes();
    payload.resize(bytes, b'.');
    payload
}

/// The number of a message.
pub fn number(payload: &[u8]) -> Option<u64> {
    let digits = payload.split(|byte| *byte == b' ').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

async fn push(
    mut write: OwnedWriteHalf,
    counts: Arc<Counts>,
    topic: String,
    bytes: usize,
) -> Result<OwnedWriteHalf> {
    let mut number = 0;
    while !counts.stop.load(Ordering::SeqCst) {
        let packet = wire::publish(packet_id(number), topic.as_bytes(), &payload(number, bytes));
        write.write_all(&packet).await?;
        number += 1;
        counts.sent.store(number, Ordering::SeqCst);
    }
    Ok(write)
}

/// Acknowledgements come in the order of the messages.
async fn count(mut read: OwnedReadHalf, counts: Arc<Counts>) -> Result<()> {
    while let Some((first_byte, body)) = wire::read(&mut read).await? {
        let expected = packet_id(counts.acknowledged.load(Ordering::SeqCst));
        if (first_byte, &body[..]) != (PUBACK, &expected.to_be_bytes()) {
            bail!("expected the PUBACK of {expected}: {first_byte:#x} {body:?}");
        }
        counts.acknowledged.fetch_add(1, Ordering::SeqCst);
    }
    bail!("the broker closed the connection")
}

/// 1 to 65535; far fewer are ever unacknowledged.
fn packet_id(number: u64) -> u16 {
    u16::try_from(number % u64::from(u16::MAX)).map_or(1, |id| id + 1)
}
