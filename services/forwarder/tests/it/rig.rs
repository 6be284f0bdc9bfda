//! Hubs of one node, each with a log and, below the top, a forwarder.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use kit::service::Context;
use raft_log::client::{ClientConfig, LogClient};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) struct Hub {
    directory: tempfile::TempDir,
    path: &'static str,
    log: u16,
    uplink: u16,
    parent: Option<u16>,
    running: Option<Running>,
}

struct Running {
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

/// A port that nobody listens on, below those that systems give to outgoing connections.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 50).unwrap() * 40;
    loop {
        let port = 30_000 + start + NEXT.fetch_add(1, Ordering::Relaxed) % 40;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Hub {
    pub(crate) fn new(path: &'static str, parent: Option<&Hub>) -> Hub {
        Hub {
            directory: tempfile::tempdir().unwrap(),
            path,
            log: free_port(),
            uplink: free_port(),
            parent: parent.map(|parent| parent.uplink),
            running: None,
        }
    }

    fn yaml(&self) -> String {
        let parent = self.parent.map_or(String::new(), |port| {
            format!("parent: {{ uplink: http://127.0.0.1:{port} }}\n")
        });
        format!(
            "hub: {{ path: {} }}\ndata_dir: {}\nlog:\n  listen: 127.0.0.1:{}\n  uplink: \
             127.0.0.1:{}\n  heartbeat: 50ms\n  election_timeout: 250ms\n{parent}",
            self.path,
            self.directory.path().display(),
            self.log,
            self.uplink,
        )
    }

    pub(crate) async fn start(&mut self) {
        let config = kit::config::from_str("hub.yaml", &self.yaml()).unwrap();
        let shutdown = CancellationToken::new();
        let context = Context::new(config, shutdown.clone()).unwrap();
        let log = log_service::build(context.clone()).await.unwrap();
        let mut tasks = vec![tokio::spawn(async { log.await.unwrap() })];
        if self.parent.is_some() {
            let forwarder = forwarder::build(context).await.unwrap();
            tasks.push(tokio::spawn(async { forwarder.await.unwrap() }));
        }
        self.running = Some(Running { shutdown, tasks });
    }

    pub(crate) async fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.shutdown.cancel();
        for task in running.tasks {
            task.await.unwrap();
        }
    }

    pub(crate) fn client(&self) -> LogClient {
        let config = ClientConfig {
            endpoints: vec![format!("127.0.0.1:{}", self.log)],
            group: 0,
            tls: None,
        };
        LogClient::new(config).unwrap()
    }
}

/// Waits for a condition; the runner ends a test that waits for ever.
pub(crate) async fn until(mut condition: impl AsyncFnMut() -> bool) {
    while !condition().await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
