//! The log service: serves one node of the hub's replicated log over gRPC.
//!
//! Two ports. `log.listen` is for the hub itself: its other nodes (Raft) and its services (append,
//! tail, cursors, sessions, status). `log.uplink` is for hubs below, which open a connection and
//! push their envelopes ([`uplink`]). Whatever it answers with a yes is durable on a quorum of the
//! hub's nodes and applied (I1).

mod config;
mod error;
mod readiness;
mod service;
mod cluster;
mod uplink;
mod reports;
mod metrics;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use proto::rpc::MAX_MESSAGE_BYTES;
use proto::rpc::cluster_server::ClusterServer;
use proto::rpc::log_server::LogServer;
use proto::rpc::uplink_server::UplinkServer;
use raft_log::Node;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::transport::server::TcpIncoming;

pub use config::Config;
pub use error::Error;

use cluster::Cluster;
use kit::ready::Part;
use kit::service::Context;
use metrics::Metrics;
use reports::Reports;
use service::Log;
use uplink::Uplink;

/// How long answers may take that are under way at the shutdown.
const DRAIN: Duration = Duration::from_secs(1);
/// How long another node may take to become the leader in this one's place.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Opens the log's files and binds its ports; what is returned serves until the shutdown.
pub async fn build(context: Context) -> Result<impl Future<Output = Result<(), Error>>, Error> {
    let config = Config::of(&context)?;
    let listener = kit::listen::bind("log.listen", config.listen).await?;
    let uplink = match config.uplink {
        Some(address) => Some(kit::listen::bind("log.uplink", address).await?),
        None => None,
    };
    let node = Node::open(config.node.clone()).await?;
    let reports = Arc::default();
    metrics::observe(&node, Arc::clone(&reports));
    let ready = context.readiness.register("log");
    let service = Service {
        config,
        node,
        reports,
        tls: context.tls,
        told_to_stop: context.shutdown,
        shutdown: CancellationToken::new(),
    };
    Ok(service.run(listener, uplink, ready))
}

struct Service {
    config: Config,
    node: Node,
    /// What hubs below said of themselves, whichever port they came through.
    reports: Arc<Mutex<Reports>>,
    tls: Option<kit::tls::Tls>,
    told_to_stop: CancellationToken,
    /// What is served ends with this: once another node leads.
    shutdown: CancellationToken,
}

impl Service {
    async fn run(
        self,
        listener: TcpListener,
        uplink: Option<TcpListener>,
        ready: Part,
    ) -> Result<(), Error> {
        let this = Arc::new(self);
        let announce = this.clone().announce(ready);
        // On the heap, each: together they would make a future too large to be moved around.
        let serving = Box::pin(async {
            tokio::try_join!(this.serve(listener), async {
                match uplink {
                    Some(uplink) => this.serve_uplink(uplink).await,
                    None => Ok(()),
                }
            })
        });
        let attending = Box::pin(this.attend());
        let comparing = Box::pin(this.node.compare());
        let retaining = Box::pin(this.node.retain());
        let leaving = Box::pin(this.drained());
        let outcome = tokio::select! {
            served = serving => served.map(drop),
            reason = this.node.stopped() => Err(Error::Stopped(reason)),
            reason = comparing => Err(Error::StateDiffers(reason)),
            () = leaving => Ok(()),
            () = attending => Ok(()),
            never = announce => match never {},
            never = retaining => match never {},
        };
        this.node.shutdown().await;
        outcome
    }

    /// Whoever is still waiting for an answer after the shutdown gets none, and asks another node.
    async fn drained(&self) {
        self.told_to_stop.cancelled().await;
        self.node.leave(HAND_OVER).await;
        self.shutdown.cancel();
        tokio::time::sleep(DRAIN).await;
    }

    /// Never ends before the node does.
    async fn attend(&self) {
        self.node.attend().await;
        std::future::pending().await
    }

    /// Forms the hub; then says how this node stands in it.
    async fn announce(self: Arc<Self>, ready: Part) -> std::convert::Infallible {
        // An election takes up to twice this.
        let patience = self.config.node.election_timeout * 2;
        let telling = readiness::tell(&self.node, &ready, patience);
        let forming = async {
            self.node.bootstrap().await;
            std::future::pending().await
        };
        tokio::select! {
            never = telling => never,
            never = forming => never,
        }
    }

    async fn serve(&self, listener: TcpListener) -> Result<(), Error> {
        let group = self.config.node.group;
        let (node, reports) = (self.node.clone(), self.reports.clone());
        let log = server(Log::new(node, group, reports, self.shutdown.clone()));
        kit::tls::server(self.tls.as_ref())?
            .add_service(self.node.peer_service())
            .add_service(log)
            .add_service(cluster_server(
                self.node.clone(),
                group,
                self.shutdown.clone(),
            ))
            // A node that does not lead hands a child's stream on to the one that does.
            .add_service(self.uplink_server(false))
            .serve_with_incoming_shutdown(incoming(listener), self.shutdown.cancelled())
            .await?;
        Ok(())
    }

    async fn serve_uplink(&self, listener: TcpListener) -> Result<(), Error> {
        kit::tls::server(self.tls.as_ref())?
            .add_service(self.uplink_server(true))
            .serve_with_incoming_shutdown(incoming(listener), self.shutdown.cancelled())
            .await?;
        Ok(())
    }

    fn uplink_server(&self, may_hand_on: bool) -> UplinkServer<Uplink> {
        let client_tls = self.tls.as_ref().map(|tls| tls.client.clone());
        let group = self.config.node.group;
        let shutdown = self.shutdown.clone();
        let uplink = Uplink {
            node: self.node.clone(),
            group,
            reports: self.reports.clone(),
            tls: client_tls,
            may_hand_on,
            shutdown,
            metrics: Metrics::new(),
        };
        UplinkServer::new(uplink)
            .accept_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }
}

/// What the hub's own services talk to, without the process around it.
pub fn log_server(
    node: Node,
    group: u32,
    shutdown: CancellationToken,
) -> LogServer<impl proto::rpc::log_server::Log> {
    server(Log::new(node, group, Arc::default(), shutdown))
}

/// Who the hub's nodes are, and changing that.
pub fn cluster_server(
    node: Node,
    group: u32,
    shutdown: CancellationToken,
) -> ClusterServer<impl proto::rpc::cluster_server::Cluster> {
    ClusterServer::new(Cluster {
        node,
        group,
        shutdown,
    })
}

fn server(log: Log) -> LogServer<Log> {
    LogServer::new(log)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}
