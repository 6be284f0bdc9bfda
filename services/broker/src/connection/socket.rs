//! Bytes in and out of a socket.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::codec::Codec;
use crate::packet::Outgoing;

/// Room for small packets, which are most.
const READ_BYTES: usize = 4 << 10;
/// A buffer that grew beyond this for one large packet is given back after it.
const KEEP_BYTES: usize = 64 << 10;
/// How long a client has to take in what is said to it at the end.
const LINGER: Duration = Duration::from_secs(1);

/// Appends what there is to `buffer`; 0 at the end of the stream. Loses nothing when dropped.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> io::Result<usize> {
    if buffer.is_empty() && buffer.capacity() > KEEP_BYTES {
        *buffer = BytesMut::new();
    }
    if buffer.capacity() - buffer.len() < READ_BYTES / 4 {
        buffer.reserve(READ_BYTES);
    }
    stream.read_buf(buffer).await
}

/// Gives memory back once all is written.
pub(super) fn relax(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() > KEEP_BYTES {
        *buffer = BytesMut::new();
    }
}

/// Writes one packet.
pub(super) async fn send(stream: &mut TcpStream, codec: Codec, packet: Outgoing) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    codec
        .encode(packet, &mut buffer)
        .map_err(io::Error::other)?;
    flush(stream, &buffer).await
}

/// Writes the rest, but does not wait for a client that reads nothing.
pub(super) async fn flush(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    let written = tokio::time::timeout(LINGER, stream.write_all(bytes)).await;
    written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Closes in such a way that what was written is read: a socket that is closed with unread bytes
/// takes back what it has sent.
pub(super) async fn linger(mut stream: TcpStream) {
    let drain = async {
        stream.shutdown().await?;
        let mut sink = [0; 4096];
        while stream.read(&mut sink).await? > 0 {}
        io::Result::Ok(())
    };
    // Whatever goes wrong now, the connection is over.
    let _ = tokio::time::timeout(LINGER, drain).await;
}
