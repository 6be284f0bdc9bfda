//! A hub in this process: a log on a directory of its own, and brokers over it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use kit::service::Context;
use kit::shutdown::CancellationToken;
use raft_log::client::{ClientConfig, LogClient};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Far more than anything takes here; what does not happen by then does not happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Hub {
    directory: TempDir,
    log_address: SocketAddr,
    _log: Running,
    /// What stands between the broker and the log.
    pub(crate) wire_to_log: Relay,
    pub(crate) broker: Broker,
}

pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    running: Running,
}

/// A service, and how to end it.
struct Running {
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Hub {
    pub(crate) async fn start() -> Hub {
        Hub::with_broker("").await
    }

    /// `settings`: keys of the section `broker`.
    pub(crate) async fn with_broker(settings: &str) -> Hub {
        let directory = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let log_address = free.local_addr().unwrap();
        drop(free);
        let wire_to_log = Relay::start(log_address).await;
        let log = start_log(&directory, log_address, wire_to_log.address).await;
        let broker = start_broker(&directory, wire_to_log.address, settings).await;
        Hub {
            directory,
            log_address,
            _log: log,
            wire_to_log,
            broker,
        }
    }

    /// Another broker over the same log, as another node would have it.
    pub(crate) async fn another_broker(&self) -> Broker {
        start_broker(&self.directory, self.log_address, "").await
    }

    pub(crate) fn log(&self) -> LogClient {
        let config = ClientConfig {
            endpoints: vec![self.log_address.to_string()],
            group: 0,
            tls: None,
        };
        LogClient::new(config).unwrap()
    }

    pub(crate) async fn restart_broker(&mut self) {
        let broker = self.another_broker().await;
        std::mem::replace(&mut self.broker, broker).stop().await;
    }
}

impl Broker {
    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }
}

impl Running {
    async fn stop(mut self) {
        self.shutdown.cancel();
        let ended = tokio::time::timeout(PATIENCE, &mut self.task).await;
        ended
            .expect("ends in time")
            .expect("does not panic")
            .expect("ends without an error");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// Its clients learn from it that it is reached through the relay.
async fn start_log(directory: &TempDir, address: SocketAddr, relay: SocketAddr) -> Running {
    let log = format!("listen: \"{address}\", nodes: {{1: \"{relay}\"}}");
    let context = context(directory, &log, "");
    let (shutdown, readiness) = (context.shutdown.clone(), context.readiness.clone());
    let running = log_service::build(context).await.unwrap();
    let task = tokio::spawn(async move { running.await.context("run the log") });
    tokio::time::timeout(PATIENCE, readiness.wait())
        .await
        .expect("the log becomes ready");
    Running { shutdown, task }
}

async fn start_broker(directory: &TempDir, log: SocketAddr, settings: &str) -> Broker {
    let context = context(directory, &format!("listen: \"{log}\""), settings);
    let (shutdown, readiness) = (context.shutdown.clone(), context.readiness.clone());
    let broker = broker::build(context).await.unwrap();
    let address = broker.local_addr().unwrap();
    let task = tokio::spawn(async move { broker.run().await.context("run the broker") });
    tokio::time::timeout(PATIENCE, readiness.wait())
        .await
        .expect("the broker becomes ready");
    Broker {
        address,
        running: Running { shutdown, task },
    }
}

fn context(directory: &TempDir, log: &str, broker: &str) -> Context {
    let text = format!(
        "hub: {{path: acme}}\ndata_dir: {}\nlog: {{{log}}}\n\
         broker: {{listen: \"127.0.0.1:0\", {broker}}}\n",
        directory.path().display()
    );
    let config = kit::config::from_str("hub.yaml", &text).unwrap();
    Context::new(config, CancellationToken::new()).unwrap()
}

/// Passes bytes on, unless it is cut.
pub(crate) struct Relay {
    address: SocketAddr,
    cut: watch::Sender<bool>,
}

impl Relay {
    async fn start(target: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, watched) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                if !*watched.borrow() {
                    tokio::spawn(pass_on(near, target, watched.clone()));
                }
            }
        });
        Relay { address, cut }
    }

    /// Breaks what is connected, and refuses everything until it is mended.
    pub(crate) fn cut(&self) {
        self.cut.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.cut.send_replace(false);
    }
}

async fn pass_on(mut near: TcpStream, target: SocketAddr, mut cut: watch::Receiver<bool>) {
    let Ok(mut far) = TcpStream::connect(target).await else {
        return;
    };
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
        _ = cut.wait_for(|cut| *cut) => {}
    }
}
