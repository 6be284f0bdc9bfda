//! A hub of one log node within the test's process, and collectors on it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures::StreamExt;
use kit::config::HubConfig;
use kit::service::Context;
use proto::{Batch, Record, Value};
use raft_log::client::{ClientConfig, LogClient, TailFrom};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::machine::free_port;

const GRACE: Duration = Duration::from_secs(30);

pub(crate) struct Hub {
    directory: tempfile::TempDir,
    port: u16,
    log: Option<Running<log_service::Error>>,
}

pub(crate) struct Running<E> {
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), E>>,
}

impl<E: std::fmt::Debug + Send + 'static> Running<E> {
    fn start(
        shutdown: CancellationToken,
        service: impl Future<Output = Result<(), E>> + Send + 'static,
    ) -> Running<E> {
        Running {
            shutdown,
            task: tokio::spawn(service),
        }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        let ended = timeout(GRACE, self.task).await;
        ended
            .expect("it did not end after the shutdown")
            .unwrap()
            .unwrap();
    }
}

impl Hub {
    pub(crate) async fn start() -> Hub {
        let mut hub = Hub {
            directory: tempfile::tempdir().unwrap(),
            port: free_port(),
            log: None,
        };
        hub.start_log().await;
        hub
    }

    pub(crate) async fn start_log(&mut self) {
        let context = self.context("");
        let service = log_service::build(context.clone()).await.unwrap();
        self.log = Some(Running::start(context.shutdown.clone(), service));
        timeout(GRACE, context.readiness.wait())
            .await
            .expect("the log was never ready");
    }

    pub(crate) async fn stop_log(&mut self) {
        self.log.take().unwrap().stop().await;
    }

    /// The file with these collectors.
    pub(crate) fn config(&self, collectors: &str) -> HubConfig {
        let text = format!(
            "hub: {{ path: acme.press }}\ndata_dir: {}\nlog:\n  listen: 127.0.0.1:{}\n  \
             heartbeat: 50ms\n  election_timeout: 250ms\n{collectors}",
            self.directory.path().display(),
            self.port,
        );
        kit::config::from_str("hub.yaml", &text).unwrap()
    }

    fn context(&self, collectors: &str) -> Context {
        Context::new(self.config(collectors), CancellationToken::new()).unwrap()
    }

    pub(crate) async fn collect(&self, collectors: &str) -> Running<collector::Error> {
        let context = self.context(collectors);
        let shutdown = context.shutdown.clone();
        Running::start(shutdown, collector::build(context).await.unwrap())
    }

    pub(crate) fn client(&self) -> LogClient {
        let config = ClientConfig {
            endpoints: vec![format!("127.0.0.1:{}", self.port)],
            group: 0,
            tls: None,
        };
        LogClient::new(config).unwrap()
    }

    /// All records of a topic's tag, in the order of the log.
    pub(crate) async fn records(&self, tag: &str) -> Vec<Record> {
        let from = TailFrom {
            stop_at_end: true,
            ..TailFrom::default()
        };
        let responses: Vec<_> = self.client().tail(from).collect().await;
        let deliveries = responses
            .into_iter()
            .flatten()
            .flat_map(|response| response.deliveries);
        let batches = deliveries.map(|delivery| delivery.envelope.unwrap().batch);
        let mut records: Vec<Record> = batches
            .flat_map(|batch| Batch::decode(&batch).unwrap())
            .collect();
        let topic = format!("/{tag}");
        records.retain(|record| record.topic.ends_with(&topic));
        records
    }

    pub(crate) async fn values(&self, tag: &str) -> Vec<Value> {
        self.records(tag)
            .await
            .into_iter()
            .map(|record| record.value)
            .collect()
    }

    /// Numbers of a counting tag.
    pub(crate) async fn counts(&self, tag: &str) -> Vec<u64> {
        let number = |value| match value {
            Value::U64(number) => Some(number),
            _ => None,
        };
        self.values(tag)
            .await
            .into_iter()
            .filter_map(number)
            .collect()
    }

    /// Until the tag has counted to `goal`.
    pub(crate) async fn counted_to(&self, tag: &str, goal: u64) -> Vec<u64> {
        eventually(&format!("{tag} reaches {goal}"), async || {
            self.counts(tag)
                .await
                .last()
                .is_some_and(|last| *last >= goal)
        })
        .await;
        self.counts(tag).await
    }
}

/// An OPC UA collector that reports quickly.
pub(crate) fn opcua(server: SocketAddr, more: &str, tags: &str) -> String {
    format!(
        "collectors:\n- name: press\n  topic: umh/v1/acme/press/_raw\n  opcua: {{ endpoint: \
         'opc.tcp://{server}', publish_interval: 100ms, sampling_interval: 10ms, queue: 10000{more} \
         }}\n  tags: [{tags}]\n"
    )
}

pub(crate) const COUNTER: &str = "{ name: counter, address: 'ns=2;s=counter' }";

pub(crate) fn modbus(device: SocketAddr, more: &str, tags: &str) -> String {
    format!(
        "collectors:\n- name: meter\n  topic: umh/v1/acme/meter/_raw\n  modbus: {{ address: \
         '{device}', every: 50ms{more} }}\n  tags: [{tags}]\n"
    )
}

/// Every number from the first on, each once and in order.
pub(crate) fn assert_complete(counts: &[u64]) {
    let first = counts.first().copied().unwrap_or_default();
    let expected: Vec<u64> = (first..).take(counts.len()).collect();
    let wrong = counts
        .iter()
        .zip(&expected)
        .position(|(count, expected)| count != expected);
    if let Some(at) = wrong {
        let around = &counts[at.saturating_sub(3)..(at + 4).min(counts.len())];
        panic!("missing, doubled or out of order after {at} values: {around:?}");
    }
}

pub(crate) async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !check().await {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
