//! Which nodes form the hub, and changing that while it works.
//!
//! Every change is a committed entry, through joint consensus (Ongaro 2014 §4.3). A node that joins
//! is a learner until it has what the hub has; then it gets its vote. What is begun and broken off
//! leaves a hub that works: a learner that is none too many, or two sets of voters that the leader
//! brings to one ([`Node::settle`]). docs/adr/0008 says why a node that lost its data may come back
//! under its number.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::Instant as _;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::RaftError;
use proto::ids::NodeIdentity;
use proto::rpc::change_request::Change;
use proto::rpc::raft_client::RaftClient;
use proto::rpc::{
    AddNode, ChangeProgress, ChangeStep, HubMember, IdentityRequest, IdentityResponse,
    MembersResponse, Refusal, RefusalKind, RemoveNode, ReplaceNode,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::{Leader, Node, refused, stopped};
use crate::client::connect_in;
use crate::raft::types::{Member, Membership};
use crate::refusal::refusal;

const ASK_TIMEOUT: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(100);
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long a leader that is to be removed may look for one to take its place.
const HAND_OVER: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(10);
const MAX_VOTERS: usize = 5;

impl Node {
    /// The members as this node knows them.
    pub fn members(&self) -> MembersResponse {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let own = self.config.node_id.0;
        let matched = |id: &u64| {
            let known = metrics.replication.as_ref()?.get(id)?.as_ref();
            known.map(|log_id| log_id.index())
        };
        let silent = |id: &u64| {
            let heard = metrics.heartbeat.as_ref()?;
            let silent = match *id == own {
                true => Duration::ZERO,
                false => heard.get(id)?.as_ref()?.elapsed(),
            };
            Some(u64::try_from(silent.as_millis()).unwrap_or(u64::MAX))
        };
        let members = membership.nodes().map(|(id, member)| HubMember {
            node_id: *id,
            address: member.address.clone(),
            identity: member.identity.to_bytes(),
            voter: voters.contains(id),
            matched_index: matched(id),
            silent_ms: silent(id),
        });
        let hub = self.hub();
        MembersResponse {
            hub: hub
                .as_ref()
                .map(|hub| hub.path.to_string())
                .unwrap_or_default(),
            incarnation: hub.map_or_else(Default::default, |hub| hub.incarnation.to_bytes()),
            node_id: own,
            leader_id: metrics.current_leader,
            leads: metrics.current_leader == Some(own) && self.has_quorum(),
            last_index: metrics.last_log_index.unwrap_or_default(),
            changing: membership.get_joint_config().len() > 1,
            members: members.collect(),
        }
    }

    /// Changes the members, and tells each step. Runs to the end of a step when nobody listens any
    /// more, and no further. Leader only; every change may be asked for again.
    ///
    /// # Errors
    /// `Invalid` for what can't be done as it was asked for; what another leader, or the same one
    /// later, may take is transient.
    pub async fn change(
        &self,
        change: Change,
        told: mpsc::Sender<ChangeProgress>,
    ) -> Result<(), Refusal> {
        let Ok(_one_at_a_time) = self.changing.try_lock() else {
            return Err(invalid("another change of the hub's nodes is under way"));
        };
        self.ensure_leader()?;
        self.settle().await?;
        let work = Work { node: self, told };
        match change {
            Change::Add(add) => work.add(add).await?,
            Change::Remove(remove) => work.remove(&remove).await?,
            Change::Replace(replace) => work.replace(replace).await?,
        }
        work.tell(ChangeStep::Done, "done".into()).await
    }

    fn ensure_leader(&self) -> Result<(), Refusal> {
        let leader = match self.leader() {
            Leader::This => return Ok(()),
            Leader::Other(address) => address,
            Leader::Unknown => String::new(),
        };
        Err(Refusal {
            leader,
            ..refusal(RefusalKind::NotLeader, "another node leads")
        })
    }

    /// Ends the change that an earlier leader, or a client that went away, left half done.
    async fn settle(&self) -> Result<(), Refusal> {
        let deadline = Instant::now() + SETTLE;
        loop {
            let (committed, joint) = {
                let metrics = self.raft.metrics();
                let metrics = metrics.borrow_watched();
                let effective = &metrics.membership_config;
                let committed = effective.log_id() == metrics.committed_membership_config.log_id();
                (
                    committed,
                    effective.membership().get_joint_config().len() > 1,
                )
            };
            match (committed, joint) {
                (true, false) => return Ok(()),
                (true, true) => {
                    self.commit(ChangeMembers::AddVoterIds(BTreeSet::new()))
                        .await?;
                }
                (false, _) if Instant::now() > deadline => {
                    let message = "an earlier change of the hub's nodes is not committed yet";
                    return Err(refusal(RefusalKind::NoQuorum, message));
                }
                (false, _) => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// For as long as the node runs: whoever leads ends what was left half done.
    pub(super) async fn settle_when_leading(&self) {
        loop {
            sleep(self.patience()).await;
            let left = self.leader() == Leader::This && self.members().changing;
            if left && let Ok(_one_at_a_time) = self.changing.try_lock() {
                tracing::info!("ending a change of the hub's nodes that was left half done");
                if let Err(refusal) = self.settle().await {
                    tracing::info!(reason = refusal.message, "it could not be ended yet");
                }
            }
        }
    }

    async fn commit(&self, change: ChangeMembers<u64, Member>) -> Result<(), Refusal> {
        match self.raft.change_membership(change, false).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(error)) => Err(refused(&error)),
            Err(RaftError::Fatal(fatal)) => Err(stopped(&fatal)),
        }
    }
}

/// One change under way.
struct Work<'a> {
    node: &'a Node,
    told: mpsc::Sender<ChangeProgress>,
}

impl Work<'_> {
    async fn add(&self, add: AddNode) -> Result<(), Refusal> {
        let identity = self.identify(add.node_id, &add.address).await?;
        let joining = Member {
            address: add.address,
            identity,
        };
        if let Some(known) = self.membership().get_node(&add.node_id)
            && *known != joining
        {
            return Err(invalid(format!(
                "node {} is a member at {} with other data; if it lost its data or moved, \
                 `updraft cluster replace`",
                add.node_id, known.address
            )));
        }
        self.join(add.node_id, joining, add.learner).await
    }

    async fn remove(&self, remove: &RemoveNode) -> Result<(), Refusal> {
        let membership = self.membership();
        if membership.get_node(&remove.node_id).is_none() {
            let members: Vec<String> = membership.nodes().map(|(id, _)| id.to_string()).collect();
            let members = members.join(", ");
            return Err(invalid(format!(
                "node {} is not a member of the hub; its nodes are {members}",
                remove.node_id
            )));
        }
        self.take_out(remove.node_id, remove.force).await
    }

    /// The two changes have nothing in common but the node's number: who it was is out, by a
    /// committed change, before who it is now is taken in.
    async fn replace(&self, replace: ReplaceNode) -> Result<(), Refusal> {
        let id = replace.node_id;
        let membership = self.membership();
        let known = membership.get_node(&id).cloned();
        let address = match (&known, replace.address) {
            (Some(known), address) if address.is_empty() => known.address.clone(),
            (None, address) if address.is_empty() => self.configured(id)?,
            (_, address) => address,
        };
        let identity = self.identify(id, &address).await?;
        let joining = Member { address, identity };
        let learner = known.is_some() && membership.voter_ids().all(|voter| voter != id);
        match known {
            None => {
                let message = format!("node {id} is not a member; it joins");
                self.tell(ChangeStep::Begun, message).await?;
            }
            Some(known) if known == joining && !learner => {
                let message = format!("node {id} has the data that it joined with");
                return self.tell(ChangeStep::Begun, message).await;
            }
            // Its earlier replacement was broken off before it had caught up.
            Some(known) if known == joining => return self.join(id, joining, false).await,
            Some(_) => self.take_out(id, false).await?,
        }
        self.join(id, joining, learner).await
    }

    /// A leader that was elected just now has not heard from everybody yet: it waits as long as an
    /// answer may take.
    async fn can_do_without(&self, id: u64, force: bool) -> Result<(), Refusal> {
        let patience = self.node.patience();
        let until = Instant::now() + patience;
        loop {
            let judged = quorum_without(id, &self.node.members(), patience, force);
            if judged.is_ok() || Instant::now() >= until {
                return judged;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn take_out(&self, id: u64, force: bool) -> Result<(), Refusal> {
        let membership = self.membership();
        let is_voter = membership.voter_ids().any(|voter| voter == id);
        if is_voter {
            self.can_do_without(id, force).await?;
        }
        if id == self.node.config.node_id.0 {
            let message = format!("node {id} leads, and hands over first");
            self.tell(ChangeStep::Begun, message).await?;
            self.node.hand_over(HAND_OVER).await;
            self.node.ensure_leader()?;
            let message = "no other node could take over the leadership";
            return Err(refusal(RefusalKind::NoQuorum, message));
        }
        self.tell(ChangeStep::Begun, format!("removing node {id}"))
            .await?;
        let ids = BTreeSet::from([id]);
        let change = match is_voter {
            true => ChangeMembers::RemoveVoters(ids),
            false => ChangeMembers::RemoveNodes(ids),
        };
        self.commit(change).await?;
        tracing::info!(node = id, "a node was removed from the hub");
        self.tell(ChangeStep::Removed, format!("node {id} is out"))
            .await
    }

    async fn join(&self, id: u64, joining: Member, stay_learner: bool) -> Result<(), Refusal> {
        let membership = self.membership();
        if membership.voter_ids().any(|voter| voter == id) {
            let message = format!("node {id} is a voter of the hub already");
            return self.tell(ChangeStep::Begun, message).await;
        }
        if !stay_learner && membership.voter_ids().count() >= MAX_VOTERS {
            return Err(invalid(format!(
                "the hub has {MAX_VOTERS} voters, which is the most; remove one first, or join \
                 the node with --learner"
            )));
        }
        let address = joining.address.clone();
        let message = format!("node {id} at {address} joins as a learner");
        self.tell(ChangeStep::Begun, message).await?;
        let nodes = BTreeMap::from([(id, joining.clone())]);
        self.commit(ChangeMembers::AddNodes(nodes)).await?;
        tracing::info!(node = id, address, "a node joined the hub as a learner");
        self.catch_up(id, &joining).await?;
        if stay_learner {
            return Ok(());
        }
        let message = format!("node {id} has what the hub has, and becomes a voter");
        self.tell(ChangeStep::Promoting, message).await?;
        self.commit(ChangeMembers::AddVoterIds(BTreeSet::from([id])))
            .await?;
        tracing::info!(node = id, "a node became a voter of the hub");
        Ok(())
    }

    /// Until the node has, within one look, everything that the log held at the look before.
    async fn catch_up(&self, id: u64, joining: &Member) -> Result<(), Refusal> {
        let mut before = None;
        let mut tell_at = Instant::now();
        loop {
            self.node.ensure_leader()?;
            if self.told.is_closed() {
                return Err(gone());
            }
            let look = self.look(id, joining)?;
            if look.has_caught_up(before) {
                return Ok(());
            }
            if Instant::now() >= tell_at {
                tell_at = Instant::now() + TELL_EVERY;
                let progress = ChangeProgress {
                    matched_index: Some(look.matched.unwrap_or_default()),
                    last_index: Some(look.last),
                    ..said(
                        ChangeStep::CatchingUp,
                        format!("node {id} is {} entries behind", look.behind()),
                    )
                };
                self.told.send(progress).await.map_err(|_| gone())?;
            }
            before = Some(look.last);
            sleep(LOOK_EVERY).await;
        }
    }

    fn look(&self, id: u64, joining: &Member) -> Result<Look, Refusal> {
        let metrics = self.node.raft.metrics();
        let metrics = metrics.borrow_watched();
        let stored = &metrics.membership_config;
        if stored.membership().get_node(&id) != Some(joining) {
            return Err(invalid(format!("node {id} was removed meanwhile")));
        }
        let held = metrics
            .replication
            .as_ref()
            .and_then(|held| held.get(&id)?.as_ref());
        Ok(Look {
            joined: stored.log_id().as_ref().map_or(0, |log_id| log_id.index()),
            matched: held.map(|log_id| log_id.index()),
            last: metrics.last_log_index.unwrap_or_default(),
        })
    }

    /// Asks whoever is at the address who it is, and whether it can be a node of this hub.
    async fn identify(&self, id: u64, address: &str) -> Result<NodeIdentity, Refusal> {
        let config = &self.node.config;
        let channel = connect_in(&*config.environment, address, config.tls.as_ref())
            .map_err(|error| invalid(error.to_string()))?;
        let request = IdentityRequest {
            group: self.node.config.group,
        };
        let asked = async move { RaftClient::new(channel).identity(request).await };
        let answer = match timeout(ASK_TIMEOUT, asked).await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) => {
                let reason = crate::client::why(&status);
                return Err(invalid(format!(
                    "node {id} at {address} does not answer: {reason}; start it first"
                )));
            }
            Err(_) => {
                return Err(invalid(format!(
                    "node {id} at {address} does not answer; start it first"
                )));
            }
        };
        let hub = self.node.members();
        fits(&answer, id, &hub).map_err(|problem| invalid(format!("{address}: {problem}")))
    }

    fn configured(&self, id: u64) -> Result<String, Refusal> {
        let nodes = &self.node.config.nodes;
        let address = nodes.get(&proto::NodeId(id)).cloned();
        address.ok_or_else(|| {
            invalid(format!(
                "node {id} is not a member of the hub, and log.nodes does not name it; say where \
                 it is: {id}=HOST:PORT"
            ))
        })
    }

    fn membership(&self) -> Membership {
        let metrics = self.node.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().clone()
    }

    /// Says now and then that it waits.
    async fn commit(&self, change: ChangeMembers<u64, Member>) -> Result<(), Refusal> {
        let mut committing = std::pin::pin!(self.node.commit(change));
        loop {
            tokio::select! {
                outcome = &mut committing => return outcome,
                () = sleep(2 * TELL_EVERY) => {
                    let waits = said(
                        ChangeStep::Begun,
                        "waiting until a majority of the hub has the change".into(),
                    );
                    // What is proposed can't be taken back: it is waited for in any case.
                    let _ = self.told.send(waits).await;
                }
            }
        }
    }

    async fn tell(&self, step: ChangeStep, message: String) -> Result<(), Refusal> {
        let told = self.told.send(said(step, message)).await;
        told.map_err(|_| gone())
    }
}

/// How far a node that joins is.
struct Look {
    /// Entry of the membership that has it: what it holds up to there it got as this member.
    joined: u64,
    matched: Option<u64>,
    last: u64,
}

impl Look {
    /// `before` is the end of the log at the look before: under load there is always something
    /// newer on its way.
    fn has_caught_up(&self, before: Option<u64>) -> bool {
        let needed = before.map(|before| before.max(self.joined));
        needed.is_some_and(|needed| self.matched >= Some(needed))
    }

    fn behind(&self) -> u64 {
        self.last.saturating_sub(self.matched.unwrap_or_default())
    }
}

/// Whether those who stay can commit without a node; says who is missing.
fn quorum_without(
    id: u64,
    hub: &MembersResponse,
    patience: Duration,
    force: bool,
) -> Result<(), Refusal> {
    let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    let staying = || {
        let others = hub.members.iter();
        others.filter(move |member| member.voter && member.node_id != id)
    };
    let voters = staying().count();
    if voters == 0 {
        return Err(invalid(format!(
            "node {id} is the hub's last voter; it can't be removed"
        )));
    }
    let is_silent = |member: &&HubMember| member.silent_ms.is_none_or(|ms| ms > patience);
    let silent: Vec<String> = staying()
        .filter(is_silent)
        .map(|member| member.node_id.to_string())
        .collect();
    if force || voters - silent.len() > voters / 2 {
        return Ok(());
    }
    Err(invalid(format!(
        "without node {id} the hub would need {} of {voters} nodes, and these do not answer: {}; \
         bring them back first, or --force",
        voters / 2 + 1,
        silent.join(", ")
    )))
}

/// The identity of a node that may join.
fn fits(answer: &IdentityResponse, id: u64, hub: &MembersResponse) -> Result<NodeIdentity, String> {
    if answer.node_id != id {
        return Err(format!(
            "this is node {}, not node {id}; check node.id in its hub.yaml",
            answer.node_id
        ));
    }
    if answer.hub != hub.hub {
        return Err(format!(
            "the node belongs to the hub {}, not to {}; check hub.path in its hub.yaml",
            answer.hub, hub.hub
        ));
    }
    let is_member = hub
        .members
        .iter()
        .any(|member| member.identity == answer.identity);
    // Its votes and its log would be those of other elections and other entries.
    let foreign = answer.initialised && answer.incarnation != hub.incarnation;
    if foreign && !is_member {
        return Err(format!(
            "node {id} holds the log of another hub, or of this one before it was formed anew; \
             remove the folder log in its data_dir and start it again"
        ));
    }
    NodeIdentity::from_bytes(&answer.identity)
        .ok_or_else(|| "the node does not say which data it has".into())
}

fn said(step: ChangeStep, message: String) -> ChangeProgress {
    ChangeProgress {
        step: step.into(),
        message,
        ..Default::default()
    }
}

fn invalid(message: impl Into<String>) -> Refusal {
    refusal(RefusalKind::Invalid, message)
}

fn gone() -> Refusal {
    invalid("who asked for the change has gone")
}

#[cfg(test)]
mod tests;
