//! A client that says exactly what a test wants, byte by byte, and takes nothing for granted.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::hub::PATIENCE;

pub(crate) const V4: u8 = 4;
pub(crate) const V5: u8 = 5;

pub(crate) const CONNACK: u8 = 0x20;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const SUBACK: u8 = 0x90;
pub(crate) const UNSUBACK: u8 = 0xB0;
pub(crate) const PINGRESP: u8 = 0xD0;
pub(crate) const DISCONNECT: u8 = 0xE0;

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) version: u8,
    pub(crate) client_id: String,
    pub(crate) clean: bool,
    pub(crate) keep_alive: u16,
    /// Property bytes of a version 5 CONNECT.
    pub(crate) properties: Vec<u8>,
    /// Topic, payload, flags (QoS and retain as they stand in CONNECT), property bytes.
    pub(crate) will: Option<(&'static str, &'static str, u8, Vec<u8>)>,
}

/// A session that ends with its connection.
pub(crate) fn options(version: u8, client_id: &str) -> Options {
    Options {
        version,
        client_id: client_id.into(),
        clean: true,
        keep_alive: 0,
        properties: Vec::new(),
        will: None,
    }
}

/// A session that outlives its connection.
pub(crate) fn persistent(version: u8, client_id: &str) -> Options {
    let properties = if version == V5 {
        vec![0x11, 0, 0, 0x0E, 0x10]
    } else {
        vec![]
    };
    Options {
        clean: false,
        properties,
        ..options(version, client_id)
    }
}

pub(crate) struct Wire {
    stream: TcpStream,
    version: u8,
    /// Messages that came before an acknowledgement that was waited for.
    early: VecDeque<Packet>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) first_byte: u8,
    pub(crate) body: Vec<u8>,
}

/// A PUBLISH as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) packet_id: u16,
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Vec<u8>,
}

impl Wire {
    pub(crate) async fn open(address: SocketAddr, version: u8) -> Wire {
        let stream = TcpStream::connect(address).await.unwrap();
        Wire {
            stream,
            version,
            early: VecDeque::new(),
        }
    }

    /// Connects, and returns whether the session was present.
    pub(crate) async fn connect(address: SocketAddr, options: &Options) -> (Wire, bool) {
        let mut wire = Wire::open(address, options.version).await;
        wire.send_connect(options).await;
        let connack = wire.read().await;
        assert_eq!(
            (connack.first_byte, connack.body[1]),
            (CONNACK, 0),
            "{connack:?}"
        );
        (wire, connack.body[0] == 1)
    }

    pub(crate) async fn send_connect(&mut self, options: &Options) {
        let mut flags = u8::from(options.clean) << 1;
        let mut payload = string(&options.client_id);
        if let Some((topic, message, will_flags, properties)) = &options.will {
            flags |= 0b100 | will_flags;
            payload.extend(self.properties(properties));
            payload.extend(string(topic));
            payload.extend(string(message));
        }
        let mut body = string("MQTT");
        body.extend([options.version, flags]);
        body.extend(options.keep_alive.to_be_bytes());
        body.extend(self.properties(&options.properties));
        body.extend(payload);
        self.send(0x10, &body).await;
    }

    fn properties(&self, properties: &[u8]) -> Vec<u8> {
        if self.version == V4 {
            return Vec::new();
        }
        let mut bytes = vec![u8::try_from(properties.len()).unwrap()];
        bytes.extend(properties);
        bytes
    }

    pub(crate) async fn send(&mut self, first_byte: u8, body: &[u8]) {
        let mut bytes = vec![first_byte];
        let mut length = body.len();
        loop {
            let more = if length > 127 { 0x80 } else { 0 };
            bytes.push(u8::try_from(length & 0x7F).unwrap() | more);
            length >>= 7;
            if length == 0 {
                break;
            }
        }
        bytes.extend(body);
        self.raw(&bytes).await;
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// `flags`: DUP, QoS and RETAIN as they stand in the fixed header.
    pub(crate) async fn publish(&mut self, flags: u8, topic: &str, packet_id: u16, payload: &[u8]) {
        self.publish_with(flags, topic, packet_id, payload, &[])
            .await;
    }

    pub(crate) async fn publish_with(
        &mut self,
        flags: u8,
        topic: &str,
        packet_id: u16,
        payload: &[u8],
        properties: &[u8],
    ) {
        let mut body = string(topic);
        if packet_id > 0 {
            body.extend(packet_id.to_be_bytes());
        }
        body.extend(self.properties(properties));
        body.extend(payload);
        self.send(0x30 | flags, &body).await;
    }

    pub(crate) async fn publish_and_wait(&mut self, topic: &str, packet_id: u16, payload: &str) {
        self.publish(0b010, topic, packet_id, payload.as_bytes())
            .await;
        self.expect_puback(packet_id).await;
    }

    pub(crate) async fn expect_puback(&mut self, packet_id: u16) {
        let puback = loop {
            let packet = self.receive().await.expect("a PUBACK and not the end");
            if packet.first_byte >> 4 != 3 {
                break packet;
            }
            self.early.push_back(packet);
        };
        let expected = packet_id.to_be_bytes();
        assert_eq!(
            (puback.first_byte, &puback.body[..]),
            (PUBACK, &expected[..]),
            "{puback:?}"
        );
    }

    /// Subscribes to one filter, and returns the code of its SUBACK.
    pub(crate) async fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.subscribe_with(filter, options, &[]).await
    }

    pub(crate) async fn subscribe_with(
        &mut self,
        filter: &str,
        options: u8,
        properties: &[u8],
    ) -> u8 {
        let mut body = vec![0, 77];
        body.extend(self.properties(properties));
        body.extend(string(filter));
        body.push(options);
        self.send(0x82, &body).await;
        let suback = self.read().await;
        assert_eq!(
            (suback.first_byte, &suback.body[..2]),
            (SUBACK, &[0, 77][..]),
            "{suback:?}"
        );
        *suback.body.last().unwrap()
    }

    pub(crate) async fn read(&mut self) -> Packet {
        self.try_read()
            .await
            .expect("a packet and not the end of the connection")
    }

    /// `None` at the end of the connection.
    pub(crate) async fn try_read(&mut self) -> Option<Packet> {
        match self.early.pop_front() {
            Some(packet) => Some(packet),
            None => self.receive().await,
        }
    }

    async fn receive(&mut self) -> Option<Packet> {
        let read = async {
            let first_byte = self.stream.read_u8().await.ok()?;
            let mut length = 0_usize;
            for shift in [0, 7, 14, 21] {
                let byte = self.stream.read_u8().await.ok()?;
                length |= usize::from(byte & 0x7F) << shift;
                if byte & 0x80 == 0 {
                    break;
                }
            }
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).await.ok()?;
            Some(Packet { first_byte, body })
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("something within reason")
    }

    pub(crate) async fn message(&mut self) -> Message {
        self.read().await.message(self.version)
    }

    /// Reads a `QoS` 1 message and acknowledges it.
    pub(crate) async fn message_acknowledged(&mut self) -> Message {
        let message = self.message().await;
        if message.qos > 0 {
            self.send(PUBACK, &message.packet_id.to_be_bytes()).await;
        }
        message
    }

    /// Nothing more is on its way: the answer to a PINGREQ comes first.
    pub(crate) async fn expect_silence(&mut self) {
        tokio::time::sleep(Duration::from_millis(150)).await;
        self.send(0xC0, &[]).await;
        let answer = self.read().await;
        assert_eq!(answer.first_byte, PINGRESP, "{answer:?}");
    }

    /// The connection ends; version 5 is told why.
    pub(crate) async fn expect_end(&mut self, reason: Option<u8>) {
        let last = self.try_read().await;
        match reason.filter(|_| self.version == V5) {
            Some(reason) => {
                let last = last.expect("a DISCONNECT");
                assert_eq!(
                    (last.first_byte, last.body[0]),
                    (DISCONNECT, reason),
                    "{last:?}"
                );
                assert_eq!(self.try_read().await, None);
            }
            None => assert_eq!(last, None),
        }
    }

    pub(crate) async fn disconnect(mut self) {
        self.send(0xE0, &[]).await;
        assert_eq!(self.try_read().await, None);
    }
}

impl Packet {
    pub(crate) fn message(self, version: u8) -> Message {
        assert_eq!(self.first_byte >> 4, 3, "a PUBLISH and not {self:?}");
        let qos = self.first_byte >> 1 & 0b11;
        let (length, rest) = self.body.split_at(2);
        let (topic, mut rest) = rest.split_at(usize::from(length[0]) << 8 | usize::from(length[1]));
        let mut packet_id = 0;
        if qos > 0 {
            packet_id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        let mut properties = &[][..];
        if version == V5 {
            (properties, rest) = rest[1..].split_at(usize::from(rest[0]));
        }
        Message {
            topic: String::from_utf8(topic.to_vec()).unwrap(),
            payload: String::from_utf8_lossy(rest).into_owned(),
            packet_id,
            dup: self.first_byte & 0b1000 != 0,
            qos,
            retain: self.first_byte & 1 != 0,
            properties: properties.to_vec(),
        }
    }
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}
