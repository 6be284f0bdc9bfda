//! MQTT 3.1.1 byte by byte: for what a stock client would never send.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub const CONNACK: u8 = 0x20;
pub const PUBACK: u8 = 0x40;

const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
}

impl Wire {
    /// A session that ends with the connection.
    pub async fn connect(broker: SocketAddr, client_id: &str) -> Result<Wire> {
        let stream = TcpStream::connect(broker).await.context("connect")?;
        let mut wire = Wire { stream };
        let mut body = field(b"MQTT");
        body.extend([4, 0b10, 0, 0]);
        body.extend(field(client_id.as_bytes()));
        wire.raw(&packet(0x10, &body)).await?;
        match wire.read().await? {
            Some((CONNACK, body)) if body == [0, 0] => Ok(wire),
            other => bail!("CONNECT was answered with {other:?}"),
        }
    }

    pub async fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await.context("write")
    }

    /// Publishes with `QoS` 1 and waits for the acknowledgement.
    pub async fn publish(&mut self, packet_id: u16, topic: &[u8], payload: &[u8]) -> Result<()> {
        self.raw(&publish(packet_id, topic, payload)).await?;
        match self.read().await? {
            Some((PUBACK, id)) if id == packet_id.to_be_bytes() => Ok(()),
            other => bail!("PUBLISH {packet_id} was answered with {other:?}"),
        }
    }

    /// First byte and body of the next packet; `None` when the connection was closed.
    pub async fn read(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        let read = timeout(PATIENCE, read(&mut self.stream)).await;
        read.context("no packet in time")?
    }

    pub fn into_stream(self) -> TcpStream {
        self.stream
    }
}

/// A PUBLISH with `QoS` 1.
pub fn publish(packet_id: u16, topic: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = field(topic);
    body.extend(packet_id.to_be_bytes());
    body.extend(payload);
    packet(0x32, &body)
}

/// With its remaining length in front \[MQTT §2.2.3\].
pub fn packet(first_byte: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first_byte];
    let mut length = body.len();
    loop {
        let [low, ..] = length.to_le_bytes();
        let more = if length > 0x7F { 0x80 } else { 0 };
        bytes.push(low & 0x7F | more);
        length >>= 7;
        if length == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

/// With its length in front.
fn field(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), text].concat()
}

/// The next packet; `None` when the connection was closed. Answers have short bodies.
pub async fn read(stream: &mut (impl AsyncReadExt + Unpin)) -> Result<Option<(u8, Vec<u8>)>> {
    let mut head = [0; 2];
    if stream.read_exact(&mut head).await.is_err() {
        return Ok(None);
    }
    let [first_byte, length] = head;
    if length > 0x7F {
        bail!("a long packet: {first_byte:#x}");
    }
    let mut body = vec![0; length.into()];
    stream.read_exact(&mut body).await.context("read a body")?;
    Ok(Some((first_byte, body)))
}
