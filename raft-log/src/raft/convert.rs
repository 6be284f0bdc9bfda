//! openraft's types as messages on the wire and on disk, and back.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::entry::RaftEntry as _;
use openraft::vote::{RaftLeaderId as _, RaftVote as _};
use prost::Message as _;
use proto::envelope::Invalid;
use proto::ids::NodeIdentity;
use proto::rpc;

use crate::raft::types::{
    Entry, LogId, Member, Membership, Proposal, SnapshotMeta, StoredMembership, Vote,
};
use crate::segment::{Frame, LogPosition};

const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;

pub(crate) fn log_id(id: &rpc::LogId) -> LogId {
    LogId::new(LeaderId::new(id.term, id.node_id).to_committed(), id.index)
}

pub(crate) fn log_id_message(id: &LogId) -> rpc::LogId {
    let leader = id.committed_leader_id();
    rpc::LogId {
        term: leader.term,
        node_id: leader.node_id,
        index: id.index(),
    }
}

pub(crate) fn position(id: &LogId) -> LogPosition {
    let leader = id.committed_leader_id();
    LogPosition {
        index: id.index(),
        term: leader.term,
        leader: leader.node_id,
    }
}

pub(crate) fn log_id_at(position: LogPosition) -> LogId {
    let LogPosition {
        index,
        term,
        leader,
    } = position;
    log_id(&rpc::LogId {
        term,
        node_id: leader,
        index,
    })
}

pub(crate) fn vote(vote: &rpc::RaftVote) -> Vote {
    Vote::from_leader_id(LeaderId::new(vote.term, vote.node_id), vote.committed)
}

pub(crate) fn vote_message(vote: &Vote) -> rpc::RaftVote {
    let leader = vote.leader_id();
    rpc::RaftVote {
        term: leader.term,
        node_id: leader.node_id,
        committed: vote.is_committed(),
    }
}

pub(crate) fn membership(message: &rpc::Membership) -> Result<Membership, Invalid> {
    let configs: Vec<BTreeSet<u64>> = message
        .configs
        .iter()
        .map(|set| set.node_ids.iter().copied().collect())
        .collect();
    let mut nodes = BTreeMap::new();
    for member in &message.nodes {
        let identity = NodeIdentity::from_bytes(&member.identity)
            .ok_or_else(|| Invalid::new("member.identity", "not 16 bytes"))?;
        nodes.insert(
            member.node_id,
            Member {
                address: member.address.clone(),
                identity,
            },
        );
    }
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|error| Invalid::new("membership", error))
}

pub(crate) fn membership_message(membership: &Membership) -> rpc::Membership {
    let voters = |set: &BTreeSet<u64>| rpc::VoterSet {
        node_ids: set.iter().copied().collect(),
    };
    let member = |(node_id, member): (&u64, &Member)| rpc::Member {
        node_id: *node_id,
        address: member.address.clone(),
        identity: member.identity.to_bytes(),
    };
    rpc::Membership {
        configs: membership.get_joint_config().iter().map(voters).collect(),
        nodes: membership.nodes().map(member).collect(),
    }
}

pub(crate) fn snapshot_meta(meta: &rpc::SnapshotMeta) -> Result<SnapshotMeta, Invalid> {
    let members = membership(&meta.membership.clone().unwrap_or_default())?;
    Ok(SnapshotMeta {
        last_log_id: meta.last_log_id.as_ref().map(log_id),
        last_membership: StoredMembership::new(
            meta.membership_log_id.as_ref().map(log_id),
            members,
        ),
    })
}

pub(crate) fn snapshot_meta_message(
    last: Option<&LogId>,
    membership: &StoredMembership,
) -> rpc::SnapshotMeta {
    rpc::SnapshotMeta {
        last_log_id: last.map(log_id_message),
        membership_log_id: membership.log_id().as_ref().map(log_id_message),
        membership: Some(membership_message(membership.membership())),
    }
}

fn payload(kind: u8, body: Bytes) -> Result<EntryPayload<Proposal, u64, Member>, Invalid> {
    match kind {
        BLANK => Ok(EntryPayload::Blank),
        COMMAND => Ok(EntryPayload::Normal(Proposal(body))),
        MEMBERSHIP => {
            let message = rpc::Membership::decode(body);
            let message = message.map_err(|error| Invalid::new("entry.membership", error))?;
            Ok(EntryPayload::Membership(membership(&message)?))
        }
        _ => Err(Invalid::new("entry.kind", kind)),
    }
}

fn kind_and_body(entry: &Entry) -> (u8, Bytes) {
    match &entry.payload {
        EntryPayload::Blank => (BLANK, Bytes::new()),
        EntryPayload::Normal(Proposal(body)) => (COMMAND, body.clone()),
        EntryPayload::Membership(membership) => (
            MEMBERSHIP,
            membership_message(membership).encode_to_vec().into(),
        ),
    }
}

pub(crate) fn frame(entry: &Entry) -> Frame {
    let LogPosition {
        index,
        term,
        leader,
    } = position(&entry.log_id());
    let (kind, body) = kind_and_body(entry);
    Frame {
        index,
        term,
        leader,
        kind,
        body,
    }
}

pub(crate) fn entry_of_frame(frame: Frame) -> Result<Entry, Invalid> {
    let log_id = log_id_at(frame.position());
    Ok(Entry::new(log_id, payload(frame.kind, frame.body)?))
}

/// The command a frame holds, when it holds one.
pub(crate) fn command_of_frame(frame: &Frame) -> Option<rpc::Command> {
    (frame.kind == COMMAND)
        .then(|| rpc::Command::decode(frame.body.clone()).ok())
        .flatten()
}

pub(crate) fn entry_message(entry: &Entry) -> rpc::RaftEntry {
    let (kind, body) = kind_and_body(entry);
    rpc::RaftEntry {
        log_id: Some(log_id_message(&entry.log_id())),
        kind: kind.into(),
        body,
    }
}

pub(crate) fn entry(message: rpc::RaftEntry) -> Result<Entry, Invalid> {
    let log_id = log_id(&message.log_id.unwrap_or_default());
    let kind = u8::try_from(message.kind).map_err(|_| Invalid::new("entry.kind", message.kind))?;
    Ok(Entry::new(log_id, payload(kind, message.body)?))
}
