//! The gRPC service `Uplink`: hubs below push their envelopes, this hub commits and acknowledges
//! them (I1, I4, I6).
//!
//! Only the leader can commit, but a child may be connected to any node, through any load balancer:
//! a node that does not lead hands the stream on to the one that does. What a child reports of
//! itself is no record: the node that hears it keeps it ([`Reports`]).

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt, stream};
use opentelemetry::KeyValue;
use proto::rpc::command::Operation;
use proto::rpc::push_request::Message as Request;
use proto::rpc::push_response::Message as Answer;
use proto::rpc::uplink_client::UplinkClient;
use proto::rpc::{
    self, Hello, MAX_MESSAGE_BYTES, PushRequest, PushResponse, Refusal, RefusalKind, Relay,
    ReportRequest, ReportResponse,
};
use proto::{HubPath, Lane, Nanos};
use raft_log::Node;
use raft_log::client::connect_lazy;
use raft_log::refusal::{refusal, to_status};
use raft_log::state::Applied;
use raft_log::trace::Stage;
use tokio_util::sync::CancellationToken;
use tonic::transport::ClientTlsConfig;
use tonic::{Response, Status, Streaming};

use crate::metrics::Metrics;
use crate::reports::{self, Reports};

/// Envelopes of one stream between submission and answer.
const UNDER_WAY: usize = proto::envelope::MAX_UNACKNOWLEDGED;

#[derive(Clone, Debug)]
pub(crate) struct Uplink {
    pub(crate) node: Node,
    pub(crate) group: u32,
    pub(crate) reports: Arc<Mutex<Reports>>,
    pub(crate) tls: Option<ClientTlsConfig>,
    /// Not set where streams arrive that were handed on already: two nodes that each take the other
    /// for the leader must not pass a child back and forth.
    pub(crate) may_hand_on: bool,
    pub(crate) shutdown: CancellationToken,
    pub(crate) metrics: Metrics,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// An envelope of a child between submission and answer.
struct Submitting {
    records: u64,
    stage: Stage,
    submitted: Result<raft_log::node::Submitted, Refusal>,
}

/// A child hub on one lane, after its greeting was checked.
#[derive(Clone, Debug)]
struct Child {
    hub: HubPath,
    lane: Lane,
}

impl Uplink {
    async fn serve(
        &self,
        hello: Hello,
        requests: Streaming<PushRequest>,
    ) -> Result<Answers<PushResponse>, Status> {
        let child = self.greet(&hello).map_err(|refusal| to_status(&refusal))?;
        // Whatever was committed before is applied when this has been: the answer below is current.
        self.barrier()
            .await
            .map_err(|refusal| to_status(&refusal))?;
        tracing::info!(child = %child.hub, lane = %child.lane, version = hello.version, "a hub below is connected");
        let welcome = stream::iter([Ok(self.welcome(&child))]);
        let answers = self.clone().commit(child, requests);
        Ok(Box::pin(welcome.chain(answers)))
    }

    fn greet(&self, hello: &Hello) -> Result<Child, Refusal> {
        let invalid = |message: String| refusal(RefusalKind::Invalid, message);
        if hello.group != self.group {
            return Err(invalid(format!("there is no group {} here", hello.group)));
        }
        let lane = Lane::from_number(hello.lane);
        let lane = lane.ok_or_else(|| invalid(format!("there is no lane {}", hello.lane)))?;
        let hub = reports::child(&self.own_path()?, &hello.hub)?;
        Ok(Child { hub, lane })
    }

    fn own_path(&self) -> Result<HubPath, Refusal> {
        let own = self.node.hub();
        own.map(|own| own.path)
            .ok_or_else(|| refusal(RefusalKind::NoQuorum, "the hub is not formed yet"))
    }

    /// Takes a child's word on how it and the hubs below it are.
    fn take_reports(&self, request: ReportRequest) -> Result<ReportResponse, Refusal> {
        if request.group != self.group {
            let message = format!("there is no group {} here", request.group);
            return Err(refusal(RefusalKind::Invalid, message));
        }
        let own = self.own_path()?;
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.accept(&own, request, Nanos::now())
    }

    async fn barrier(&self) -> Result<(), Refusal> {
        let nothing = Operation::CommitCursors(rpc::CommitCursors::default());
        self.node.propose(nothing).await.map(drop)
    }

    fn welcome(&self, child: &Child) -> PushResponse {
        let of_lane = |origin: &rpc::OriginState| {
            let lane = origin.origin.as_ref().map(|origin| origin.lane);
            lane == Some(u32::from(child.lane.number()))
        };
        let origins = self
            .node
            .origins_below(&child.hub)
            .into_iter()
            .filter(of_lane)
            .collect();
        let hub = self
            .node
            .hub()
            .map(|hub| hub.path.to_string())
            .unwrap_or_default();
        message(Answer::Welcome(rpc::Welcome { hub, origins }))
    }

    /// Submits in the order received, answers in that order, ends with the first refusal.
    fn commit(
        self,
        child: Child,
        requests: Streaming<PushRequest>,
    ) -> impl Stream<Item = Result<PushResponse, Status>> + Send {
        let shutdown = self.shutdown.clone();
        let (uplink, counting) = (self.clone(), self);
        let submitting = child.clone();
        let mut refused = false;
        until_fault(requests)
            .take_until(shutdown.cancelled_owned())
            .then(move |request| {
                let (uplink, child) = (uplink.clone(), submitting.clone());
                async move { uplink.submit(&child, request).await }
            })
            .map(
                |Submitting {
                     records,
                     stage,
                     submitted,
                 }| async move {
                    let outcome = match submitted {
                        Ok(submitted) => submitted.outcome().await,
                        Err(refusal) => Err(refusal),
                    };
                    (records, stage, outcome)
                },
            )
            .buffered(UNDER_WAY)
            .map(move |(records, stage, outcome)| counting.answer(&child, records, &stage, outcome))
            .take_while(move |answer| {
                // The refusal itself is still sent.
                let go_on = !refused;
                refused |= matches!(answer.message, Some(Answer::Refused(_)));
                std::future::ready(go_on)
            })
            .map(Ok)
    }

    async fn submit(&self, child: &Child, request: PushRequest) -> Submitting {
        let Some(Request::Envelope(envelope)) = request.message else {
            return Submitting {
                records: 0,
                stage: Stage::begin(&[]),
                submitted: Err(refusal(RefusalKind::Invalid, "expected an envelope")),
            };
        };
        let records = u64::from(envelope.count);
        let stage = Stage::begin(&envelope.digest);
        let submitted = match check_origin(child, &envelope) {
            Ok(()) => {
                let envelope = Some(envelope);
                let relay = Operation::Relay(Relay { envelope });
                self.node.submit(relay).await
            }
            Err(refusal) => Err(refusal),
        };
        Submitting {
            records,
            stage,
            submitted,
        }
    }

    fn answer(
        &self,
        child: &Child,
        records: u64,
        stage: &Stage,
        outcome: Result<Applied, Refusal>,
    ) -> PushResponse {
        match outcome {
            Ok(Applied::Relayed(state)) => {
                let hub = KeyValue::new("hub", child.hub.to_string());
                self.metrics
                    .uplink_records
                    .add(records, std::slice::from_ref(&hub));
                stage.end("relay", [hub]);
                let next_sequence = state.next_sequence;
                message(Answer::Ack(rpc::Ack {
                    origin: state.origin,
                    next_sequence,
                }))
            }
            Ok(Applied::Refused(refusal)) | Err(refusal) => {
                self.metrics.refuse(&refusal);
                message(Answer::Refused(refusal))
            }
            Ok(other) => {
                let text = format!("the operation answers {other:?}");
                message(Answer::Refused(refusal(RefusalKind::Invalid, text)))
            }
        }
    }

    /// Hands the stream on to the node that leads.
    async fn hand_on(
        &self,
        leader: &str,
        hello: Hello,
        requests: Streaming<PushRequest>,
    ) -> Result<Answers<PushResponse>, Status> {
        let channel = connect_lazy(leader, self.tls.as_ref())
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let mut client = UplinkClient::new(channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let first = PushRequest {
            message: Some(Request::Hello(hello)),
        };
        let rest = until_fault(requests).take_until(self.shutdown.clone().cancelled_owned());
        let answers = client.push(stream::iter([first]).chain(rest)).await?;
        Ok(Box::pin(answers.into_inner()))
    }
}

/// The requests of a stream until it ends or breaks.
pub(crate) fn until_fault<T: Send + 'static>(
    requests: Streaming<T>,
) -> impl Stream<Item = T> + Send + 'static {
    requests
        .take_while(|request| std::future::ready(request.is_ok()))
        .filter_map(|request| std::future::ready(request.ok()))
}

fn message(answer: Answer) -> PushResponse {
    PushResponse {
        message: Some(answer),
    }
}

/// A child may send its own origins and those of hubs below it, on the lane it named.
fn check_origin(child: &Child, envelope: &rpc::Envelope) -> Result<(), Refusal> {
    let origin = proto::Origin::try_from(&envelope.origin.clone().unwrap_or_default());
    let origin = origin.map_err(|error| refusal(RefusalKind::Invalid, error.to_string()))?;
    if !child.hub.covers(&origin.hub) || origin.lane != child.lane {
        let text = format!(
            "hub {} may not send origin {origin} on lane {}",
            child.hub, child.lane
        );
        return Err(refusal(RefusalKind::Scope, text));
    }
    Ok(())
}

#[tonic::async_trait]
impl rpc::uplink_server::Uplink for Uplink {
    type PushStream = Answers<PushResponse>;

    async fn push(
        &self,
        request: tonic::Request<Streaming<PushRequest>>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests
            .message()
            .await?
            .and_then(|request| request.message);
        let Some(Request::Hello(hello)) = first else {
            let refusal = refusal(RefusalKind::Invalid, "a stream begins with a hello");
            return Err(to_status(&refusal));
        };
        let answers = match self.node.leader() {
            raft_log::node::Leader::This => self.serve(hello, requests).await?,
            raft_log::node::Leader::Other(address) if self.may_hand_on => {
                self.hand_on(&address, hello, requests).await?
            }
            raft_log::node::Leader::Other(_) | raft_log::node::Leader::Unknown => {
                let refusal = refusal(RefusalKind::NoQuorum, "no node leads at the moment");
                return Err(to_status(&refusal));
            }
        };
        Ok(Response::new(answers))
    }

    type ReportStream = Answers<ReportResponse>;

    /// Any node takes reports: whoever asks for the topology asks all of them.
    async fn report(
        &self,
        request: tonic::Request<Streaming<ReportRequest>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let uplink = self.clone();
        let shutdown = self.shutdown.clone();
        let mut refused = false;
        let answers = until_fault(request.into_inner())
            .take_until(shutdown.cancelled_owned())
            .map(move |request| uplink.take_reports(request).map_err(|r| to_status(&r)))
            .take_while(move |answer| {
                // The refusal itself is still sent.
                let go_on = !refused;
                refused |= answer.is_err();
                std::future::ready(go_on)
            });
        Ok(Response::new(Box::pin(answers)))
    }
}
