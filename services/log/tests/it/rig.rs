//! Hubs of one or three nodes within the test's process.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use futures::StreamExt;
use kit::ready::Readiness;
use kit::service::Context;
use proto::rpc::raft_server::RaftServer;
use proto::rpc::{self, Delivery, StatusResponse};
use proto::{Batch, Nanos, Offset, Record, Value};
use raft_log::client::{ClientConfig, LogClient, Producer, ProducerOptions, TailFrom};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

pub(crate) struct Hub {
    path: &'static str,
    /// More of the section `log`.
    log: String,
    directory: tempfile::TempDir,
    addresses: BTreeMap<u64, u16>,
    uplinks: BTreeMap<u64, u16>,
    nodes: BTreeMap<u64, Running>,
}

struct Running {
    shutdown: CancellationToken,
    readiness: Readiness,
    task: JoinHandle<Result<(), log_service::Error>>,
}

/// A port that nobody listens on, below those that systems give to outgoing connections.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 100).unwrap() * 200;
    loop {
        let port = 10_000 + start + NEXT.fetch_add(1, Ordering::Relaxed) % 200;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Hub {
    pub(crate) async fn start(path: &'static str, nodes: u64) -> Hub {
        Hub::start_with(path, nodes, "").await
    }

    /// With more keys of the section `log`, one a line and indented by two.
    pub(crate) async fn start_with(path: &'static str, nodes: u64, log: &str) -> Hub {
        Hub::start_in(tempfile::tempdir().unwrap(), path, nodes, log).await
    }

    pub(crate) async fn start_in(
        directory: tempfile::TempDir,
        path: &'static str,
        nodes: u64,
        log: &str,
    ) -> Hub {
        let mut hub = Hub {
            path,
            log: log.to_owned(),
            directory,
            addresses: (1..=nodes).map(|id| (id, free_port())).collect(),
            uplinks: (1..=nodes).map(|id| (id, free_port())).collect(),
            nodes: BTreeMap::new(),
        };
        for id in 1..=nodes {
            hub.start_node(id).await;
        }
        hub.leader().await;
        hub
    }

    pub(crate) fn data_dir(&self, id: u64) -> std::path::PathBuf {
        self.directory.path().join(format!("node-{id}"))
    }

    fn config(&self, id: u64, data_dir: &Path) -> String {
        let nodes: Vec<String> = self
            .addresses
            .iter()
            .map(|(id, port)| format!("{id}: 127.0.0.1:{port}"))
            .collect();
        format!(
            "hub: {{ path: {} }}\nnode: {{ id: {id} }}\ndata_dir: {}\nlog:\n  listen: 127.0.0.1:{}\n  \
             uplink: 127.0.0.1:{}\n  nodes: {{ {} }}\n  segment_bytes: 16KiB\n  \
             heartbeat: 50ms\n{}{}",
            self.path,
            data_dir.display(),
            self.addresses[&id],
            self.uplinks[&id],
            nodes.join(", "),
            match self.log.contains("election_timeout") {
                true => "",
                false => "  election_timeout: 500ms\n",
            },
            self.log,
        )
    }

    /// One that was not there when the hub was formed.
    pub(crate) async fn start_new_node(&mut self, id: u64) {
        // The file of a new node names those of the hub that is to be: 3 or 5.
        for id in 1..=id | 1 {
            self.addresses.entry(id).or_insert_with(free_port);
            self.uplinks.entry(id).or_insert_with(free_port);
        }
        self.start_node(id).await;
    }

    /// Its data stays, its address does not.
    pub(crate) async fn move_node(&mut self, id: u64) {
        self.stop_node(id).await;
        self.addresses.insert(id, free_port());
        self.start_node(id).await;
    }

    pub(crate) fn address(&self, id: u64) -> String {
        format!("127.0.0.1:{}", self.addresses[&id])
    }

    pub(crate) fn running(&self) -> Vec<u64> {
        self.nodes.keys().copied().collect()
    }

    /// Waits until the node is not ready for a reason that contains the text; says the reason.
    pub(crate) async fn reason_of(&self, id: u64, text: &str) -> String {
        loop {
            let report = self.readiness(id).report();
            let reason = report.parts[0].reason.clone().unwrap_or_default();
            if reason.contains(text) {
                return reason;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Other keys of the section `log` from the next start of a node on.
    pub(crate) fn set_log(&mut self, log: &str) {
        log.clone_into(&mut self.log);
    }

    pub(crate) async fn start_node(&mut self, id: u64) {
        self.try_start_node(id).await.unwrap();
    }

    /// Whether its files can be opened.
    pub(crate) async fn try_start_node(&mut self, id: u64) -> Result<(), log_service::Error> {
        let text = self.config(id, &self.data_dir(id));
        let config = kit::config::from_str("hub.yaml", &text).unwrap();
        let shutdown = CancellationToken::new();
        let context = Context::new(config, shutdown.clone()).unwrap();
        let readiness = context.readiness.clone();
        let service = log_service::build(context).await?;
        let running = Running {
            shutdown,
            readiness,
            task: tokio::spawn(service),
        };
        self.nodes.insert(id, running);
        Ok(())
    }

    pub(crate) async fn stop_node(&mut self, id: u64) {
        let running = self.nodes.remove(&id).unwrap();
        running.shutdown.cancel();
        running.task.await.unwrap().unwrap();
    }

    pub(crate) fn readiness(&self, id: u64) -> Readiness {
        self.nodes[&id].readiness.clone()
    }

    pub(crate) fn uplink(&self, id: u64) -> String {
        format!("http://127.0.0.1:{}", self.uplinks[&id])
    }

    pub(crate) fn client(&self) -> LogClient {
        client_of(self.addresses.values().copied())
    }

    pub(crate) fn client_of_node(&self, id: u64) -> LogClient {
        client_of([self.addresses[&id]])
    }

    pub(crate) fn producer(&self) -> Producer {
        self.client().producer(ProducerOptions {
            name: "test".into(),
            ..Default::default()
        })
    }

    /// Waits until a running node leads and the hub has its name.
    pub(crate) async fn leader(&self) -> u64 {
        loop {
            for id in self.nodes.keys() {
                let status = self.client_of_node(*id).status().await;
                if let Ok(StatusResponse {
                    leader_id: Some(leader),
                    hub,
                    ..
                }) = status
                    && self.nodes.contains_key(&leader)
                    && !hub.is_empty()
                {
                    return leader;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All running nodes have applied the same, and their states are equal.
    pub(crate) async fn converged(&self) -> StatusResponse {
        loop {
            let mut statuses = Vec::new();
            for id in self.nodes.keys() {
                statuses.push(self.client_of_node(*id).status().await.unwrap());
            }
            let first = statuses.remove(0);
            if statuses
                .iter()
                .all(|status| status.applied_index == first.applied_index)
            {
                for status in statuses {
                    assert_eq!(status.state_hash, first.state_hash, "states differ");
                }
                return first;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn client_of(ports: impl IntoIterator<Item = u16>) -> LogClient {
    let endpoints = ports
        .into_iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    LogClient::new(ClientConfig {
        endpoints,
        group: 0,
        tls: None,
    })
    .unwrap()
}

pub(crate) fn record(topic: &str, text: impl ToString) -> Record {
    Record::message(topic, text.to_string(), Nanos::now())
}

pub(crate) async fn deliveries(client: &LogClient, from: u64) -> Vec<Delivery> {
    let from = TailFrom {
        offset: Offset(from),
        lanes: vec![],
        stop_at_end: true,
        whole: false,
    };
    let mut tail = pin!(client.tail(from));
    let mut deliveries = Vec::new();
    while let Some(response) = tail.next().await {
        deliveries.extend(response.unwrap().deliveries);
    }
    deliveries
}

/// Payloads of all records from an offset on, with their offsets.
pub(crate) async fn payloads(client: &LogClient, from: u64) -> Vec<(u64, String)> {
    let mut payloads = Vec::new();
    for delivery in deliveries(client, from).await {
        let envelope = delivery.envelope.unwrap();
        for (offset, record) in (delivery.offset..).zip(Batch::decode(&envelope.batch).unwrap()) {
            let Value::Payload(bytes) = record.value else {
                panic!("{record:?}")
            };
            payloads.push((offset, String::from_utf8(bytes.to_vec()).unwrap()));
        }
    }
    payloads
}

impl Hub {
    pub(crate) fn is_running(&self, id: u64) -> bool {
        self.nodes.contains_key(&id)
    }
}

/// A node that says who it is, and takes nothing.
pub(crate) struct DeafNode {
    port: u16,
    task: JoinHandle<()>,
}

impl DeafNode {
    pub(crate) async fn start(node_id: u64, hub: &str) -> DeafNode {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let service = RaftServer::new(Deaf {
            node_id,
            hub: hub.into(),
        });
        let task = tokio::spawn(async move {
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        DeafNode { port, task }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for DeafNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Deaf {
    node_id: u64,
    hub: String,
}

type Answer<T> = Result<Response<T>, Status>;

fn deaf<T>() -> Answer<T> {
    Err(Status::unavailable("deaf"))
}

#[tonic::async_trait]
impl rpc::raft_server::Raft for Deaf {
    type WatchStream = futures::stream::Empty<Result<rpc::WatchResponse, Status>>;

    async fn append_entries(
        &self,
        _: Request<rpc::AppendEntriesRequest>,
    ) -> Answer<rpc::AppendEntriesResponse> {
        deaf()
    }

    async fn vote(&self, _: Request<rpc::VoteRequest>) -> Answer<rpc::VoteResponse> {
        deaf()
    }

    async fn pre_vote(&self, _: Request<rpc::VoteRequest>) -> Answer<rpc::VoteResponse> {
        deaf()
    }

    async fn transfer_leader(
        &self,
        _: Request<rpc::TransferLeaderRequest>,
    ) -> Answer<rpc::TransferLeaderResponse> {
        deaf()
    }

    async fn install_snapshot(
        &self,
        _: Request<tonic::Streaming<rpc::SnapshotChunk>>,
    ) -> Answer<rpc::SnapshotResponse> {
        deaf()
    }

    async fn state_samples(
        &self,
        _: Request<rpc::StateSamplesRequest>,
    ) -> Answer<rpc::StateSamplesResponse> {
        deaf()
    }

    async fn watch(&self, _: Request<rpc::WatchRequest>) -> Answer<Self::WatchStream> {
        deaf()
    }

    async fn identity(&self, _: Request<rpc::IdentityRequest>) -> Answer<rpc::IdentityResponse> {
        Ok(Response::new(rpc::IdentityResponse {
            node_id: self.node_id,
            identity: proto::ids::NodeIdentity::random().to_bytes(),
            hub: self.hub.clone(),
            ..Default::default()
        }))
    }
}

#[cfg(feature = "sabotage")]
impl Hub {
    /// Until a node ends by itself.
    pub(crate) async fn ended(&mut self, id: u64) -> Result<(), log_service::Error> {
        self.nodes.remove(&id).unwrap().task.await.unwrap()
    }

    pub(crate) async fn until_not_ready(&self, id: u64) -> String {
        loop {
            let report = self.readiness(id).report();
            if let Some(reason) = &report.parts[0].reason {
                return reason.clone();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What a node says to who reads its log.
    pub(crate) async fn tail_ends(&self, id: u64) -> String {
        let endpoint = format!("http://127.0.0.1:{}", self.addresses[&id]);
        let mut log = proto::rpc::log_client::LogClient::connect(endpoint)
            .await
            .unwrap();
        match log.tail(proto::rpc::TailRequest::default()).await {
            Ok(answers) => {
                let next = answers.into_inner().message().await;
                next.unwrap_err().message().to_owned()
            }
            Err(status) => status.message().to_owned(),
        }
    }
}
