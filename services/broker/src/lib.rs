//! The MQTT broker of a hub's node: MQTT 3.1.1 and 5 on one TCP port, over the hub's log.
//!
//! ```text
//! client ──PUBLISH──▶ codec ──▶ session ──▶ producer ──▶ log       (PUBACK after the commit, I1)
//! client ◀─PUBLISH─── codec ◀── session ◀── ring ◀────── log's tail
//!                                  └──────◀───────────── log       (what the ring has lost)
//! ```
//!
//! The broker keeps no message itself. A PUBLISH is acknowledged when the log has committed it, and
//! delivery comes from the committed log on every node, so that a message published at one node
//! reaches the subscribers of all nodes, in the same order. Each session reads at its own position:
//! a slow subscriber costs a position, not memory, and offline sessions, reconnects at another node
//! and slow subscribers are one mechanism.
//!
//! What it does not do, and says so:
//! - `QoS` 2. Version 5 is told so in CONNACK (Maximum `QoS` 1), a subscription to `QoS` 2 is
//!   granted `QoS` 1, and a `QoS` 2 PUBLISH ends the connection (0x9B; 3.1.1 has no reason code).
//! - Shared subscriptions (0x9E), topic aliases (the maximum is 0), enhanced authentication.
//! - Topics under `$SYS` are refused to publishers: 0x87 for version 5, acknowledged and dropped
//!   for 3.1.1, which has no other way than to close the connection.
//!
//! Reading order: `connection` is the life of a client, [`session`] decides, [`codec`] reads and
//! writes, `feed` brings the log.

pub mod config;
mod connect;
mod connection;
pub mod error;
mod holder;
mod hub;
mod listener;
mod metrics;
mod registry;
mod updates;

pub mod codec;
pub mod packet;
pub mod reason;
pub mod session;
pub mod subscriptions;

mod feed;
pub mod message;
mod namespace;
mod ring;

use std::net::SocketAddr;
use std::sync::Arc;

use kit::ready::Part;
use kit::service::Context;
use raft_log::client::{ClientConfig, LogClient, ProducerOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::BrokerOptions;
pub use error::BrokerError;
use feed::{Feed, FeedTask};
use hub::Hub;

/// A broker whose port is open, but that serves nobody yet.
#[derive(Debug)]
pub struct Broker {
    hub: Arc<Hub>,
    listener: TcpListener,
    feed: FeedTask,
    ready: Part,
    shutdown: CancellationToken,
}

/// Reads the configuration and opens the port.
pub async fn build(context: Context) -> Result<Broker, BrokerError> {
    let options = BrokerOptions::from_config(&context.config)?;
    let tls = context.tls.as_ref();
    let listener = kit::listen::bind("broker.listen", options.listen).await?;
    let log = LogClient::new(ClientConfig {
        endpoints: options.log_nodes.clone(),
        group: 0,
        tls: tls.map(|tls| tls.client.clone()),
    })?;
    let producer = log.producer(ProducerOptions {
        name: format!("broker@{}", options.node_id),
        rules: options.rules.clone(),
        linger: options.linger,
        ..ProducerOptions::default()
    });
    let (feed, task) = Feed::new(log.clone());
    let hub = Hub {
        holder: holder::Holder::new(options.node_id),
        options,
        log,
        producer,
        feed,
        updates: updates::Updates::default(),
        registry: registry::Registry::default(),
        metrics: metrics::Metrics::default(),
        warner: namespace::Warner::default(),
        tasks: TaskTracker::new(),
    };
    Ok(Broker {
        hub: Arc::new(hub),
        listener,
        feed: task,
        ready: context.readiness.register("broker"),
        shutdown: context.shutdown,
    })
}

impl Broker {
    /// The address with the port that the system chose, if the file said 0.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the shutdown; then says goodbye to every client and stores how far its session
    /// got.
    pub async fn run(self) -> Result<(), BrokerError> {
        let Broker {
            hub,
            listener,
            feed,
            ready,
            shutdown,
        } = self;
        let feed = tokio::spawn(feed.run());
        let stop_feed = feed.abort_handle();
        let stored = CancellationToken::new();
        let updates = tokio::spawn(hub.updates.clone().run(hub.log.clone(), stored.clone()));
        let holding = tokio::spawn({
            let (hub, stored) = (hub.clone(), stored.clone());
            async move { hub.holder.run(&hub.log, &stored).await }
        });
        let result = tokio::select! {
            () = serve(&hub, &ready, listener, shutdown.clone()) => Ok(()),
            ended = feed => ended.unwrap_or(Err(BrokerError::FeedEnded)),
        };
        shutdown.cancel();
        hub.tasks.close();
        hub.tasks.wait().await;
        stored.cancel();
        // A panic in it was reported by the hook; there is nothing left to store.
        let _ = tokio::join!(updates, holding);
        stop_feed.abort();
        result
    }
}

/// Clients are answered from the start; who comes before the log has answered waits for it in its
/// CONNECT.
async fn serve(hub: &Arc<Hub>, ready: &Part, listener: TcpListener, shutdown: CancellationToken) {
    let accept = listener::run(hub.clone(), listener, shutdown);
    ready.not_ready("waiting for the log");
    let tell = async {
        hub.feed.end().await;
        ready.ready();
    };
    tokio::pin!(accept);
    tokio::select! {
        () = &mut accept => return,
        () = tell => {}
    }
    accept.await;
}
