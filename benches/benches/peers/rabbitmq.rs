//! RabbitMQ: one quorum queue with three members, publisher confirms.

use std::path::Path;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures::future::BoxFuture;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use updraft_benches::load::{Acknowledged, Producer};

use crate::Peer;
use crate::processes::{Process, command, directories, ports, until};

/// The one that starts the server as whoever calls it; Debian's in /usr/sbin changes the user.
pub(crate) const SERVER: &str = "rabbitmq-server";
const QUEUE: &str = "bench";
const PERSISTENT: u8 = 2;

pub(crate) struct RabbitMq {
    address: String,
    _nodes: Vec<Process>,
}

impl RabbitMq {
    pub(crate) async fn start(directory: &Path) -> anyhow::Result<RabbitMq> {
        let [epmd] = ports::<1>()?;
        let clients = ports::<3>()?;
        let peers = ports::<3>()?;
        let directories = directories(directory, "rabbitmq")?;
        // Erlang's port mapper would stay behind as a daemon if a node had to start it.
        let mut mapper = command("epmd")?;
        mapper.args(["-port", &epmd.to_string()]);
        let mut nodes = vec![Process::start(&mut mapper, &directories[0], "epmd")?];
        let members = [1, 2, 3].map(|node| format!("bench{node}@localhost"));
        for (number, data) in directories.iter().enumerate() {
            let mut config = "cluster_formation.peer_discovery_backend = classic_config\n\
                              loopback_users = none\ndisk_free_limit.absolute = 64MB\n"
                .to_owned();
            for (at, member) in (1..).zip(&members) {
                config += &format!("cluster_formation.classic_config.nodes.{at} = {member}\n");
            }
            let file = data.join("rabbitmq.conf");
            std::fs::write(&file, config)?;
            let cookie = data.join(".erlang.cookie");
            std::fs::write(&cookie, "bench")?;
            std::fs::set_permissions(&cookie, std::os::unix::fs::PermissionsExt::from_mode(0o400))?;
            let mut command = command(SERVER)?;
            command
                .env("HOME", data)
                .env("ERL_EPMD_PORT", epmd.to_string())
                .env("RABBITMQ_NODENAME", &members[number])
                .env("RABBITMQ_NODE_PORT", clients[number].to_string())
                .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
                .env("RABBITMQ_DIST_PORT", peers[number].to_string())
                .env("RABBITMQ_MNESIA_BASE", data)
                .env("RABBITMQ_LOG_BASE", data)
                .env("RABBITMQ_PID_FILE", data.join("pid"))
                .env("RABBITMQ_CONFIG_FILE", &file)
                .env(
                    "RABBITMQ_ENABLED_PLUGINS_FILE",
                    data.join("enabled_plugins"),
                );
            nodes.push(Process::start(&mut command, data, "rabbitmq")?);
        }
        let address = format!("amqp://guest:guest@127.0.0.1:{}/%2f", clients[0]);
        until(|| declare(&address)).await?;
        Ok(RabbitMq {
            address,
            _nodes: nodes,
        })
    }
}

/// Declared once more until all three nodes are there to be members of it.
async fn declare(address: &str) -> anyhow::Result<()> {
    let connection = Connection::connect(address, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let mut arguments = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments.insert("x-quorum-initial-group-size".into(), AMQPValue::LongInt(3));
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    channel
        .queue_declare(QUEUE.into(), options, arguments)
        .await?;
    Ok(())
}

impl Peer for RabbitMq {
    fn name(&self) -> &str {
        "RabbitMQ quorum queue"
    }

    fn producers(&self, count: usize) -> BoxFuture<'_, anyhow::Result<Vec<Box<dyn Producer>>>> {
        Box::pin(async move {
            let mut producers: Vec<Box<dyn Producer>> = Vec::new();
            for _ in 0..count {
                let properties = ConnectionProperties::default();
                let connection = Connection::connect(&self.address, properties).await?;
                let channel = connection.create_channel().await?;
                channel
                    .confirm_select(ConfirmSelectOptions::default())
                    .await?;
                producers.push(Box::new(OfRabbitMq {
                    channel,
                    _connection: connection,
                }));
            }
            Ok(producers)
        })
    }
}

struct OfRabbitMq {
    channel: Channel,
    _connection: Connection,
}

impl Producer for OfRabbitMq {
    fn send(&mut self, payload: Bytes) -> BoxFuture<'_, anyhow::Result<Acknowledged>> {
        Box::pin(async move {
            let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
            let options = BasicPublishOptions::default();
            let publish =
                self.channel
                    .basic_publish("".into(), QUEUE.into(), options, &payload, properties);
            let confirm = publish.await.context("publish to RabbitMQ")?;
            let acknowledged: Acknowledged = Box::pin(async move {
                let confirmation = confirm.await.context("confirmed by RabbitMQ")?;
                ensure!(
                    matches!(confirmation, Confirmation::Ack(_)),
                    "RabbitMQ did not take a message: {confirmation:?}"
                );
                Ok(())
            });
            Ok(acknowledged)
        })
    }
}
