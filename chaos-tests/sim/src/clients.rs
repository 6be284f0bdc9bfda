//! Clients of the hub: each is the log's real client on a simulated machine of its own, and tells
//! the history what it did and saw.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use proto::rpc::{AddNode, CursorPosition, RemoveNode, ReplaceNode, change_request};
use proto::{Nanos, Offset, Record};
use raft_log::client::{ClientConfig, ClientError, LogClient, Producer, ProducerOptions, TailFrom};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{sleep, timeout};

use crate::history::{Change, Event, History, Reader, RecordId};
use crate::host;
use crate::machine::Desk;

const LEASE: Duration = Duration::from_secs(3);

fn client(nodes: impl IntoIterator<Item = u64>) -> Result<LogClient, ClientError> {
    let config = ClientConfig {
        endpoints: nodes.into_iter().map(host::address).collect(),
        group: 0,
        tls: None,
    };
    LogClient::new_in(Arc::new(Desk), config)
}

/// Appends records until the history is closed; the log client's own producer repeats them over
/// every fault.
#[derive(Clone, Debug)]
pub(crate) struct Appending {
    pub(crate) producer: u32,
    pub(crate) nodes: u64,
    pub(crate) seed: u64,
    pub(crate) history: History,
}

impl Appending {
    pub(crate) async fn run(self) -> turmoil::Result {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let log = client(1..=self.nodes)?;
        let producer = log.producer(ProducerOptions {
            name: format!("sim-{}", self.producer),
            linger: Duration::from_millis(rng.random_range(0..4)),
            max_pending_bytes: 64 << 10,
            ..Default::default()
        });
        for number in 0.. {
            if self.history.is_closed() {
                break;
            }
            let id = RecordId {
                producer: self.producer,
                number,
            };
            self.append(&producer, id, rng.random_range(0..600)).await;
            // Bursts and silence.
            let pause = if rng.random_ratio(1, 20) { 500 } else { 25 };
            sleep(Duration::from_millis(rng.random_range(0..pause))).await;
        }
        std::future::pending().await
    }

    async fn append(&self, producer: &Producer, id: RecordId, padding: usize) {
        let topic = format!("sim/{}", id.producer);
        let record = Record::message(topic, id.payload(padding), Nanos(0));
        self.history.tell(Event::Submitted { id });
        let pending = match producer.append(record, None).await {
            Ok(pending) => pending,
            Err(error) => return self.give_up(id, &error),
        };
        let this = self.clone();
        tokio::spawn(async move {
            match pending.await {
                Ok(Offset(offset)) => this.history.tell(Event::Acknowledged { id, offset }),
                Err(error) => this.give_up(id, &error),
            }
        });
    }

    fn give_up(&self, id: RecordId, error: &raft_log::client::AppendError) {
        let why = error.to_string();
        self.history.tell(Event::Unknown { id, why });
    }
}

/// Reads all there is and all that comes, from the beginning, now and then once more.
#[derive(Clone, Debug)]
pub(crate) struct Tailing {
    pub(crate) nodes: u64,
    pub(crate) seed: u64,
    pub(crate) history: History,
}

impl Tailing {
    pub(crate) async fn run(self) -> turmoil::Result {
        let mut rng = StdRng::seed_from_u64(self.seed);
        loop {
            let log = client(1..=self.nodes)?;
            let patience = Duration::from_secs(rng.random_range(5..40));
            let reading = read(&log, &self.history, false);
            let _ = timeout(patience, reading).await;
        }
    }
}

/// Reads everything that one node has.
pub(crate) async fn audit(node: u64, history: History) -> anyhow::Result<Reader> {
    let log = client([node])?;
    read(&log, &history, true).await
}

/// From the beginning to the end, if it shall stop there.
async fn read(log: &LogClient, history: &History, stop_at_end: bool) -> anyhow::Result<Reader> {
    let reader = history.new_reader();
    let mut tail = pin!(log.tail(TailFrom {
        stop_at_end,
        ..Default::default()
    }));
    let mut next = 0;
    while let Some(response) = tail.next().await {
        let response = response?;
        if response.first_offset > next {
            let before = response.first_offset;
            history.tell(Event::Deleted { reader, before });
        }
        next = response.next_offset;
        for delivery in response.deliveries {
            let ids = RecordId::all_of(&delivery.envelope.unwrap_or_default().batch);
            for (offset, id) in (delivery.offset..).zip(ids) {
                history.tell(Event::Read { reader, offset, id });
            }
        }
    }
    Ok(reader)
}

/// Consumes by a cursor that it shares with others, who take over when its lease is over.
#[derive(Clone, Debug)]
pub(crate) struct Consuming {
    pub(crate) holder: String,
    pub(crate) cursor: String,
    /// What it has not read yet is not deleted.
    pub(crate) pinning: bool,
    pub(crate) nodes: u64,
    pub(crate) seed: u64,
    pub(crate) history: History,
}

impl Consuming {
    pub(crate) async fn run(self) -> turmoil::Result {
        let mut rng = StdRng::seed_from_u64(self.seed);
        loop {
            let log = client(1..=self.nodes)?;
            if let Err(error) = self.consume(&log, &mut rng).await {
                tracing::debug!(holder = self.holder, %error, "lost the cursor");
            }
            sleep(Duration::from_millis(rng.random_range(200..3000))).await;
        }
    }

    async fn consume(&self, log: &LogClient, rng: &mut StdRng) -> anyhow::Result<()> {
        let floor = self.history.cursor(&self.cursor);
        let claimed = log
            .claim_cursor(&self.cursor, &self.holder, LEASE, self.pinning)
            .await?;
        self.history.tell(Event::Claimed {
            cursor: self.cursor.clone(),
            holder: self.holder.clone(),
            epoch: claimed.epoch,
            next_offset: claimed.next_offset,
            floor,
        });
        let mut tail = pin!(log.tail(TailFrom {
            offset: Offset(claimed.next_offset),
            ..Default::default()
        }));
        for _ in 0..rng.random_range(1..20) {
            let Ok(Some(response)) = timeout(2 * LEASE, tail.next()).await else {
                break;
            };
            let next_offset = response?.next_offset;
            if rng.random_ratio(1, 10) {
                sleep(Duration::from_millis(rng.random_range(0..8000))).await;
            }
            let position = CursorPosition {
                name: self.cursor.clone(),
                epoch: claimed.epoch,
                next_offset,
            };
            log.commit_cursors(vec![position]).await?;
            self.history.tell(Event::Committed {
                cursor: self.cursor.clone(),
                next_offset,
            });
        }
        Ok(())
    }
}

/// The hub's operator, who changes its nodes.
#[derive(Clone, Debug)]
pub(crate) struct Changing {
    pub(crate) hosts: u64,
    pub(crate) history: History,
}

/// How often a change is tried that may be given up.
const ATTEMPTS: u32 = 4;

impl Changing {
    pub(crate) async fn run(self) -> turmoil::Result {
        loop {
            if let Some(change) = self.history.asked() {
                let done = self.change(change).await?;
                self.history.tell(Event::Changed { change, done });
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn change(&self, change: Change) -> Result<bool, ClientError> {
        let log = client(1..=self.hosts)?;
        for attempt in 1.. {
            let wanted = match change {
                Change::Add(node_id) => change_request::Change::Add(AddNode {
                    node_id,
                    address: host::address(node_id),
                    learner: false,
                }),
                Change::Remove(node_id) => change_request::Change::Remove(RemoveNode {
                    node_id,
                    force: false,
                }),
                Change::Replace(node_id) => change_request::Change::Replace(ReplaceNode {
                    node_id,
                    // What was broken off halfway must be told where the node is.
                    address: match attempt {
                        1 => String::new(),
                        _ => host::address(node_id),
                    },
                }),
            };
            match log.change_members(wanted, |_| {}).await {
                Ok(()) => return Ok(true),
                Err(error) => tracing::debug!(?change, %error, "the nodes were not changed"),
            }
            // One that has lost its disk is of no use before.
            if attempt >= ATTEMPTS && !matches!(change, Change::Replace(_)) {
                break;
            }
            sleep(Duration::from_millis(500)).await;
        }
        Ok(false)
    }
}
