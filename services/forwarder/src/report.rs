//! The task that tells the parent how this hub and the hubs below it are (I6: the parent opens no
//! connection to look for itself).
//!
//! The forwarder of every node does so, once a second, to whichever node of the parent it reaches.
//! Nothing queues: the next report is made after the last one was answered.

use std::convert::Infallible;
use std::time::Duration;

use proto::Nanos;
use proto::report::MAX_REPORTS;
use proto::rpc::uplink_client::UplinkClient;
use proto::rpc::{HubReport, MAX_MESSAGE_BYTES, ReportRequest, ReportResponse};
use raft_log::client::LogClient;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::codec::CompressionEncoding;
use tonic::transport::Endpoint;

use crate::config::Config;
use crate::error::{Ended, Error, cause};
use crate::metrics::Metrics;

const REPORT_EVERY: Duration = Duration::from_secs(1);
/// A node of the parent that does not answer a report within this time is taken for lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// After a refusal that a person must look at.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

pub(crate) struct ReportTask {
    config: Config,
    log: LogClient,
    metrics: Metrics,
    /// Which of the parent's nodes is tried next.
    attempt: usize,
    /// Why it is not reporting, or what is not taken, as it was told last.
    told: String,
}

impl ReportTask {
    pub(crate) fn new(config: Config, log: LogClient, metrics: Metrics) -> ReportTask {
        ReportTask {
            config,
            log,
            metrics,
            attempt: 0,
            told: String::new(),
        }
    }

    /// Reports until the shutdown; whatever goes wrong is told and tried again.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        loop {
            let ended = tokio::select! {
                ended = self.report() => match ended {
                    Err(ended) => ended,
                    Ok(never) => match never {},
                },
                () = shutdown.cancelled() => return Ok(()),
            };
            self.metrics.reported("failed");
            self.tell(&ended.to_string());
            self.attempt += 1;
            let pause = match ended {
                Ended::Refused(_) => REFUSED_PAUSE,
                _ => RETRY_PAUSE,
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    async fn report(&mut self) -> Result<Infallible, Ended> {
        let uplinks = &self.config.uplinks;
        let endpoint = uplinks[self.attempt % uplinks.len()].clone();
        let first = self.request().await?;
        let (requests, mut answers) = connect(&endpoint, first).await?;
        let closed = || Ended::Unreachable("the parent closed the stream".into());
        let mut due = interval(REPORT_EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        due.tick().await;
        loop {
            let answer = timeout(ANSWER_TIMEOUT, answers.message()).await;
            let answer = answer.map_err(|_| Ended::Unreachable("no answer to a report".into()))?;
            match answer?.ok_or_else(closed)?.refused {
                Some(refusal) => {
                    self.metrics.reported("refused");
                    self.tell(&refusal.message);
                }
                None => {
                    self.metrics.reported("taken");
                    self.told.clear();
                }
            }
            due.tick().await;
            let request = self.request().await?;
            requests.send(request).await.map_err(|_| closed())?;
        }
    }

    /// What this node can find out now.
    async fn request(&self) -> Result<ReportRequest, Ended> {
        let mut hubs: Vec<HubReport> = self.log.topology().await?;
        if hubs.first().is_none_or(|own| own.incarnation.is_empty()) {
            return Err(Ended::NotFormed);
        }
        hubs.truncate(MAX_REPORTS);
        Ok(ReportRequest {
            group: 0,
            hub: self.config.hub.to_string(),
            time: Nanos::now().0,
            hubs: hubs.into_iter().map(HubReport::fit).collect(),
        })
    }

    /// A change of state is told once, not at every attempt.
    fn tell(&mut self, reason: &str) {
        if self.told == reason {
            tracing::debug!(
                reason,
                "the parent still does not take what this hub reports"
            );
        } else {
            tracing::info!(reason, "the parent does not take what this hub reports");
            reason.clone_into(&mut self.told);
        }
    }
}

/// A stream of reports to one of the parent's nodes. The first goes along: a server may answer a
/// stream no sooner than there is something in it.
async fn connect(
    endpoint: &Endpoint,
    first: ReportRequest,
) -> Result<(mpsc::Sender<ReportRequest>, Streaming<ReportResponse>), Ended> {
    let at = endpoint.uri();
    let unreachable = |reason: &str| Ended::Unreachable(format!("{at}: {reason}"));
    let channel = endpoint.connect().await;
    let channel = channel.map_err(|error| unreachable(&cause(&error)))?;
    let mut client = UplinkClient::new(channel)
        .send_compressed(CompressionEncoding::Zstd)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    // One is under way at most.
    let (requests, receiver) = mpsc::channel(1);
    let _ = requests.send(first).await;
    let answers = timeout(ANSWER_TIMEOUT, client.report(ReceiverStream::new(receiver)));
    let answers = answers.await.map_err(|_| unreachable("no answer"))??;
    Ok((requests, answers.into_inner()))
}
