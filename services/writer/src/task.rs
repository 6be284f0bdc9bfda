//! The task that writes.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use historian::{Claim, Historian};
use kit::ready::Part;
use proto::rpc::{CursorPosition, CursorState, TailResponse};
use raft_log::client::{ClientError, LogClient, TailFrom};
use raft_log::trace::Stage;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info};

use crate::config::Config;
use crate::error::{Ended, Error, Next, pause};
use crate::gather::{Gather, Limits, Portion};
use crate::metrics::Metrics;

/// How long the log's cursor is ours after we last said so.
const LEASE: Duration = Duration::from_secs(10);
/// How often we say so.
const RENEW_EVERY: Duration = Duration::from_secs(3);
/// How often the log's cursor follows the historian's.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
const RELEASE_LIMIT: Duration = Duration::from_secs(1);

pub(crate) struct WriteTask {
    config: Config,
    log: LogClient,
    historian: Arc<dyn Historian>,
    metrics: Metrics,
    ready: Part,
    limits: Limits,
    /// The hold on the historian as it was had last.
    claim: Option<Claim>,
    /// Epoch of the lease that we have, or had last.
    lease: Option<u64>,
    /// Epoch of the lease under which another writer took the historian from us.
    fenced: Option<u64>,
}

/// A stretch of writing, from a take-over or an error to the next error.
struct Stretch {
    lease: CursorState,
    claim: Claim,
    gather: Gather,
    /// Where the log's cursor stands.
    followed: u64,
}

impl WriteTask {
    pub(crate) fn new(
        config: Config,
        log: LogClient,
        historian: Arc<dyn Historian>,
        metrics: Metrics,
        ready: Part,
    ) -> WriteTask {
        WriteTask {
            config,
            log,
            historian,
            metrics,
            ready,
            limits: Limits::default(),
            claim: None,
            lease: None,
            fenced: None,
        }
    }

    /// Writes until the shutdown; whatever goes wrong is told and tried again.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        // A hub whose database is down is a working hub: the log keeps everything.
        self.ready.ready();
        loop {
            let ended = tokio::select! {
                ended = self.write() => match ended {
                    Err(ended) => ended,
                    Ok(never) => match never {},
                },
                () = shutdown.cancelled() => break,
            };
            self.metrics.writing(false);
            let pause = self.ended(&ended);
            tokio::select! {
                () = sleep(pause) => {}
                () = shutdown.cancelled() => break,
            }
        }
        self.release().await;
        Ok(())
    }

    /// Tells it, and for how long to wait.
    fn ended(&mut self, ended: &Ended) -> Duration {
        let next = ended.next();
        if let Some(of) = ended.of() {
            self.metrics.error(of);
        }
        match next {
            Next::Soon => info!(reason = %ended, "not writing"),
            Next::WithBackoff => {
                self.limits.failed();
                info!(reason = %ended, "not writing, trying again");
            }
            Next::Loud => error!(error = %ended, "writing has stopped"),
        }
        match ended {
            Ended::Elsewhere => (self.claim, self.lease) = (None, None),
            Ended::Historian(historian::Error::Fenced { .. }) => {
                (self.claim, self.fenced) = (None, self.lease);
            }
            _ => {}
        }
        pause(next, self.limits.failures(), jitter())
    }

    /// Lets another node's writer take over at once.
    async fn release(&self) {
        if self.lease.is_some() {
            let (name, holder) = (&self.config.cursor, &self.config.holder);
            let released = self.log.claim_cursor(name, holder, Duration::ZERO, true);
            // Without it the lease ends by itself.
            let _ = timeout(RELEASE_LIMIT, released).await;
        }
    }

    async fn write(&mut self) -> Result<Infallible, Ended> {
        let lease = self.lease().await?;
        if self.fenced.take() == Some(lease.epoch) {
            return Err(Ended::Twin {
                holder: self.config.holder.clone(),
            });
        }
        let claim = self.claim().await?;
        self.check(&lease, &claim).await?;
        info!(stream = claim.stream, epoch = claim.epoch, from = %claim.next_offset, "writing");
        self.metrics.writing(true);
        let gather = Gather::new(claim.next_offset);
        let followed = claim.next_offset.0;
        self.stretch(Stretch {
            lease,
            claim,
            gather,
            followed,
        })
        .await
    }

    async fn lease(&mut self) -> Result<CursorState, Ended> {
        let (name, holder) = (&self.config.cursor, &self.config.holder);
        let lease = self.log.claim_cursor(name, holder, LEASE, true).await?;
        self.lease = Some(lease.epoch);
        Ok(lease)
    }

    /// Where to go on: as the database says, whatever is remembered.
    async fn claim(&mut self) -> Result<Claim, Ended> {
        let status = self.log.status().await?;
        if status.hub.is_empty() {
            let reason = "the hub is not formed yet".to_owned();
            return Err(Ended::Log(ClientError::Unavailable { reason }));
        }
        let incarnation = proto::Incarnation::from_bytes(&status.incarnation).unwrap_or_default();
        let stream = format!("{}/{incarnation}", status.hub);
        let claim = match self.claim.as_ref().filter(|claim| claim.stream == stream) {
            Some(claim) => self.historian.refresh(claim).await?,
            None => self.historian.take_over(&stream).await?,
        };
        self.claim = Some(claim.clone());
        Ok(claim)
    }

    /// The log refuses a position that it has not reached.
    async fn check(&self, lease: &CursorState, claim: &Claim) -> Result<(), Ended> {
        let position = self.position(lease, claim);
        let checked = self.log.commit_cursors(vec![position]).await;
        checked.map_err(|error| Ended::of_position(error, claim.next_offset))
    }

    fn position(&self, lease: &CursorState, claim: &Claim) -> CursorPosition {
        let (name, next_offset) = (self.config.cursor.clone(), claim.next_offset.0);
        CursorPosition {
            name,
            epoch: lease.epoch,
            next_offset,
        }
    }

    async fn stretch(&mut self, mut stretch: Stretch) -> Result<Infallible, Ended> {
        let offset = stretch.claim.next_offset;
        let log = self.log.clone();
        let mut tail = pin!(log.tail(TailFrom {
            offset,
            ..Default::default()
        }));
        let mut follow = interval(FOLLOW_EVERY);
        follow.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut renew = interval(RENEW_EVERY);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = stretch.gather.due();
            tokio::select! {
                response = tail.next(), if stretch.gather.has_room() => {
                    let reason = "the tail has ended".to_owned();
                    let response = response.ok_or(ClientError::Unavailable { reason })??;
                    self.received(&mut stretch, response);
                }
                () = until(due) => {}
                _ = follow.tick() => self.follow(&mut stretch).await?,
                _ = renew.tick() => stretch.lease = self.lease().await?,
            }
            while let Some(portion) = stretch.gather.take(self.limits, Instant::now())? {
                self.store(&mut stretch, portion).await?;
            }
        }
    }

    fn received(&self, stretch: &mut Stretch, response: TailResponse) {
        if let Some(lost) = stretch.gather.push(response, Instant::now()) {
            let records = lost.end - lost.start;
            error!(
                from = lost.start,
                records,
                "the log has these records no more; was the historian put back to an older state?"
            );
            self.metrics.lost(records);
        }
    }

    async fn store(&mut self, stretch: &mut Stretch, portion: Portion) -> Result<(), Ended> {
        let Portion {
            rows,
            batches,
            next,
            newest,
        } = portion;
        let began = Instant::now().into_std();
        let written = self.historian.write(&stretch.claim, rows, next).await?;
        self.limits.succeeded();
        self.metrics.written(&written, newest, began.elapsed());
        debug!(rows = written.rows, dead_letters = written.dead_letters, %next, "written");
        for digest in batches {
            Stage::began(&digest, began).end("write", []);
        }
        stretch.claim = written.claim;
        Ok(())
    }

    /// Lets the log know what it need not keep for the historian any more.
    async fn follow(&self, stretch: &mut Stretch) -> Result<(), Ended> {
        if stretch.claim.next_offset.0 > stretch.followed {
            let position = self.position(&stretch.lease, &stretch.claim);
            self.log.commit_cursors(vec![position]).await?;
            stretch.followed = stretch.claim.next_offset.0;
        }
        Ok(())
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// 0 to 1; the clock's last digits are random enough.
fn jitter() -> f64 {
    (proto::Nanos::now().0.rem_euclid(1000)) as f64 / 1000.0
}
