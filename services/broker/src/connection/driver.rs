//! The thin shell around a session: carries bytes, commits and records to it, and does what it
//! says.
//!
//! Everything it holds is bounded: bytes read by one packet, publishes by the session's window,
//! bytes to write by [`WRITE_AHEAD_BYTES`], records by one chunk. What has no room stops what
//! feeds it, back to the socket of a publisher or the log of a subscriber.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use futures::{FutureExt, StreamExt};
use proto::Offset;
use raft_log::client::{AppendError, Pending};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::socket;
use crate::codec::Codec;
use crate::feed::Source;
use crate::hub::Hub;
use crate::metrics::InFlight;
use crate::packet::{Connect, Outgoing, Version};
use crate::reason::End;
use crate::ring::Chunk;
use crate::session::{Action, Control, ControlOutcome, Session};

/// Messages are taken from the log while less than this waits to be written.
pub(super) const WRITE_AHEAD_BYTES: usize = 64 << 10;
/// Answers may pile up to this; beyond it nothing more is read that would be answered.
pub(super) const MAX_WRITE_BYTES: usize = 4 * WRITE_AHEAD_BYTES;

pub(super) struct Driver {
    pub(super) hub: Arc<Hub>,
    stream: TcpStream,
    pub(super) codec: Codec,
    pub(super) input: BytesMut,
    pub(super) output: BytesMut,
    pub(super) session: Session,
    source: Source,
    /// Records under way to the session, and how many of them it has seen.
    pub(super) chunk: Option<(Arc<Chunk>, usize)>,
    /// A record that the log client has no room for yet.
    pub(super) appending: Option<(u64, Instant, BoxFuture<'static, AppendResult>)>,
    pub(super) uncommitted: FuturesOrdered<Uncommitted>,
    pub(super) control: Option<BoxFuture<'static, (Control, ControlOutcome)>>,
    pub(super) actions: Vec<Action>,
    /// The largest packet the client takes \[MQTT-3.1.2-24\].
    pub(super) max_write_bytes: usize,
    keep_alive: Option<Duration>,
    last_heard: Instant,
}

pub(super) type AppendResult = Result<Pending, AppendError>;

/// An append that is under way.
pub(super) struct Uncommitted {
    pub(super) slot: u64,
    pub(super) since: Instant,
    pub(super) pending: Pending,
    pub(super) _counted: InFlight,
}

pub(super) struct Committed {
    pub(super) slot: u64,
    pub(super) since: Instant,
    pub(super) result: Result<Offset, AppendError>,
}

impl Future for Uncommitted {
    type Output = Committed;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Committed> {
        let (slot, since) = (self.slot, self.since);
        let result = Pin::new(&mut self.pending).poll(context);
        result.map(|result| Committed {
            slot,
            since,
            result,
        })
    }
}

/// What the connection waits for.
enum Event {
    Read(io::Result<usize>),
    Written(io::Result<usize>),
    Appended(u64, Instant, AppendResult),
    Committed(Committed),
    Controlled(Control, ControlOutcome),
    Records(Arc<Chunk>),
    Over(End),
}

impl Driver {
    pub(super) fn new(
        hub: Arc<Hub>,
        stream: TcpStream,
        codec: Codec,
        input: BytesMut,
        session: Session,
        connect: &Connect,
    ) -> Driver {
        // One and a half times what was agreed [MQTT-3.1.2-24 of 3.1.1, MQTT-3.1.2-22 of 5].
        let keep_alive = Duration::from_millis(u64::from(connect.keep_alive) * 1500);
        let max_write_bytes = connect
            .max_packet_bytes
            .and_then(|max| usize::try_from(max).ok());
        Driver {
            source: hub.feed.source(),
            hub,
            stream,
            codec,
            input,
            output: BytesMut::new(),
            session,
            chunk: None,
            appending: None,
            uncommitted: FuturesOrdered::new(),
            control: None,
            actions: Vec::new(),
            max_write_bytes: max_write_bytes.unwrap_or(usize::MAX),
            keep_alive: (!keep_alive.is_zero()).then_some(keep_alive),
            last_heard: Instant::now(),
        }
    }

    /// Until the end, whoever brings it about.
    pub(super) async fn run(
        mut self,
        replaced: &CancellationToken,
        shutdown: &CancellationToken,
    ) -> (End, Driver) {
        let mut result = self.proceed();
        while result.is_ok() {
            let event = self.next_event(replaced, shutdown).await;
            result = self.handle(event).and_then(|()| self.proceed());
        }
        match result {
            Err(end) => (end, self),
            // The loop ends with an end.
            Ok(()) => (End::ShuttingDown, self),
        }
    }

    async fn next_event(
        &mut self,
        replaced: &CancellationToken,
        shutdown: &CancellationToken,
    ) -> Event {
        let may_read = self.may_read();
        let wanted = self.wanted();
        let silent_at = self.keep_alive.map(|limit| self.last_heard + limit);
        let (mut reader, mut writer) = self.stream.split();
        tokio::select! {
            read = socket::read(&mut reader, &mut self.input), if may_read => Event::Read(read),
            written = writer.write_buf(&mut self.output), if !self.output.is_empty() => {
                Event::Written(written)
            }
            Some(committed) = self.uncommitted.next() => Event::Committed(committed),
            (slot, since, result) = appended(&mut self.appending) => {
                Event::Appended(slot, since, result)
            }
            (control, outcome) = ready(&mut self.control) => Event::Controlled(control, outcome),
            chunk = records(&mut self.source, wanted) => Event::Records(chunk),
            // While nothing is read, silence is not the client's.
            () = until(silent_at), if may_read => Event::Over(End::KeepAliveTimeout),
            () = replaced.cancelled() => Event::Over(End::TakenOver),
            () = shutdown.cancelled() => Event::Over(End::ShuttingDown),
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), End> {
        let lost = |error: io::Error| {
            Err(End::Lost {
                detail: error.to_string(),
            })
        };
        match event {
            Event::Read(Ok(0)) => {
                return Err(End::Lost {
                    detail: "closed without DISCONNECT".into(),
                });
            }
            Event::Read(Ok(_)) => self.last_heard = Instant::now(),
            Event::Written(Ok(_)) => socket::relax(&mut self.output),
            Event::Read(Err(error)) | Event::Written(Err(error)) => return lost(error),
            Event::Appended(slot, since, result) => {
                self.appending = None;
                self.appended(slot, since, result)?;
            }
            Event::Committed(first) => {
                self.committed(first)?;
                while let Some(Some(more)) = self.uncommitted.next().now_or_never() {
                    self.committed(more)?;
                }
            }
            Event::Controlled(control, outcome) => {
                self.control = None;
                self.session
                    .controlled(control, outcome, &mut self.actions)?;
            }
            Event::Records(chunk) => self.received(chunk),
            Event::Over(end) => return Err(end),
        }
        Ok(())
    }

    /// Everything that can be done without waiting.
    fn proceed(&mut self) -> Result<(), End> {
        let could_read = self.may_read();
        self.act()?;
        self.decode()?;
        self.deliver();
        if let Some(update) = self.session.take_floor() {
            let client_id = self.session.client_id();
            self.hub.updates.report(client_id, update);
        }
        if !could_read && self.may_read() {
            self.last_heard = Instant::now();
        }
        Ok(())
    }

    pub(super) fn may_read(&self) -> bool {
        self.session.may_read() && self.appending.is_none() && self.output.len() < MAX_WRITE_BYTES
    }

    /// Where to read the log, when there is something to read it for and room for it.
    fn wanted(&self) -> Option<Offset> {
        let room = self.chunk.is_none() && self.output.len() < WRITE_AHEAD_BYTES;
        self.session.wants().filter(|_| room)
    }

    /// Says goodbye, and leaves the socket to be closed.
    pub(super) fn close(mut self, end: &End) -> Session {
        if let (Some(reason), Version::V5) = (end.reason(), self.codec.version) {
            let detail = match end {
                End::Refused { detail, .. } | End::Unavailable { detail } => Some(detail.clone()),
                _ => None,
            };
            let goodbye = Outgoing::Disconnect { reason, detail };
            if let Err(error) = self.codec.encode(goodbye, &mut self.output) {
                tracing::debug!(%error, "no goodbye");
            }
        }
        if !matches!(end, End::Lost { .. }) {
            let (mut stream, output) = (self.stream, self.output);
            self.hub.tasks.spawn(async move {
                if socket::flush(&mut stream, &output).await.is_ok() {
                    socket::linger(stream).await;
                }
            });
        }
        self.session
    }
}

async fn appended(
    appending: &mut Option<(u64, Instant, BoxFuture<'static, AppendResult>)>,
) -> (u64, Instant, AppendResult) {
    match appending {
        Some((slot, since, append)) => (*slot, *since, append.await),
        None => std::future::pending().await,
    }
}

async fn ready<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn records(source: &mut Source, wanted: Option<Offset>) -> Arc<Chunk> {
    match wanted {
        Some(position) => {
            // A session that finds nothing for it in a long log lets others go on.
            tokio::task::consume_budget().await;
            source.next(position).await
        }
        None => std::future::pending().await,
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
