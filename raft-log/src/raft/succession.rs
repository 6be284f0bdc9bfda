//! Who takes over when the leader's process has ended.
//!
//! Raft's followers wait for an election timeout, since silence alone says little. The end of a
//! process says more: its host closes its connections at once. So every voter holds a call
//! ([`Service::watch`](super::service::Service)) open to the leader it follows. When the call breaks
//! it dials again. A leader that answers is alive, and nothing happens; one that is not there is
//! [`Gone`], and the voter asks the others in a pre-vote whether they see the same. With a majority
//! that does it stands for election, and its request passes the lease that the others still give the
//! leader, as in a transfer of the leadership (Ongaro 2014 §4.2.3).
//!
//! Nobody reads under that lease; it only spares the hub needless elections. What makes a leader is
//! the vote, and its rules (term, log, durable before it is given) stay as they are.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use openraft::async_runtime::WatchReceiver as _;
use openraft::raft::TransferLeaderRequest;
use proto::ids::NodeIdentity;
use proto::rpc::raft_client::RaftClient;
use proto::rpc::{self, RaftVote, WatchRequest};
use rand::Rng as _;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;
use tonic::transport::{Channel, ClientTlsConfig};

use crate::client::connect_in;
use crate::environment::Environment;
use crate::raft::convert;
use crate::raft::types::{LogId, Member, Membership, Raft, Vote};

/// A leader that has not answered by then may be slow, or cut off: that is for the election timeout.
const ANSWER: Duration = Duration::from_millis(500);
/// Two voters that stand at once only delay each other.
const STAND_WITHIN_MS: u64 = 20;
/// How often a voter asks again: the others may notice a moment later.
const ROUNDS: u64 = 20;
/// An election takes less.
const INSIST_AFTER_MS: std::ops::RangeInclusive<u64> = 50..=250;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The vote of a leader whose process has ended, as this node sees it. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gone(Arc<Mutex<Option<Vote>>>);

impl Gone {
    fn set(&self, vote: Option<Vote>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = vote;
    }

    pub(crate) fn is(&self, vote: &Vote) -> bool {
        let gone = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gone.as_ref() == Some(vote)
    }
}

/// One node's watch over its leader.
#[derive(Clone)]
pub(crate) struct Succession {
    pub(crate) raft: Raft,
    pub(crate) group: u32,
    pub(crate) node_id: u64,
    pub(crate) identity: NodeIdentity,
    pub(crate) tls: Option<ClientTlsConfig>,
    pub(crate) environment: Arc<dyn Environment>,
    pub(crate) gone: Gone,
}

/// Another node that leads.
#[derive(Clone)]
struct Leader {
    vote: Vote,
    node_id: u64,
    member: Member,
}

enum Seen {
    /// It led, and the call has ended since.
    Interrupted,
    /// Its process is not there, or does not lead any more.
    Gone,
    Unclear,
}

impl Succession {
    /// For as long as the node runs.
    pub(crate) async fn run(self) {
        let mut metrics = self.raft.metrics();
        loop {
            let followed = self.followed();
            match followed {
                Some(leader) => {
                    tokio::select! {
                        () = self.attend(&leader) => {}
                        () = self.until_other(&leader) => {}
                    }
                    if self.gone.is(&leader.vote) {
                        self.insist().await;
                    }
                }
                None if metrics.changed().await.is_err() => return,
                None => {}
            }
        }
    }

    /// The leader that this node has given its vote, if it has one itself.
    fn followed(&self) -> Option<Leader> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let node_id = metrics.vote.leader_id().node_id;
        let follows = metrics.vote.is_committed() && node_id != self.node_id;
        let member = membership.get_node(&node_id)?;
        (follows && self.has_a_vote(membership)).then(|| Leader {
            vote: metrics.vote,
            node_id,
            member: member.clone(),
        })
    }

    /// A node that lost its data is named in old entries under the identity it had.
    fn has_a_vote(&self, membership: &Membership) -> bool {
        let own = membership.get_node(&self.node_id);
        own.is_some_and(|own| own.identity == self.identity)
            && membership.voter_ids().any(|id| id == self.node_id)
    }

    async fn until_other(&self, leader: &Leader) {
        let mut metrics = self.raft.metrics();
        loop {
            {
                let now = metrics.borrow_watched();
                if now.vote != leader.vote || now.running_state.is_err() {
                    return;
                }
            }
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    async fn attend(&self, leader: &Leader) {
        loop {
            let since = Instant::now();
            match self.watch(leader).await {
                // At once, unless its calls break all the time.
                Seen::Interrupted if since.elapsed() > LOOK_AGAIN => {}
                Seen::Interrupted | Seen::Unclear => sleep(LOOK_AGAIN).await,
                Seen::Gone => {
                    tracing::info!(leader = leader.node_id, "the leader's process has ended");
                    self.gone.set(Some(leader.vote));
                    self.succeed(leader).await;
                    sleep(LOOK_AGAIN).await;
                }
            }
        }
    }

    /// Over a connection of its own: whether the leader can be reached is what it finds out.
    async fn watch(&self, leader: &Leader) -> Seen {
        let Some(mut client) = self.client(&leader.member) else {
            return Seen::Unclear;
        };
        let target = self.target(leader.node_id, &leader.member);
        let request = WatchRequest {
            target: Some(target),
        };
        let opened = async {
            let mut stream = client.watch(request).await?.into_inner();
            let first = stream.message().await?;
            Ok::<_, tonic::Status>((stream, first))
        };
        let (mut stream, first) = match timeout(ANSWER, opened).await {
            Err(_) => return Seen::Unclear,
            Ok(Err(status)) => return lost(&status),
            Ok(Ok(answer)) => answer,
        };
        let leads = first.is_some_and(|first| {
            first.leads && first.vote.as_ref().map(convert::vote) == Some(leader.vote)
        });
        if !leads {
            return Seen::Gone;
        }
        self.gone.set(None);
        while let Ok(Some(_)) = stream.message().await {}
        Seen::Interrupted
    }

    /// Asks the others until one of them leads, this node stands, or nobody agrees.
    async fn succeed(&self, leader: &Leader) {
        for round in 0..ROUNDS {
            let within = STAND_WITHIN_MS * (round + 1).min(5);
            let pause = rand::rng().random_range(0..=within);
            sleep(Duration::from_millis(pause)).await;
            let Some((request, last)) = self.pre_vote_request(leader).await else {
                return;
            };
            if !self.is_granted(&request).await {
                continue;
            }
            let transfer = TransferLeaderRequest::new(leader.vote, self.node_id, last);
            match self.raft.handle_transfer_leader(transfer).await {
                Ok(taken) => tracing::info!(?taken, "stands for election"),
                Err(_) => return,
            }
            // The election itself, before another is begun.
            sleep(LOOK_AGAIN).await;
        }
    }

    /// When two stood at once, none may have won: the next election waits for no timeout either.
    async fn insist(&self) {
        for _ in 0..ROUNDS {
            let pause = rand::rng().random_range(INSIST_AFTER_MS);
            sleep(Duration::from_millis(pause)).await;
            let is_led = self.raft.metrics().borrow_watched().vote.is_committed();
            if is_led || self.raft.trigger().elect(true).await.is_err() {
                return;
            }
        }
    }

    /// `None` when this node knows of another leader or candidate by now.
    async fn pre_vote_request(&self, leader: &Leader) -> Option<(rpc::VoteRequest, Option<LogId>)> {
        let vote = RaftVote {
            term: leader.vote.leader_id().term + 1,
            node_id: self.node_id,
            committed: false,
        };
        // What this node would answer itself says how its log ends.
        let asked = openraft::raft::VoteRequest::new(convert::vote(&vote), None);
        let own = self.raft.pre_vote(asked).await.ok()?;
        let request = rpc::VoteRequest {
            target: None,
            vote: Some(vote),
            last_log_id: own.last_log_id.as_ref().map(convert::log_id_message),
            leadership_transfer: false,
            leader_gone: true,
        };
        (own.vote == leader.vote).then_some((request, own.last_log_id))
    }

    /// A majority would vote for this node, of both sets of voters while they are changed.
    async fn is_granted(&self, request: &rpc::VoteRequest) -> bool {
        let membership = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics.membership_config.membership().clone()
        };
        let mut granted = BTreeSet::from([self.node_id]);
        let others = membership.voter_ids().filter(|id| *id != self.node_id);
        let mut asked: FuturesUnordered<_> = others
            .filter_map(|id| Some((id, membership.get_node(&id)?)))
            .map(|(id, member)| self.ask(id, member, request.clone()))
            .collect();
        loop {
            if is_majority(&membership, &granted) {
                return true;
            }
            match asked.next().await {
                Some(answer) => granted.extend(answer),
                None => return false,
            }
        }
    }

    /// The voter, if it would vote for this node.
    async fn ask(&self, id: u64, member: &Member, request: rpc::VoteRequest) -> Option<u64> {
        let request = rpc::VoteRequest {
            target: Some(self.target(id, member)),
            ..request
        };
        let mut client = self.client(member)?;
        let answer = timeout(ANSWER, client.pre_vote(request)).await.ok()?;
        answer.ok()?.into_inner().granted.then_some(id)
    }

    fn client(&self, member: &Member) -> Option<RaftClient<Channel>> {
        let environment = &*self.environment;
        let channel = connect_in(environment, &member.address, self.tls.as_ref()).ok()?;
        Some(RaftClient::new(channel))
    }

    fn target(&self, node_id: u64, member: &Member) -> rpc::Target {
        rpc::Target {
            group: self.group,
            node_id,
            identity: member.identity.to_bytes(),
        }
    }
}

/// What a leader that can't be called is: one that another data directory answers for is gone too.
fn lost(status: &tonic::Status) -> Seen {
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::FailedPrecondition => Seen::Gone,
        _ => Seen::Unclear,
    }
}

fn is_majority(membership: &Membership, granted: &BTreeSet<u64>) -> bool {
    let sets = membership.get_joint_config();
    sets.iter()
        .all(|voters| voters.intersection(granted).count() > voters.len() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_is_one_of_every_set_of_voters() {
        let set = |ids: &[u64]| ids.iter().copied().collect::<BTreeSet<u64>>();
        let nodes: std::collections::BTreeMap<u64, Member> =
            (1..=5).map(|id| (id, Member::default())).collect();
        let table = [
            (vec![set(&[1, 2, 3])], set(&[1]), false),
            (vec![set(&[1, 2, 3])], set(&[1, 3]), true),
            (vec![set(&[1, 2])], set(&[1]), false),
            (vec![set(&[1, 2, 3])], set(&[1, 4, 5]), false),
            (vec![set(&[1, 2, 3]), set(&[1, 3])], set(&[1, 2]), false),
            (vec![set(&[1, 2, 3]), set(&[1, 3])], set(&[1, 3]), true),
        ];
        for (configs, granted, expected) in table {
            let membership = Membership::new(configs, nodes.clone()).unwrap();
            assert_eq!(is_majority(&membership, &granted), expected, "{granted:?}");
        }
    }
}
