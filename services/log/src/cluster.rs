//! The gRPC service `Cluster`: which nodes form the hub, and changing that.

use std::pin::Pin;

use futures::{Stream, StreamExt};
use proto::rpc::{
    ChangeProgress, ChangeRequest, MembersRequest, MembersResponse, Refusal, RefusalKind,
    cluster_server,
};
use raft_log::Node;
use raft_log::refusal::{refusal, to_status};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Steps that were taken and not yet read; the change waits for its reader then.
const STEPS: usize = 4;

#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) node: Node,
    pub(crate) group: u32,
    pub(crate) shutdown: CancellationToken,
}

impl Cluster {
    fn check_group(&self, group: u32) -> Result<(), Status> {
        let problem = || format!("there is no group {group} here");
        (group == self.group)
            .then_some(())
            .ok_or_else(|| to_status(&refusal(RefusalKind::Invalid, problem())))
    }
}

#[tonic::async_trait]
impl cluster_server::Cluster for Cluster {
    async fn members(
        &self,
        request: Request<MembersRequest>,
    ) -> Result<Response<MembersResponse>, Status> {
        self.check_group(request.into_inner().group)?;
        Ok(Response::new(self.node.members()))
    }

    type ChangeStream = Pin<Box<dyn Stream<Item = Result<ChangeProgress, Status>> + Send>>;

    /// In a task of its own: when the client goes away, the step under way is still brought to its
    /// end.
    async fn change(
        &self,
        request: Request<ChangeRequest>,
    ) -> Result<Response<Self::ChangeStream>, Status> {
        let request = request.into_inner();
        self.check_group(request.group)?;
        let missing = || to_status(&refusal(RefusalKind::Invalid, "no change"));
        let change = request.change.ok_or_else(missing)?;
        tracing::info!(?change, "a change of the hub's nodes was asked for");
        let (told, steps) = mpsc::channel(STEPS);
        let node = self.node.clone();
        let ended = tokio::spawn(async move { node.change(change, told).await });
        let refused = futures::stream::once(async move {
            let broken = |_| refusal(RefusalKind::ShuttingDown, "the node is shutting down");
            match ended.await.map_err(broken) {
                Ok(Ok(())) => None,
                Ok(Err(refusal)) | Err(refusal) => Some(Err(told_off(&refusal))),
            }
        });
        let answers = ReceiverStream::new(steps)
            .map(Ok)
            .chain(refused.filter_map(futures::future::ready))
            .take_until(self.shutdown.clone().cancelled_owned());
        Ok(Response::new(Box::pin(answers)))
    }
}

fn told_off(refusal: &Refusal) -> Status {
    tracing::info!(
        reason = refusal.message,
        "the change of the hub's nodes ended"
    );
    to_status(refusal)
}
