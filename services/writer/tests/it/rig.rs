//! A hub of one log node within the test's process, and writers on it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kit::service::Context;
use proto::{Nanos, Record, Sequence};
use raft_log::client::{ClientConfig, LogClient, Producer, ProducerOptions};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

const GRACE: Duration = Duration::from_secs(30);

pub(crate) struct Hub {
    directory: tempfile::TempDir,
    port: u16,
    log: Running<log_service::Error>,
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
        let ended = timeout(GRACE, self.task)
            .await
            .expect("it did not end after the shutdown");
        ended.unwrap().unwrap();
    }

    /// Without a word to anybody, as when the process is killed.
    pub(crate) async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

impl Hub {
    pub(crate) async fn start() -> Hub {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let directory = tempfile::tempdir().unwrap();
        let shutdown = CancellationToken::new();
        let context = context(&config(&directory, port, 1, ""), &shutdown);
        let service = log_service::build(context.clone()).await.unwrap();
        let log = Running::start(shutdown, service);
        timeout(GRACE, context.readiness.wait())
            .await
            .expect("the log was never ready");
        Hub {
            directory,
            port,
            log,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A writer on this hub's log; `historian` is what stands in that section.
    pub(crate) async fn writer(&self, node: u64, historian: &str) -> Running<writer::Error> {
        let shutdown = CancellationToken::new();
        let section = format!("historian: {{ {historian} }}\n");
        let context = context(
            &config(&self.directory, self.port, node, &section),
            &shutdown,
        );
        Running::start(shutdown, writer::build(context).await.unwrap())
    }

    pub(crate) fn client(&self) -> LogClient {
        let endpoints = vec![format!("127.0.0.1:{}", self.port)];
        LogClient::new(ClientConfig {
            endpoints,
            group: 0,
            tls: None,
        })
        .unwrap()
    }

    pub(crate) fn producer(&self) -> Producer {
        self.client().producer(ProducerOptions {
            name: "test".into(),
            ..Default::default()
        })
    }

    pub(crate) async fn stop(self) {
        self.log.stop().await;
    }
}

fn config(directory: &tempfile::TempDir, port: u16, node: u64, more: &str) -> String {
    format!(
        "hub: {{ path: acme.press }}\nnode: {{ id: {node} }}\ndata_dir: {}\n\
         log:\n  listen: 127.0.0.1:{port}\n  nodes: {{ {node}: 127.0.0.1:{port} }}\n  \
         heartbeat: 50ms\n  election_timeout: 250ms\n{more}",
        directory.path().display()
    )
}

fn context(text: &str, shutdown: &CancellationToken) -> Context {
    let config = kit::config::from_str("hub.yaml", text).unwrap();
    Context::new(config, shutdown.clone()).unwrap()
}

pub(crate) fn record(number: u64) -> Record {
    let payload = format!(r#"{{"timestamp_ms": {number}, "value": {number}}}"#);
    Record::message("umh/v1/acme/press/_raw/force", payload, Nanos::now())
}

pub(crate) async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !check().await {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Records 0 to `count` - 1 are there, each once, in order and with their values.
pub(crate) async fn is_complete(historian: &dyn historian::Historian, count: u64) -> bool {
    let Ok(origins) = historian.origins().await else {
        return false;
    };
    let Some(origin) = origins.first() else {
        return false;
    };
    let Ok(stored) = historian.records(origin).await else {
        return false;
    };
    assert!(stored <= count, "{stored} of {count} records: some twice");
    if stored < count {
        return false;
    }
    let rows = historian
        .rows(origin, Sequence(0)..Sequence(count))
        .await
        .unwrap();
    for (row, number) in rows.iter().zip(0..) {
        assert_eq!(row.sequence, Sequence(number));
        assert_eq!(
            row.body,
            historian::Body::Number {
                quality: proto::Quality::GOOD,
                number: historian::Number::of(&proto::Value::U64(number)).unwrap(),
            }
        );
    }
    rows.len() as u64 == count
}
