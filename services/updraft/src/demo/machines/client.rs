//! A machine's MQTT client: `rumqttc`, MQTT 3.1.1, `QoS` 1, a persistent session.
//!
//! What `rumqttc` 0.25 does at a reconnect falls short of MQTT in ways that matter here, so it is
//! set right in [`Connection::interrupted`] and [`Connection::connected`]:
//!
//! - it sends unacknowledged publishes again with DUP=0, against MQTT-3.3.1-1;
//! - when a connection is lost while it still sends them again, it gets their order wrong, against
//!   MQTT-4.6.0-1;
//! - what waits in its channel moves into the same queue and is sent without regard to the window
//!   then, and a packet id that comes up again too early silently replaces a message; therefore no
//!   more is handed to it than the window has room for;
//! - it forgets what it has not even sent yet when the broker has no session.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rumqttc::{
    AsyncClient, ConnAck, Event, EventLoop, MqttOptions, NetworkOptions, Outgoing, Packet, QoS,
    Request,
};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::Sample;
use crate::demo::ledger::Account;

/// Messages handed to `rumqttc` and not acknowledged.
const WINDOW: u16 = 256;
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Seconds. The broker answers a CONNECT when the session is committed.
const CONNECT_TIMEOUT: u64 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(100);
const MAX_PACKET_BYTES: usize = 1 << 20;

pub(super) struct Client {
    publisher: Publisher,
    connection: Connection,
}

/// The machine's side.
pub(super) struct Publisher {
    client: AsyncClient,
    account: Arc<Account>,
    window: Arc<Semaphore>,
}

/// The network's side.
pub(super) struct Connection {
    events: EventLoop,
    account: Arc<Account>,
    window: Arc<Semaphore>,
    brokers: Vec<SocketAddr>,
    broker: usize,
    /// The session has been opened once, so brokers must know it from then on.
    opened: bool,
    /// Number of the publish that is sent next for the first time.
    unsent: u64,
    /// Packet id to number.
    in_flight: HashMap<u16, u64>,
    /// What must be sent again, in this order, while there is no connection.
    resend: VecDeque<Request>,
}

impl Client {
    pub(super) fn new(account: Arc<Account>, brokers: Vec<SocketAddr>) -> Client {
        let window = Arc::new(Semaphore::new(WINDOW.into()));
        let options = options(&account.machine, brokers[0]);
        let (client, mut events) = AsyncClient::new(options, WINDOW.into());
        let mut network = NetworkOptions::new();
        network.set_tcp_nodelay(true);
        network.set_connection_timeout(CONNECT_TIMEOUT);
        events.set_network_options(network);
        let publisher = Publisher {
            client,
            account: Arc::clone(&account),
            window: Arc::clone(&window),
        };
        let connection = Connection {
            events,
            account,
            window,
            brokers,
            broker: 0,
            opened: false,
            unsent: 0,
            in_flight: HashMap::new(),
            resend: VecDeque::new(),
        };
        Client {
            publisher,
            connection,
        }
    }

    pub(super) fn split(self) -> (Publisher, Connection) {
        (self.publisher, self.connection)
    }
}

impl Publisher {
    /// Waits for room in the window. After that it does not wait, so the account is exact even when
    /// the caller gives up.
    pub(super) async fn publish(&self, sample: Sample) {
        let Ok(room) = self.window.acquire().await else {
            return;
        };
        let topic = self.account.topic(sample.topic);
        self.account
            .publish(sample.topic, sample.time, &sample.payload, sample.value);
        // The channel has as much room as the window; it fails only when the connection is gone.
        if self
            .client
            .try_publish(topic, QoS::AtLeastOnce, false, sample.payload)
            .is_ok()
        {
            room.forget();
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.account.is_full()
    }

    /// Waits until all is acknowledged, and ends the connection.
    pub(super) async fn finish(self) {
        let _all = self.window.acquire_many(WINDOW.into()).await;
        let _ = self.client.disconnect().await;
    }
}

impl Connection {
    /// Ends after [`Publisher::finish`].
    pub(super) async fn run(mut self) {
        loop {
            match self.events.poll().await {
                Ok(Event::Outgoing(Outgoing::Disconnect)) => return,
                Ok(event) => self.take(&event),
                Err(_) => {
                    self.interrupted();
                    sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Outgoing(Outgoing::Publish(packet_id)) => {
                // The same id again is the same message again.
                let unsent = &mut self.unsent;
                self.in_flight.entry(*packet_id).or_insert_with(|| {
                    *unsent += 1;
                    *unsent - 1
                });
            }
            Event::Incoming(Packet::PubAck(ack)) => {
                if let Some(number) = self.in_flight.remove(&ack.pkid) {
                    self.account.acknowledge(number);
                    self.window.add_permits(1);
                }
            }
            Event::Incoming(Packet::ConnAck(ack)) => self.connected(ack),
            _ => {}
        }
    }

    /// The connection is lost, or was not made: the next broker is tried.
    fn interrupted(&mut self) {
        for event in std::mem::take(&mut self.events.state.events) {
            self.take(&event);
        }
        self.resend.extend(std::mem::take(&mut self.events.pending));
        set_right(&mut self.resend, &self.in_flight);
        self.broker = (self.broker + 1) % self.brokers.len();
        self.account.broker.store(self.broker, Ordering::Relaxed);
        self.events.mqtt_options = options(&self.account.machine, self.brokers[self.broker]);
    }

    fn connected(&mut self, ack: &ConnAck) {
        if self.opened && !ack.session_present {
            self.session_lost();
        }
        self.opened = true;
        self.events.pending = std::mem::take(&mut self.resend);
    }

    /// Nobody knows what became of the messages under way: sent again, they would be new ones.
    fn session_lost(&mut self) {
        self.account.session_lost();
        self.resend.retain(|request| packet_id(request).is_none());
        self.window.add_permits(self.in_flight.len());
        self.in_flight.clear();
    }
}

/// What was sent before comes first, in the order of its first sending, with DUP=1.
fn set_right(resend: &mut VecDeque<Request>, in_flight: &HashMap<u16, u64>) {
    for request in resend.iter_mut() {
        if let Request::Publish(publish) = request {
            publish.dup = publish.pkid != 0;
        }
    }
    let number = |request: &Request| packet_id(request).and_then(|id| in_flight.get(&id).copied());
    resend
        .make_contiguous()
        .sort_by_key(|request| number(request).unwrap_or(u64::MAX));
}

/// Of a publish that was sent before.
fn packet_id(request: &Request) -> Option<u16> {
    match request {
        Request::Publish(publish) => Some(publish.pkid).filter(|id| *id != 0),
        _ => None,
    }
}

fn options(client_id: &str, broker: SocketAddr) -> MqttOptions {
    let mut options = MqttOptions::new(client_id, broker.ip().to_string(), broker.port());
    options.set_clean_session(false);
    options.set_keep_alive(KEEP_ALIVE);
    options.set_inflight(WINDOW);
    options.set_max_packet_size(MAX_PACKET_BYTES, MAX_PACKET_BYTES);
    options
}

#[cfg(test)]
mod tests {
    use rumqttc::Publish;

    use super::*;

    fn publish(packet_id: u16, payload: &str) -> Request {
        let mut publish = Publish::new("t", QoS::AtLeastOnce, payload);
        publish.pkid = packet_id;
        Request::Publish(publish)
    }

    #[test]
    fn what_is_sent_again_keeps_its_order_and_says_so() {
        // Ids wrapped around after 4; the second connection was lost while 3 was sent again.
        let in_flight = HashMap::from([(3, 10), (4, 11), (1, 12)]);
        let mut resend = VecDeque::from([
            publish(4, "b"),
            publish(1, "c"),
            publish(0, "d"),
            publish(3, "a"),
            publish(0, "e"),
        ]);
        set_right(&mut resend, &in_flight);
        let found: Vec<(&[u8], bool)> = resend
            .iter()
            .map(|request| match request {
                Request::Publish(publish) => (&publish.payload[..], publish.dup),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected: [(&[u8], bool); 5] = [
            (b"a", true),
            (b"b", true),
            (b"c", true),
            (b"d", false),
            (b"e", false),
        ];
        assert_eq!(found, expected);
    }
}
