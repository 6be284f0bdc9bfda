//! NATS JetStream: one stream with three replicas in files.

use std::path::Path;

use anyhow::Context as _;
use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, StorageType};
use bytes::Bytes;
use futures::future::BoxFuture;
use updraft_benches::load::{Acknowledged, Producer};

use crate::Peer;
use crate::processes::{Process, command, directories, ports, until};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Sync {
    /// An fsync before each acknowledgement.
    Always,
    /// As it comes: every two minutes.
    Default,
}

impl Sync {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Sync::Always => "JetStream R3, sync always",
            Sync::Default => "JetStream R3, no sync",
        }
    }
}

pub(crate) struct Nats {
    sync: Sync,
    address: String,
    _nodes: Vec<Process>,
}

impl Nats {
    pub(crate) async fn start(directory: &Path, sync: Sync) -> anyhow::Result<Nats> {
        let name = match sync {
            Sync::Always => "nats-sync",
            Sync::Default => "nats",
        };
        let clients = ports::<3>()?;
        let peers = ports::<3>()?;
        let routes = peers
            .map(|port| format!("\"nats://127.0.0.1:{port}\""))
            .join(", ");
        let sync_interval = match sync {
            Sync::Always => "sync_interval: always",
            Sync::Default => "",
        };
        let mut nodes = Vec::new();
        for (number, data) in directories(directory, name)?.iter().enumerate() {
            let config = format!(
                "server_name: n{number}\nlisten: \"127.0.0.1:{}\"\n\
                 jetstream {{ store_dir: \"{}\"\n max_file_store: 64GB\n {sync_interval} }}\n\
                 cluster {{ name: bench, listen: \"127.0.0.1:{}\", routes: [{routes}] }}\n",
                clients[number],
                data.display(),
                peers[number],
            );
            let file = data.join("nats.conf");
            std::fs::write(&file, config)?;
            let mut command = command("nats-server")?;
            command.arg("-c").arg(file);
            nodes.push(Process::start(&mut command, data, name)?);
        }
        let address = format!("nats://127.0.0.1:{}", clients[0]);
        let config = || Config {
            name: "bench".into(),
            subjects: vec!["bench.>".into()],
            num_replicas: 3,
            storage: StorageType::File,
            ..Default::default()
        };
        until(|| async {
            let context = jetstream::new(async_nats::connect(&address).await?);
            context.create_stream(config()).await?;
            Ok(())
        })
        .await?;
        Ok(Nats {
            sync,
            address,
            _nodes: nodes,
        })
    }
}

impl Peer for Nats {
    fn name(&self) -> &str {
        self.sync.name()
    }

    fn producers(&self, count: usize) -> BoxFuture<'_, anyhow::Result<Vec<Box<dyn Producer>>>> {
        Box::pin(async move {
            let mut producers: Vec<Box<dyn Producer>> = Vec::new();
            for number in 0..count {
                let client = async_nats::connect(&self.address).await?;
                producers.push(Box::new(OfNats {
                    context: jetstream::new(client),
                    subject: format!("bench.producer-{number}"),
                }));
            }
            Ok(producers)
        })
    }
}

struct OfNats {
    context: jetstream::Context,
    subject: String,
}

impl Producer for OfNats {
    fn send(&mut self, payload: Bytes) -> BoxFuture<'_, anyhow::Result<Acknowledged>> {
        Box::pin(async move {
            let publish = self.context.publish(self.subject.clone(), payload);
            let acknowledged = publish.await.context("publish to JetStream")?;
            let acknowledged: Acknowledged = Box::pin(async move {
                acknowledged.await.context("acknowledged by JetStream")?;
                Ok(())
            });
            Ok(acknowledged)
        })
    }
}
