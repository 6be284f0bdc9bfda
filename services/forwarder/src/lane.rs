//! The task that forwards one lane.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kit::ready::Part;
use opentelemetry::KeyValue;
use proto::rpc::push_request::Message as Request;
use proto::rpc::push_response::Message as Answer;
use proto::rpc::uplink_client::UplinkClient;
use proto::rpc::{
    CursorPosition, CursorState, Hello, MAX_MESSAGE_BYTES, PushRequest, PushResponse,
    StatusResponse, TailResponse, Welcome,
};
use proto::{Lane, Offset};
use raft_log::client::{LogClient, TailFrom};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::codec::CompressionEncoding;

use crate::config::Config;
use crate::error::{Ended, Error, cause};
use crate::metrics::Metrics;
use crate::window::{Window, ahead};

/// How long the cursor is ours after we last said so.
const LEASE: Duration = Duration::from_secs(10);
/// How often we say so.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How often the cursor's move is committed; after a crash this much is read and passed over again.
const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// The parent must greet within this time.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How often this hub is found behind its parent before that counts.
const HISTORY_CHECKS: u32 = 10;
/// After a refusal that a person must look at.
const REFUSED_PAUSE: Duration = Duration::from_secs(10);
/// Envelopes between the window and the socket; the window bounds what is under way.
const REQUESTS: usize = 8;

pub(crate) struct LaneTask {
    lane: Lane,
    config: Config,
    log: LogClient,
    metrics: Metrics,
    ready: Part,
    /// Which of the parent's nodes is tried next.
    attempt: usize,
    /// The cursor as it was claimed last, and when.
    claim: Option<(CursorState, Instant)>,
    /// Why it is not forwarding, as it was told last.
    told: String,
    /// What the parent needs next is deleted: then nothing needs to be kept for it either.
    hopeless: bool,
}

/// A connection to the parent that has been greeted.
struct Connection {
    requests: mpsc::Sender<PushRequest>,
    answers: Streaming<PushResponse>,
    welcome: Welcome,
}

impl LaneTask {
    pub(crate) fn new(
        lane: Lane,
        config: Config,
        log: LogClient,
        metrics: Metrics,
        ready: Part,
    ) -> LaneTask {
        LaneTask {
            lane,
            config,
            log,
            metrics,
            ready,
            attempt: 0,
            claim: None,
            told: String::new(),
            hopeless: false,
        }
    }

    /// Forwards until the shutdown; whatever goes wrong is told and tried again.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        // A hub without its parent is a working hub.
        self.ready.ready();
        loop {
            let ended = tokio::select! {
                ended = self.forward() => match ended {
                    Err(ended) => ended,
                    Ok(never) => match never {},
                },
                () = shutdown.cancelled() => Ended::Shutdown,
            };
            self.metrics.connected(self.lane, false);
            self.hopeless = matches!(ended, Ended::Deleted(_));
            let pause = match &ended {
                Ended::Shutdown => return Ok(()),
                Ended::Elsewhere => RENEW_EVERY,
                Ended::Refused(_) | Ended::Forked { .. } | Ended::Deleted(_) => {
                    tracing::error!(lane = %self.lane, error = %ended, "forwarding has stopped");
                    REFUSED_PAUSE
                }
                Ended::Log(_) | Ended::NotFormed | Ended::Unreachable(_) | Ended::Busy(_) => {
                    self.tell(&ended.to_string());
                    RETRY_PAUSE
                }
            };
            self.attempt += 1;
            tokio::select! {
                () = sleep(pause) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    /// A change of state is told once, not at every attempt.
    fn tell(&mut self, reason: &str) {
        if self.told == reason {
            tracing::debug!(lane = %self.lane, reason, "still not forwarding");
        } else {
            tracing::info!(lane = %self.lane, reason, "not forwarding, trying again");
            reason.clone_into(&mut self.told);
        }
    }

    async fn forward(&mut self) -> Result<Infallible, Ended> {
        let own = self.formed().await?;
        let claim = self.claim().await?;
        let connection = self.connect(own).await?;
        self.check_history(&connection.welcome).await?;
        tracing::info!(
            lane = %self.lane, parent = connection.welcome.hub, from = claim.next_offset,
            "forwarding"
        );
        self.metrics.connected(self.lane, true);
        self.told.clear();
        self.stream(claim, connection).await
    }

    /// A node whose data was lost is part of no hub any more: it must not hold the lease.
    async fn formed(&self) -> Result<StatusResponse, Ended> {
        let status = self.log.status().await?;
        if status.hub.is_empty() {
            Err(Ended::NotFormed)
        } else {
            Ok(status)
        }
    }

    /// A parent that holds more of what was born here than this hub does shows that data was lost
    /// here. The node that is asked may only lag for a moment, so it is asked again.
    async fn check_history(&self, welcome: &Welcome) -> Result<(), Ended> {
        let mut checks = 0;
        loop {
            let own = self.formed().await?;
            let Some(fork) = ahead(&welcome.origins, &own)? else {
                return Ok(());
            };
            checks += 1;
            if checks == HISTORY_CHECKS {
                return Err(fork);
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    fn cursor_name(&self) -> String {
        format!("forwarder/{}", self.lane)
    }

    /// Every claim is an entry of the log: one that is young enough is not made again.
    async fn claim(&mut self) -> Result<CursorState, Ended> {
        if let Some((claim, at)) = &self.claim
            && at.elapsed() < RENEW_EVERY
        {
            return Ok(claim.clone());
        }
        let (name, holder, at) = (self.cursor_name(), &self.config.holder, Instant::now());
        self.claim = None;
        let pinning = !self.hopeless;
        let claim = self.log.claim_cursor(&name, holder, LEASE, pinning).await?;
        self.claim = Some((claim.clone(), at));
        Ok(claim)
    }

    async fn connect(&self, own: StatusResponse) -> Result<Connection, Ended> {
        let uplinks = &self.config.uplinks;
        let unreachable = |reason: String| Ended::Unreachable(reason);
        let endpoint = &uplinks[self.attempt % uplinks.len()];
        let at = endpoint.uri();
        let channel = endpoint.connect().await;
        let channel = channel.map_err(|error| unreachable(format!("{at}: {}", cause(&error))))?;
        let mut client = UplinkClient::new(channel)
            .send_compressed(CompressionEncoding::Zstd)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let (requests, receiver) = mpsc::channel(REQUESTS);
        let hello = Request::Hello(self.hello(own));
        // There is room for it: nothing else was sent.
        let _ = requests
            .send(PushRequest {
                message: Some(hello),
            })
            .await;
        let greeting = async {
            let mut answers = client
                .push(ReceiverStream::new(receiver))
                .await?
                .into_inner();
            let first = answers.message().await?;
            Ok::<_, tonic::Status>((answers, first))
        };
        let greeted = timeout(WELCOME_TIMEOUT, greeting).await;
        let (answers, first) = greeted.map_err(|_| unreachable(format!("{at}: no greeting")))??;
        match first.and_then(|response| response.message) {
            Some(Answer::Welcome(welcome)) => Ok(Connection {
                requests,
                answers,
                welcome,
            }),
            Some(Answer::Refused(refusal)) => Err(refusal.into()),
            _ => Err(unreachable(format!("{at}: not an uplink"))),
        }
    }

    fn hello(&self, own: StatusResponse) -> Hello {
        Hello {
            group: 0,
            hub: self.config.hub.to_string(),
            incarnation: own.incarnation,
            lane: self.lane.number().into(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }

    async fn stream(
        &mut self,
        claim: CursorState,
        mut connection: Connection,
    ) -> Result<Infallible, Ended> {
        let scopes = self.config.scopes.clone();
        let mut window = Window::new(claim.next_offset, scopes, &connection.welcome.origins)?;
        let from = TailFrom {
            offset: Offset(claim.next_offset),
            lanes: vec![self.lane],
            stop_at_end: false,
            // The parent takes no gap (I4).
            whole: true,
        };
        let log = self.log.clone();
        let mut tail = pin!(log.tail(from));
        let mut committed = claim.next_offset;
        let mut commit = interval(COMMIT_EVERY);
        commit.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renew = interval(RENEW_EVERY);
        loop {
            tokio::select! {
                answer = connection.answers.message() => {
                    self.answered(&mut window, answer?)?;
                }
                response = tail.next(), if window.has_room() => {
                    let lost = || Ended::Unreachable("the tail has ended".into());
                    let response = response.ok_or_else(lost)??;
                    self.send(&mut window, &mut connection, response).await?;
                }
                _ = commit.tick() => {
                    if window.cursor() > committed {
                        committed = window.cursor();
                        self.commit(claim.epoch, committed).await?;
                    }
                }
                _ = renew.tick() => {
                    self.claim().await?;
                }
            }
        }
    }

    fn answered(&self, window: &mut Window, answer: Option<PushResponse>) -> Result<(), Ended> {
        match answer.and_then(|response| response.message) {
            Some(Answer::Ack(ack)) => {
                let envelopes = window.acknowledged(&ack)?;
                self.metrics.acknowledged(self.lane, envelopes.len() as u64);
                let lane = KeyValue::new("lane", self.lane.name());
                envelopes
                    .iter()
                    .for_each(|batch| batch.end("forward", [lane.clone()]));
                Ok(())
            }
            Some(Answer::Refused(refusal)) => Err(refusal.into()),
            Some(Answer::Welcome(_)) | None => {
                Err(Ended::Unreachable("the parent closed the stream".into()))
            }
        }
    }

    /// Sends what the log delivered; while the window is full the parent's answers come first.
    async fn send(
        &mut self,
        window: &mut Window,
        connection: &mut Connection,
        response: TailResponse,
    ) -> Result<(), Ended> {
        let closed = |_| Ended::Unreachable("the parent closed the stream".into());
        for delivery in &response.deliveries {
            // A response may hold more envelopes than the parent takes within the lease.
            self.claim().await?;
            while !window.has_room() {
                let answer = timeout(RENEW_EVERY, connection.answers.message()).await;
                if let Ok(answer) = answer {
                    self.answered(window, answer?)?;
                }
                self.claim().await?;
            }
            if let Some(envelope) = window.take(delivery.clone(), Instant::now().into_std())? {
                let message = Some(Request::Envelope(envelope));
                connection
                    .requests
                    .send(PushRequest { message })
                    .await
                    .map_err(closed)?;
            }
        }
        window.read_to(&response);
        Ok(())
    }

    async fn commit(&mut self, epoch: u64, next_offset: u64) -> Result<(), Ended> {
        let position = CursorPosition {
            name: self.cursor_name(),
            epoch,
            next_offset,
        };
        self.log.commit_cursors(vec![position]).await?;
        if let Some((claim, _)) = &mut self.claim {
            claim.next_offset = next_offset;
        }
        self.metrics.cursor(self.lane, next_offset);
        Ok(())
    }
}
