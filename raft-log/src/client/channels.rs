//! Connections to the nodes of a hub, and which of them to ask.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proto::rpc::cluster_client::ClusterClient;
use proto::rpc::log_client;
use proto::rpc::{MAX_MESSAGE_BYTES, Refusal};
use tokio::time::Instant;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

use super::ClientError;
use crate::environment::{Environment, Real};

pub(super) type Client = log_client::LogClient<Channel>;

/// A node, and a client that talks to it.
pub(super) struct Node {
    pub(super) index: usize,
    pub(super) client: Client,
}

/// Nodes that are remembered at most; those of the configuration come first and always stay.
const MAX_NODES: usize = 16;
/// The hub may have got other nodes since.
const LEARN_EVERY: Duration = Duration::from_secs(10);
/// After a node did not take a request: it may be the next one that goes.
const LEARN_AGAIN: Duration = Duration::from_millis(250);

/// When it was asked last who the hub's nodes are, and whether that may have changed.
#[derive(Debug, Default)]
struct Learned {
    at: Option<Instant>,
    is_doubtful: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Channels {
    /// Only grows: an index stays that of its node.
    nodes: Arc<Mutex<Vec<(String, Channel)>>>,
    tls: Option<ClientTlsConfig>,
    environment: Arc<dyn Environment>,
    learned: Arc<Mutex<Learned>>,
    /// Index of the node believed to lead.
    leader: Arc<AtomicUsize>,
    /// Index of the node that reads go to.
    nearest: Arc<AtomicUsize>,
}

impl Channels {
    pub(super) fn new(
        environment: Arc<dyn Environment>,
        endpoints: &[String],
        tls: Option<&ClientTlsConfig>,
    ) -> Result<Channels, ClientError> {
        if endpoints.is_empty() {
            return Err(ClientError::NoEndpoints);
        }
        let nodes: Result<Vec<_>, ClientError> = endpoints
            .iter()
            .map(|address| Ok((address.clone(), connect_in(&*environment, address, tls)?)))
            .collect();
        Ok(Channels {
            nodes: Arc::new(Mutex::new(nodes?)),
            tls: tls.cloned(),
            environment,
            learned: Arc::default(),
            leader: Arc::default(),
            nearest: Arc::default(),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(super) fn address(&self, index: usize) -> String {
        self.lock()[index].0.clone()
    }

    /// Every node, by its address.
    pub(super) fn all(&self) -> impl Iterator<Item = (String, Client)> {
        (0..self.len()).map(|index| (self.address(index), self.node(index).client))
    }

    pub(super) fn cluster(&self, index: usize) -> ClusterClient<Channel> {
        ClusterClient::new(self.lock()[index].1.clone())
    }

    /// Whether it is time to ask who the hub's nodes are; counts as asked.
    pub(super) fn is_to_learn(&self) -> bool {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        let every = match learned.is_doubtful {
            true => LEARN_AGAIN,
            false => LEARN_EVERY,
        };
        let due = learned.at.is_none_or(|at| at.elapsed() >= every);
        if due {
            *learned = Learned {
                at: Some(Instant::now()),
                is_doubtful: false,
            };
        }
        due
    }

    /// Index of the node at an address, which may be one that was not known; `None` when there are
    /// too many, or it is no address.
    pub(super) fn learn(&self, address: &str) -> Option<usize> {
        let mut nodes = self.lock();
        if let Some(known) = nodes.iter().position(|(known, _)| known == address) {
            return Some(known);
        }
        if address.is_empty() || nodes.len() >= MAX_NODES {
            return None;
        }
        let channel = connect_in(&*self.environment, address, self.tls.as_ref()).ok()?;
        nodes.push((address.to_owned(), channel));
        Some(nodes.len() - 1)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(String, Channel)>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn leader(&self) -> Node {
        self.node(self.leader.load(Ordering::Relaxed))
    }

    pub(super) fn nearest(&self) -> Node {
        self.node(self.nearest.load(Ordering::Relaxed))
    }

    /// The node did not take a request: go where it points to, or to the next one.
    pub(super) fn follow(&self, index: usize, refusal: &Refusal) {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.is_doubtful = true;
        drop(learned);
        let named = self.learn(&refusal.leader);
        self.leads(named.unwrap_or((index + 1) % self.len()));
    }

    pub(super) fn leads(&self, index: usize) {
        self.leader.store(index, Ordering::Relaxed);
    }

    /// The node does not answer reads: the next one shall.
    pub(super) fn skip(&self, index: usize) {
        let next = (index + 1) % self.len();
        let _ = self
            .nearest
            .compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn node(&self, index: usize) -> Node {
        let client = Client::new(self.lock()[index].1.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Node { index, client }
    }
}

/// A channel to `host:port` that connects when it is used and notices a silent peer.
pub fn connect_lazy(address: &str, tls: Option<&ClientTlsConfig>) -> Result<Channel, ClientError> {
    connect_in(&Real, address, tls)
}

pub(crate) fn connect_in(
    environment: &dyn Environment,
    address: &str,
    tls: Option<&ClientTlsConfig>,
) -> Result<Channel, ClientError> {
    let invalid = |error: tonic::transport::Error| ClientError::Endpoint {
        endpoint: address.to_owned(),
        reason: error.to_string(),
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(invalid)?
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls.clone()).map_err(invalid)?;
    }
    Ok(environment.connect(&endpoint))
}
