//! Appends records exactly once, in order, over fail-overs.
//!
//! Records wait in a bounded queue, are grouped into one batch per lane and scope, and stay in a
//! window until the log has answered. Every append carries a sequence of its own; after a fault
//! the whole window is sent again and the log recognises what it already has.

mod window;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use proto::rpc::command::Operation;
use proto::rpc::propose_response::Reply;
use proto::rpc::{self, AppendRequest, AppendResponse, RefusalKind, SessionPublish};
use proto::rules::Rules;
use proto::{Offset, Record};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout_at};

use super::LogClient;
use window::{Outcome, Window};

/// Appends sent and not answered; more wait in the queue.
const WINDOW: usize = 16;
/// Records that wait to be grouped.
const QUEUE: usize = 4096;
/// An open append is sent when it holds this much.
const APPEND_BYTES: usize = proto::batch::TARGET_BATCH_BYTES;
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// A leader that answers nothing for this long counts as lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// For people who look at the log: "broker@2".
    pub name: String,
    pub rules: Rules,
    /// How long records are gathered while an earlier append is under way.
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
        let bytes = u32::try_from(record.size_bytes()).unwrap_or(u32::MAX);
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
    window: Window,
    /// The queue is closed and empty.
    ended: bool,
}

/// A stream of appends to the node believed to lead.
struct Connection {
    node: usize,
    requests: mpsc::Sender<AppendRequest>,
    responses: tonic::Streaming<AppendResponse>,
}

impl Task {
    fn new(client: LogClient, options: ProducerOptions, items: mpsc::Receiver<Item>) -> Task {
        let window = Window::new(options.rules.clone());
        Task {
            client,
            options,
            items,
            window,
            ended: false,
        }
    }

    async fn run(mut self) {
        while !(self.ended && self.window.is_empty()) {
            if !self.window.has_producer() {
                self.open_producer().await;
                continue;
            }
            match self.connect().await {
                Ok(connection) => self.serve(connection).await,
                Err(status) => tracing::debug!(error = status.message(), "no append stream"),
            }
            if !(self.ended && self.window.is_empty()) {
                sleep(RETRY_PAUSE).await;
            }
        }
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
        match log.client.append(stream).await {
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
        let mut answer_by = Instant::now() + ANSWER_TIMEOUT;
        while !(self.ended && self.window.is_empty()) {
            tokio::select! {
                response = timeout_at(answer_by, connection.responses.message()),
                    if !self.window.is_empty() =>
                {
                    match response {
                        Ok(Ok(Some(response))) => {
                            if !self.answered(&connection, response) {
                                return;
                            }
                        }
                        Ok(Ok(None)) | Ok(Err(_)) | Err(_) => return self.lost(&connection),
                    }
                    answer_by = Instant::now() + ANSWER_TIMEOUT;
                }
                item = self.items.recv(), if !self.ended && self.window.len() < WINDOW => {
                    let Some(item) = item else { self.ended = true; continue };
                    if self.window.is_empty() {
                        answer_by = Instant::now() + ANSWER_TIMEOUT;
                    }
                    let items = self.gather(item).await;
                    let append = self.window.push(items);
                    if let Some(append) = append
                        && !self.send(&connection, append).await
                    {
                        return;
                    }
                }
            }
        }
    }

    /// What goes with a record: all that waits, and while an append is under way anyway, what
    /// arrives within the linger time.
    async fn gather(&mut self, first: Item) -> Vec<Item> {
        let linger = if self.window.is_empty() {
            Duration::ZERO
        } else {
            self.options.linger
        };
        let until = Instant::now() + linger;
        let mut bytes = first.record.size_bytes();
        let mut items = vec![first];
        while bytes < APPEND_BYTES {
            let next = match self.items.try_recv() {
                Ok(item) => Some(item),
                Err(_) if linger.is_zero() => None,
                Err(_) => timeout_at(until, self.items.recv()).await.ok().flatten(),
            };
            let Some(item) = next else { break };
            bytes += item.record.size_bytes();
            items.push(item);
        }
        items
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
            Outcome::Done => true,
            Outcome::Resend => false,
            Outcome::Refused(refusal) => {
                if refusal.kind == i32::from(RefusalKind::UnknownProducer) {
                    tracing::warn!(name = self.options.name, "the log forgot this producer");
                } else {
                    self.client.channels.follow(connection.node, &refusal);
                }
                false
            }
        }
    }
}
