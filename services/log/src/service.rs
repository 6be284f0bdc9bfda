//! The gRPC service `Log`: what the hub's own services ask of its log.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::{Stream, StreamExt, stream};
use proto::rpc::command::Operation;
use proto::rpc::propose_response::Reply;
use proto::rpc::{self, AppendRequest, AppendResponse, Refusal, RefusalKind};
use proto::{Batch, Lane, Nanos, Offset, Record, TopicFilter};
use raft_log::Node;
use raft_log::node::{RetainedPage, TailError};
use raft_log::refusal::{refusal, to_status};
use raft_log::state::Applied;
use raft_log::trace::Stage;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::metrics::Metrics;
use crate::reports::Reports;
use crate::uplink::until_fault;

/// Appends of one stream that are under way; a producer's window is smaller.
const APPENDS: usize = 32;
/// Last values of one answer at most: each of them is small.
const LAST_VALUES: usize = 4096;

#[derive(Clone, Debug)]
pub(crate) struct Log {
    node: Node,
    group: u32,
    reports: Arc<Mutex<Reports>>,
    shutdown: CancellationToken,
    metrics: Metrics,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Log {
    pub(crate) fn new(
        node: Node,
        group: u32,
        reports: Arc<Mutex<Reports>>,
        shutdown: CancellationToken,
    ) -> Log {
        Log {
            node,
            group,
            reports,
            shutdown,
            metrics: Metrics::new(),
        }
    }

    /// Whether this node may answer from its state.
    fn check(&self, group: u32) -> Result<(), Status> {
        self.check_group(group)?;
        let serving = self.node.check_serving();
        serving.map_err(|refusal| to_status(&refusal))
    }

    fn check_group(&self, group: u32) -> Result<(), Status> {
        if group == self.group {
            return Ok(());
        }
        Err(to_status(&refusal(
            RefusalKind::Invalid,
            format!("there is no group {group} here"),
        )))
    }

    /// Puts an append into Raft's queue; its outcome is awaited apart, so that the next can follow.
    async fn submit(&self, request: AppendRequest) -> Submitting {
        let append = request.append.unwrap_or_default();
        let sequence = append.producer.as_ref().map_or(0, |stamp| stamp.sequence);
        let records = append
            .envelopes
            .iter()
            .map(|envelope| u64::from(envelope.count))
            .sum();
        let started = Instant::now();
        let digests = append.envelopes.iter().map(|envelope| &envelope.digest);
        let batches = digests
            .map(|digest| Stage::began(digest, started))
            .collect();
        let submitted = if request.group == self.group {
            self.node.submit(Operation::Append(append)).await
        } else {
            Err(refusal(
                RefusalKind::Invalid,
                format!("no group {}", request.group),
            ))
        };
        Submitting {
            sequence,
            records,
            started,
            batches,
            submitted,
        }
    }

    async fn answer(self, submitting: Submitting) -> AppendResponse {
        let Submitting {
            sequence,
            records,
            started,
            batches,
            submitted,
        } = submitting;
        let outcome = match submitted {
            Ok(submitted) => submitted.outcome().await,
            Err(refusal) => Err(refusal),
        };
        let outcome = match outcome {
            Ok(Applied::Appended(appended)) => {
                self.metrics
                    .append_seconds
                    .record(started.elapsed().as_secs_f64(), &[]);
                self.metrics.appended_records.add(records, &[]);
                batches.iter().for_each(|batch| batch.end("append", []));
                rpc::append_response::Outcome::Appended(appended)
            }
            Ok(Applied::Refused(refusal)) | Err(refusal) => {
                self.metrics.refuse(&refusal);
                rpc::append_response::Outcome::Refused(refusal)
            }
            Ok(other) => rpc::append_response::Outcome::Refused(unexpected(&other)),
        };
        AppendResponse {
            producer_sequence: sequence,
            outcome: Some(outcome),
        }
    }
}

struct Submitting {
    sequence: u64,
    records: u64,
    started: Instant,
    batches: Vec<Stage>,
    submitted: Result<raft_log::node::Submitted, Refusal>,
}

fn unexpected(applied: &Applied) -> Refusal {
    refusal(
        RefusalKind::Invalid,
        format!("the operation answers {applied:?}"),
    )
}

fn reply(applied: Applied) -> Result<Reply, Refusal> {
    match applied {
        Applied::Done { next_offset } => Ok(Reply::Done(rpc::Done { next_offset })),
        Applied::Producer(stamp) => Ok(Reply::Producer(stamp)),
        Applied::Cursor(cursor) => Ok(Reply::Cursor(cursor)),
        Applied::Session(session) => Ok(Reply::Session(*session)),
        Applied::Refused(refusal) => Err(refusal),
        other @ (Applied::Appended(_) | Applied::Relayed(_)) => Err(unexpected(&other)),
    }
}

#[tonic::async_trait]
impl rpc::log_server::Log for Log {
    async fn propose(
        &self,
        request: Request<rpc::ProposeRequest>,
    ) -> Result<Response<rpc::ProposeResponse>, Status> {
        let request = request.into_inner();
        self.check(request.group)?;
        let operation = request.command.and_then(|command| command.operation);
        let missing = || to_status(&refusal(RefusalKind::Invalid, "no operation"));
        let operation = operation.ok_or_else(missing)?;
        if matches!(operation, Operation::Retain(_)) {
            let message = "what is deleted is the leader's to propose; see log.retention";
            return Err(to_status(&refusal(RefusalKind::Invalid, message)));
        }
        let applied = self.node.propose(operation).await;
        match applied.and_then(reply) {
            Ok(reply) => Ok(Response::new(rpc::ProposeResponse { reply: Some(reply) })),
            Err(refusal) => {
                self.metrics.refuse(&refusal);
                Err(to_status(&refusal))
            }
        }
    }

    type AppendStream = Answers<AppendResponse>;

    async fn append(
        &self,
        request: Request<Streaming<AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let (log, answering) = (self.clone(), self.clone());
        let answers = until_fault(request.into_inner())
            .take_until(self.shutdown.clone().cancelled_owned())
            .then(move |request| {
                let log = log.clone();
                async move { log.submit(request).await }
            })
            .map(move |submitting| answering.clone().answer(submitting))
            .buffered(APPENDS)
            .map(Ok);
        Ok(Response::new(Box::pin(answers)))
    }

    type TailStream = Answers<rpc::TailResponse>;

    async fn tail(
        &self,
        request: Request<rpc::TailRequest>,
    ) -> Result<Response<Self::TailStream>, Status> {
        let request = request.into_inner();
        self.check(request.group)?;
        let lanes: Option<Vec<Lane>> = request
            .lanes
            .iter()
            .map(|lane| Lane::from_number(*lane))
            .collect();
        let lanes = lanes.ok_or_else(|| Status::invalid_argument("no such lane"))?;
        let tail = self
            .node
            .tail(Offset(request.from_offset), lanes, request.stop_at_end);
        let tail = tail
            .take_until(self.shutdown.clone().cancelled_owned())
            .map(|item| {
                item.map_err(|error| match error {
                    TailError::NotServing(_) | TailError::Ended => {
                        to_status(&refusal(RefusalKind::ShuttingDown, error.to_string()))
                    }
                    TailError::Read(_) => {
                        tracing::error!(%error, "a tail could not go on");
                        Status::data_loss(error.to_string())
                    }
                })
            });
        Ok(Response::new(Box::pin(tail)))
    }

    async fn offset_at(
        &self,
        request: Request<rpc::OffsetAtRequest>,
    ) -> Result<Response<rpc::OffsetAtResponse>, Status> {
        let request = request.into_inner();
        self.check_group(request.group)?;
        let offset = self.node.offset_at(Nanos(request.time)).await;
        let offset = offset.map_err(|error| Status::data_loss(error.to_string()))?;
        Ok(Response::new(rpc::OffsetAtResponse { offset: offset.0 }))
    }

    type RetainedStream = Answers<rpc::RetainedResponse>;

    async fn retained(
        &self,
        request: Request<rpc::RetainedRequest>,
    ) -> Result<Response<Self::RetainedStream>, Status> {
        let request = request.into_inner();
        self.check(request.group)?;
        let filters = filters(&request.filters)?;
        let pages = RetainedPages {
            node: self.node.clone(),
            filters,
            last: None,
            end: None,
        };
        let answers = stream::try_unfold(pages, RetainedPages::next);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn last_values(
        &self,
        request: Request<rpc::LastValuesRequest>,
    ) -> Result<Response<rpc::LastValuesResponse>, Status> {
        let request = request.into_inner();
        self.check(request.group)?;
        let filters = filters(&request.filters)?;
        let limit = match usize::try_from(request.limit) {
            Ok(limit @ 1..=LAST_VALUES) => limit,
            _ => LAST_VALUES,
        };
        let after = request.after_topic.as_deref();
        let (page, next_offset) = self.node.last_values(&filters, after, limit);
        let offsets = page.rows.iter().map(|last| last.offset).collect();
        let large = page.rows.iter().map(|last| last.large.unwrap_or_default());
        let large = large.collect();
        let records = page.rows.into_iter().map(|last| last.record);
        let records: Vec<Record> = records.collect();
        let batch = match &records[..] {
            [] => Default::default(),
            records => encode(records)?.bytes,
        };
        Ok(Response::new(rpc::LastValuesResponse {
            batch,
            offsets,
            large,
            more_after: page.more_after,
            next_offset,
        }))
    }

    async fn cursors(
        &self,
        request: Request<rpc::CursorsRequest>,
    ) -> Result<Response<rpc::CursorsResponse>, Status> {
        self.check(request.into_inner().group)?;
        Ok(Response::new(rpc::CursorsResponse {
            cursors: self.node.cursors(),
        }))
    }

    async fn session(
        &self,
        request: Request<rpc::SessionRequest>,
    ) -> Result<Response<rpc::SessionResponse>, Status> {
        let request = request.into_inner();
        self.check(request.group)?;
        let session = self.node.session(&request.client_id);
        Ok(Response::new(rpc::SessionResponse { session }))
    }

    async fn status(
        &self,
        request: Request<rpc::StatusRequest>,
    ) -> Result<Response<rpc::StatusResponse>, Status> {
        self.check_group(request.into_inner().group)?;
        Ok(Response::new(self.node.status()))
    }

    async fn topology(
        &self,
        request: Request<rpc::TopologyRequest>,
    ) -> Result<Response<rpc::TopologyResponse>, Status> {
        self.check_group(request.into_inner().group)?;
        let mut hubs = vec![self.node.report()];
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.extend(reports.newest(Nanos::now()));
        Ok(Response::new(rpc::TopologyResponse { hubs }))
    }
}

fn filters(filters: &[String]) -> Result<Vec<TopicFilter>, Status> {
    let parsed: Result<Vec<TopicFilter>, _> = filters.iter().map(|filter| filter.parse()).collect();
    parsed.map_err(|error| Status::invalid_argument(error.to_string()))
}

fn encode(records: &[Record]) -> Result<Batch, Status> {
    Batch::encode(records).map_err(|error| Status::internal(error.to_string()))
}

/// Retained messages on their way to who asked, a page in memory at a time.
struct RetainedPages {
    node: Node,
    filters: Vec<TopicFilter>,
    last: Option<RetainedPage>,
    /// What is told at the end, even when nothing matches.
    end: Option<u64>,
}

impl RetainedPages {
    async fn next(mut self) -> Result<Option<(rpc::RetainedResponse, RetainedPages)>, Status> {
        self.node
            .check_serving()
            .map_err(|refusal| to_status(&refusal))?;
        while let Some(page) = self.node.retained(&self.filters, self.last.as_ref()) {
            let next_offset = page.next_offset;
            self.end = Some(next_offset);
            let records = &page.page.rows;
            let batch = match &records[..] {
                [] => None,
                records => Some(encode(records)?.bytes),
            };
            self.last = Some(page);
            if let Some(batch) = batch {
                let response = rpc::RetainedResponse { batch, next_offset };
                return Ok(Some((response, self)));
            }
            tokio::task::yield_now().await;
        }
        let Some(next_offset) = self.end.take() else {
            return Ok(None);
        };
        let response = rpc::RetainedResponse {
            batch: Default::default(),
            next_offset,
        };
        Ok(Some((response, self)))
    }
}
