//! etcd: each record is put under a key of its own. Its two messages are written down here, since
//! its client needs protoc to be built.

use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use futures::future::BoxFuture;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;
use updraft_benches::load::{Acknowledged, Producer};

use crate::Peer;
use crate::processes::{Process, command, directories, ports, until};

pub(crate) struct Etcd {
    address: String,
    _nodes: Vec<Process>,
}

/// `etcdserverpb.PutRequest`
#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// `etcdserverpb.PutResponse`, of which nothing is needed.
#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

async fn put(channel: Channel, key: String, value: Bytes) -> anyhow::Result<()> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.context("connect to etcd")?;
    let request = PutRequest {
        key: key.into(),
        value,
    };
    let codec = ProstCodec::<PutRequest, PutResponse>::default();
    let path = PathAndQuery::from_static("/etcdserverpb.KV/Put");
    grpc.unary(tonic::Request::new(request), path, codec)
        .await
        .context("put to etcd")?;
    Ok(())
}

impl Etcd {
    pub(crate) async fn start(directory: &Path) -> anyhow::Result<Etcd> {
        let clients = ports::<3>()?;
        let peers = ports::<3>()?;
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let cluster = peers.iter().enumerate();
        let cluster: Vec<String> = cluster
            .map(|(number, port)| format!("n{number}={}", url(*port)))
            .collect();
        let mut nodes = Vec::new();
        for (number, data) in directories(directory, "etcd")?.iter().enumerate() {
            let (client, peer) = (url(clients[number]), url(peers[number]));
            let mut command = command("etcd")?;
            command
                .args(["--name", &format!("n{number}")])
                .arg("--data-dir")
                .arg(data)
                .args(["--listen-client-urls", &client])
                .args(["--advertise-client-urls", &client])
                .args(["--listen-peer-urls", &peer])
                .args(["--initial-advertise-peer-urls", &peer])
                .args(["--initial-cluster", &cluster.join(",")])
                // Room for what is put during a measurement.
                .args(["--quota-backend-bytes", "8589934592"])
                .args(["--log-level", "error"]);
            nodes.push(Process::start(&mut command, data, "etcd")?);
        }
        let address = url(clients[0]);
        let channel = Endpoint::from_shared(address.clone())?.connect_lazy();
        until(|| put(channel.clone(), "ready".into(), Bytes::new())).await?;
        Ok(Etcd {
            address,
            _nodes: nodes,
        })
    }
}

impl Peer for Etcd {
    fn name(&self) -> &str {
        "etcd"
    }

    fn producers(&self, count: usize) -> BoxFuture<'_, anyhow::Result<Vec<Box<dyn Producer>>>> {
        Box::pin(async move {
            let mut producers: Vec<Box<dyn Producer>> = Vec::new();
            for number in 0..count {
                let endpoint = Endpoint::from_shared(self.address.clone())?.tcp_nodelay(true);
                producers.push(Box::new(OfEtcd {
                    channel: endpoint.connect().await?,
                    number,
                    sent: 0,
                }));
            }
            Ok(producers)
        })
    }
}

struct OfEtcd {
    channel: Channel,
    number: usize,
    sent: u64,
}

impl Producer for OfEtcd {
    fn send(&mut self, payload: Bytes) -> BoxFuture<'_, anyhow::Result<Acknowledged>> {
        self.sent += 1;
        let key = format!("bench/{}/{}", self.number, self.sent);
        let put = tokio::spawn(put(self.channel.clone(), key, payload));
        let acknowledged: Acknowledged = Box::pin(async move { put.await? });
        Box::pin(std::future::ready(Ok(acknowledged)))
    }
}
