//! Appends records exactly once, in order, over fail-overs.
//!
//! Records wait in a bounded queue, are grouped into one batch per lane and scope, and stay in a
//! window until the log has answered. Every append carries a sequence of its own; after a fault
//! the whole window is sent again and the log recognises what it already has.

mod full;
mod window;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use opentelemetry::KeyValue;
use proto::rpc::command::Operation;
use proto::rpc::propose_response::Reply;
use proto::rpc::{self, AppendRequest, AppendResponse, RefusalKind, SessionPublish};
use proto::rules::Rules;
use proto::{Offset, Record};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::LogClient;
use super::cluster::Silence;
use full::Full;
use window::{Outcome, Window};

/// Appends sent and not answered; more wait in the queue.
const WINDOW: usize = 16;
/// So that the log can answer a retry of each of them.
const _: () = assert!(WINDOW <= crate::state::RECENT_APPENDS);
/// Records that wait to be grouped.
const QUEUE: usize = 4096;
/// An append is sent when it holds this much.
const APPEND_BYTES: usize = proto::batch::TARGET_BATCH_BYTES;
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// A leader that answers nothing for this long counts as lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// For people who look at the log: "broker@2".
    pub name: String,
    pub rules: Rules,
    /// How long records are gathered at most while an earlier append is under way.
    pub linger: Duration,
    /// Bytes of records that may wait for their commit; beyond it `append` waits.
    pub max_pending_bytes: usize,
}

impl Default for ProducerOptions {
    fn default() -> ProducerOptions {
        ProducerOptions {
            name: String::new(),
            rules: Rules::default(),
            linger: Duration::from_millis(2),
            max_pending_bytes: 32 << 20,
        }
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum AppendError {
    /// The session was opened elsewhere since; the record was not appended.
    #[error("the client's session was taken over by a newer connection")]
    StaleSession,
    #[error("the log refused the record: {0}")]
    Refused(String),
    /// It may or may not have been appended: it was sent more than once, and the log has forgotten
    /// the producer since.
    #[error("the log does not know any more whether it took the record")]
    Unknown,
    /// It may or may not have been appended.
    #[error("the log client has ended")]
    Closed,
}

/// Resolves when the record is durable on a quorum and applied (I1).
#[derive(Debug)]
pub struct Pending(oneshot::Receiver<Result<Offset, AppendError>>);

impl Future for Pending {
    type Output = Result<Offset, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.0).poll(context);
        answer.map(|received| received.unwrap_or(Err(AppendError::Closed)))
    }
}

/// One record on its way, and who waits for it.
struct Item {
    record: Record,
    publish: Option<SessionPublish>,
    done: oneshot::Sender<Result<Offset, AppendError>>,
    /// Given back when the record is committed: what bounds the memory.
    permit: OwnedSemaphorePermit,
}

#[derive(Clone, Debug)]
pub struct Producer {
    queue: mpsc::Sender<Item>,
    budget: Arc<Semaphore>,
    max_pending_bytes: u32,
}

impl Producer {
    pub(super) fn start(client: LogClient, options: ProducerOptions) -> Producer {
        let (queue, items) = mpsc::channel(QUEUE);
        let max_pending_bytes = u32::try_from(options.max_pending_bytes).unwrap_or(u32::MAX / 8);
        let producer = Producer {
            queue,
            budget: Arc::new(Semaphore::new(max_pending_bytes as usize)),
            max_pending_bytes,
        };
        tokio::spawn(Task::new(client, options, items).run());
        producer
    }

    /// Queues a record; waits while too much is pending (I5). `publish` names the MQTT session
    /// that the record came from.
    pub async fn append(
        &self,
        record: Record,
        publish: Option<SessionPublish>,
    ) -> Result<Pending, AppendError> {
        let bytes = u32::try_from(size_bytes(&record, publish.as_ref())).unwrap_or(u32::MAX);
        let permits = bytes.min(self.max_pending_bytes);
        let budget = self.budget.clone();
        let permit = budget
            .acquire_many_owned(permits)
            .await
            .map_err(|_| AppendError::Closed)?;
        let (done, pending) = oneshot::channel();
        let item = Item {
            record,
            publish,
            done,
            permit,
        };
        self.queue
            .send(item)
            .await
            .map_err(|_| AppendError::Closed)?;
        Ok(Pending(pending))
    }
}

/// Owns the window and the stream to the leader.
struct Task {
    client: LogClient,
    options: ProducerOptions,
    items: mpsc::Receiver<Item>,
    open: Open,
    window: Window,
    full: Full,
    /// The queue is closed and empty.
    ended: bool,
}

/// Records that go into the next append.
#[derive(Default)]
struct Open {
    items: Vec<Item>,
    bytes: usize,
    /// When the first of them came.
    since: Option<Instant>,
    /// When it is sent at the latest.
    due: Option<Instant>,
}

/// A stream of appends to the node believed to lead.
struct Connection {
    node: usize,
    requests: mpsc::Sender<AppendRequest>,
    responses: tonic::Streaming<AppendResponse>,
}

/// What a record takes in an append, with the session it came from.
fn size_bytes(record: &Record, publish: Option<&SessionPublish>) -> usize {
    record.size_bytes() + publish.map_or(0, |publish| publish.client_id.len() + 32)
}

impl Open {
    fn push(&mut self, item: Item, linger: Duration) {
        self.bytes += size_bytes(&item.record, item.publish.as_ref());
        self.items.push(item);
        if self.since.is_none() {
            let now = Instant::now();
            (self.since, self.due) = (Some(now), Some(now + linger));
        }
    }

    fn is_full(&self) -> bool {
        self.bytes >= APPEND_BYTES
    }

    fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= Instant::now())
    }
}

impl Task {
    fn new(client: LogClient, options: ProducerOptions, items: mpsc::Receiver<Item>) -> Task {
        let window = Window::new(options.rules.clone());
        Task {
            client,
            options,
            items,
            open: Open::default(),
            window,
            full: Full::default(),
            ended: false,
        }
    }

    async fn run(mut self) {
        while !self.is_done() {
            if !self.window.has_producer() {
                self.open_producer().await;
                continue;
            }
            match self.connect().await {
                Ok(connection) => self.serve(connection).await,
                Err(status) => tracing::debug!(error = status.message(), "no append stream"),
            }
            if !self.is_done() {
                sleep(self.full.pause()).await;
            }
        }
    }

    fn is_done(&self) -> bool {
        self.ended && self.open.items.is_empty() && self.window.is_empty()
    }

    async fn open_producer(&mut self) {
        let open = rpc::OpenProducer {
            name: self.options.name.clone(),
        };
        match self.client.propose(Operation::OpenProducer(open)).await {
            Ok(Reply::Producer(stamp)) => self.window.set_producer(stamp.producer_id, stamp.epoch),
            Ok(_) => tracing::warn!("the log answered something else than a producer id"),
            Err(error) => {
                tracing::debug!(%error, "no producer id yet");
                sleep(RETRY_PAUSE).await;
            }
        }
    }

    async fn connect(&self) -> Result<Connection, tonic::Status> {
        let mut log = self.client.channels.leader();
        // Room for the whole window, so that sending never waits for the reader of the answers.
        let (requests, receiver) = mpsc::channel(2 * WINDOW);
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let answered = tokio::select! {
            answered = log.client.append(stream) => answered,
            () = self.client.displaced(log.index) => {
                return Err(tonic::Status::unavailable("another node leads"));
            }
        };
        match answered {
            Ok(response) => Ok(Connection {
                node: log.index,
                requests,
                responses: response.into_inner(),
            }),
            Err(status) => {
                self.client
                    .channels
                    .follow(log.index, &super::refusal_of(&status));
                Err(status)
            }
        }
    }

    /// Until the connection or the leader is lost, or everything is done.
    async fn serve(&mut self, mut connection: Connection) {
        for append in self.window.unanswered() {
            if !self.send(&connection, append).await {
                return;
            }
        }
        let (client, silence) = (self.client.clone(), Silence::begun());
        let mut displaced = std::pin::pin!(client.displaced_when(connection.node, &silence));
        let mut answer_by = Instant::now() + ANSWER_TIMEOUT;
        while !self.is_done() {
            self.client.learn_members();
            let has_room = self.window.len() < WINDOW;
            let due = self.open.due.filter(|_| has_room);
            tokio::select! {
                response = timeout_at(answer_by, connection.responses.message()),
                    if !self.window.is_empty() =>
                {
                    let Ok(Ok(Some(response))) = response else { return self.lost(&connection) };
                    if !self.answered(&connection, response) {
                        return;
                    }
                    answer_by = Instant::now() + ANSWER_TIMEOUT;
                    silence.begin();
                    // The log is free for the next one: waiting longer gains nothing.
                    if !self.flush(&connection).await {
                        return;
                    }
                }
                item = self.items.recv(), if !self.ended && !self.open.is_full() => {
                    match item {
                        Some(item) => self.open.push(item, self.options.linger),
                        None => self.ended = true,
                    }
                    if self.window.is_empty() {
                        answer_by = Instant::now() + ANSWER_TIMEOUT;
                        silence.begin();
                    }
                    let at_once = self.window.is_empty() || self.open.is_full() || self.ended;
                    if (at_once || self.open.is_due()) && !self.flush(&connection).await {
                        return;
                    }
                }
                () = until(due), if due.is_some() => {
                    if !self.flush(&connection).await {
                        return;
                    }
                }
                () = &mut displaced, if !self.window.is_empty() => return,
            }
        }
    }

    /// Sends what is open, with all that waits beside it; whether the connection still stands.
    async fn flush(&mut self, connection: &Connection) -> bool {
        if self.open.items.is_empty() || self.window.len() >= WINDOW {
            return true;
        }
        while !self.open.is_full()
            && let Ok(item) = self.items.try_recv()
        {
            self.open.push(item, self.options.linger);
        }
        let open = std::mem::take(&mut self.open);
        let since = open.since.unwrap_or_else(Instant::now);
        match self.window.push(open.items, since.into_std()) {
            Some(append) => self.send(connection, append).await,
            None => true,
        }
    }

    async fn send(&self, connection: &Connection, append: rpc::Append) -> bool {
        let request = AppendRequest {
            group: self.client.group,
            append: Some(append),
        };
        let sent = connection.requests.send(request).await.is_ok();
        if !sent {
            self.lost(connection);
        }
        sent
    }

    fn lost(&self, connection: &Connection) {
        self.client
            .channels
            .follow(connection.node, &rpc::Refusal::default());
    }

    /// Whether the connection can still be used.
    fn answered(&mut self, connection: &Connection, response: AppendResponse) -> bool {
        match self.window.answer(response) {
            Outcome::Done(batches) => {
                self.full.over(&self.options.name);
                for batch in batches {
                    batch.end(
                        "publish",
                        [KeyValue::new("producer", self.options.name.clone())],
                    );
                }
                true
            }
            Outcome::Resend => false,
            Outcome::Refused(refusal) => {
                if refusal.kind() == RefusalKind::UnknownProducer {
                    tracing::info!(name = self.options.name, "the log forgot this producer");
                } else if refusal.kind() == RefusalKind::Full {
                    // No other node has more room: what is appended waits, and who appends (I5).
                    self.full.begins(&self.options.name, &refusal.message);
                } else {
                    self.client.channels.follow(connection.node, &refusal);
                }
                false
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
