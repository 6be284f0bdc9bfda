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
/// Retained messages are answered in batches of about this size.
const RETAINED_BYTES: usize = 1 << 20;

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
        self.check_group(request.group)?;
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
        self.check_group(request.group)?;
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
                item.map_err(|error| {
                    tracing::error!(%error, "a tail could not go on");
                    Status::data_loss(error.to_string())
                })
            });
        Ok(Response::new(Box::pin(tail)))
    }

    type RetainedStream = Answers<rpc::RetainedResponse>;

    async fn retained(
        &self,
        request: Request<rpc::RetainedRequest>,
    ) -> Result<Response<Self::RetainedStream>, Status> {
        let request = request.into_inner();
        self.check_group(request.group)?;
        let filters: Result<Vec<TopicFilter>, _> = request
            .filters
            .iter()
            .map(|filter| filter.parse())
            .collect();
        let filters = filters.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (records, next_offset) = self.node.retained(&filters);
        let batches = batches(&records).map_err(|error| Status::internal(error.to_string()))?;
        let answers = batches.into_iter().map(move |batch| {
            Ok(rpc::RetainedResponse {
                batch: batch.bytes,
                next_offset,
            })
        });
        // The offset is told even when nothing matches.
        let end = Ok(rpc::RetainedResponse {
            batch: Default::default(),
            next_offset,
        });
        Ok(Response::new(Box::pin(stream::iter(
            answers.chain([end]).collect::<Vec<_>>(),
        ))))
    }

    async fn cursors(
        &self,
        request: Request<rpc::CursorsRequest>,
    ) -> Result<Response<rpc::CursorsResponse>, Status> {
        self.check_group(request.into_inner().group)?;
        Ok(Response::new(rpc::CursorsResponse {
            cursors: self.node.cursors(),
        }))
    }

    async fn session(
        &self,
        request: Request<rpc::SessionRequest>,
    ) -> Result<Response<rpc::SessionResponse>, Status> {
        let request = request.into_inner();
        self.check_group(request.group)?;
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

fn batches(records: &[Record]) -> Result<Vec<Batch>, proto::batch::BatchError> {
    let mut batches = Vec::new();
    let mut open: Vec<Record> = Vec::new();
    let mut bytes = 0;
    for record in records {
        bytes += record.size_bytes();
        open.push(record.clone());
        if bytes >= RETAINED_BYTES {
            batches.push(Batch::encode(&std::mem::take(&mut open))?);
            bytes = 0;
        }
    }
    if !open.is_empty() {
        batches.push(Batch::encode(&open)?);
    }
    Ok(batches)
}
