//! Replicas compare their states, so that one that differs never serves for long.
//!
//! Every node keeps the hash of its state at points that all share (`shared::samples`), asks its
//! peers for theirs every few seconds, and judges for itself:
//!
//! | at some log index | this node |
//! |---|---|
//! | a majority of the voters has another hash | is wrong: it stops, and does not start again |
//! | no hash has a majority, whoever has not answered yet | can't know who is right: it serves nobody, and does not start again |
//! | no hash has a majority yet, but one may | waits for [`PATIENCE`], then as above |
//!
//! "Does not start again" is a file in its data directory that says why; a person removes it, with
//! the rest of the directory or after having seen to it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use proto::Nanos;
use proto::rpc::StateSamplesRequest;
use proto::rpc::raft_client::RaftClient;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tonic::transport::Channel;

use super::{Node, NodeError};
use crate::client::connect_in;
use crate::environment::Environment;
use crate::segment::{read_file, replace_file};
use crate::shared::samples::Sample;
use crate::state::FORMAT;

const EVERY: Duration = Duration::from_secs(2);
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long those who differ wait for the voters that have not answered.
const PATIENCE: Duration = Duration::from_secs(30);
/// Kept in the data directory of a node that differed.
const MARKER: &str = "state-differs";

/// What a node makes of its own samples and those of its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing differs that concerns this node; all voters have the same up to this log index.
    Fine { settled: u64 },
    /// Voters differ, and who is right depends on those that have not answered.
    Open { log_index: u64 },
    /// A majority has another state.
    Wrong { log_index: u64 },
    /// No state has a majority.
    Split { log_index: u64 },
}

/// `peers` are the samples of the voters that answered; `own_votes` says whether this node is a
/// voter itself. Not every node has a sample everywhere: one that is behind will have it later.
fn judge(
    own: &[Sample],
    own_votes: bool,
    peers: &BTreeMap<u64, BTreeMap<u64, [u8; 32]>>,
    voters: usize,
) -> Verdict {
    let majority = voters / 2 + 1;
    let mut verdict = Verdict::Fine { settled: 0 };
    for (log_index, hash) in own {
        let mut tally: BTreeMap<&[u8; 32], usize> = BTreeMap::new();
        let answers = peers.values().filter_map(|peer| peer.get(log_index));
        let own_vote = own_votes.then_some(hash);
        answers
            .chain(own_vote)
            .for_each(|hash| *tally.entry(hash).or_default() += 1);
        let silent = voters.saturating_sub(tally.values().sum());
        let most = tally.values().max().copied().unwrap_or_default();
        let others = tally.iter().filter(|(other, _)| **other != hash);
        let against = others.map(|(_, votes)| *votes).max();
        let log_index = *log_index;
        match against {
            Some(votes) if votes >= majority => return Verdict::Wrong { log_index },
            Some(_) if most + silent < majority => return Verdict::Split { log_index },
            Some(_) if most < majority && !matches!(verdict, Verdict::Open { .. }) => {
                verdict = Verdict::Open { log_index };
            }
            None if silent == 0 => {
                if let Verdict::Fine { settled } = &mut verdict {
                    *settled = log_index;
                }
            }
            _ => {}
        }
    }
    verdict
}

/// The peers, as the membership has them now.
struct Rounds<'a> {
    node: &'a Node,
    channels: BTreeMap<String, Channel>,
    settled: u64,
    /// Since when voters differ without a majority.
    open_since: Option<Instant>,
}

impl Node {
    /// Compares this node with its peers for as long as it may serve; then says why it must end. A
    /// node that can't know who is right ends too, in that it serves nobody, but goes on telling
    /// its peers what it has.
    pub async fn compare(&self) -> String {
        let mut rounds = Rounds {
            node: self,
            channels: BTreeMap::new(),
            settled: 0,
            open_since: None,
        };
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match rounds.round().await {
                Verdict::Wrong { log_index } => return self.is_wrong(log_index),
                Verdict::Split { log_index } => self.is_split(log_index),
                Verdict::Fine { .. } | Verdict::Open { .. } => {}
            }
        }
    }

    /// Why this node serves nobody, if so.
    pub fn not_serving(&self) -> Option<String> {
        self.gate.reason()
    }

    /// Refuses what a node must not answer whose state can't be trusted.
    pub fn check_serving(&self) -> Result<(), proto::rpc::Refusal> {
        self.gate.check()
    }

    fn is_wrong(&self, log_index: u64) -> String {
        let id = self.config.node_id;
        let reason = format!(
            "the state of node {id} differs from that of the majority since log index {log_index} \
             or before; it does not serve any more. Wipe {} and run `updraft cluster replace {id}`",
            self.config.data_dir.display()
        );
        self.stop_serving(&reason);
        reason
    }

    fn is_split(&self, log_index: u64) {
        let path = self.config.data_dir.join(MARKER);
        let reason = format!(
            "the states of the hub's nodes differ at log index {log_index} and none has a majority; \
             no node serves any more, and {} keeps this one from it. Stop all nodes and keep their \
             data directories as they are: which one is right has to be found out by hand",
            path.display()
        );
        self.stop_serving(&reason);
    }

    fn stop_serving(&self, reason: &str) {
        if self.gate.reason().is_some() {
            return;
        }
        self.gate.close(reason);
        tracing::error!(node = self.config.node_id.0, "{reason}");
        if let Err(error) = mark(&*self.config.environment, &self.config.data_dir, reason) {
            tracing::error!(%error, "could not write that this node must not serve again");
        }
    }
}

impl Rounds<'_> {
    async fn round(&mut self) -> Verdict {
        let (voters, peers) = self.peers();
        self.node.clock.set_voters(voters.clone());
        let after = self.settled;
        let asked = peers.iter().map(|(id, (address, identity))| {
            let channel = self.channels.get(address).cloned();
            self.ask(*id, *identity, channel, after)
        });
        let answers = futures::future::join_all(asked).await;
        let own = self.node.shared.samples.after(after);
        let answers: BTreeMap<u64, BTreeMap<u64, [u8; 32]>> =
            answers.into_iter().flatten().collect();
        let own_votes = voters.contains(&self.node.config.node_id.0);
        let verdict = judge(&own, own_votes, &answers, voters.len());
        self.wait_or(verdict)
    }

    /// One who waits for long enough has its answer.
    fn wait_or(&mut self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::Open { log_index } => {
                let since = *self.open_since.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    return Verdict::Split { log_index };
                }
            }
            Verdict::Fine { settled } => {
                self.open_since = None;
                self.settled = self.settled.max(settled);
            }
            Verdict::Wrong { .. } | Verdict::Split { .. } => {}
        }
        verdict
    }

    /// The voters, and how the others of them are reached.
    fn peers(
        &mut self,
    ) -> (
        BTreeSet<u64>,
        BTreeMap<u64, (String, proto::ids::NodeIdentity)>,
    ) {
        let metrics = self.node.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let own = self.node.config.node_id.0;
        let others = membership
            .nodes()
            .filter(|(id, _)| **id != own && voters.contains(id));
        let peers: BTreeMap<_, _> = others
            .map(|(id, member)| (*id, (member.address.clone(), member.identity)))
            .collect();
        let addresses: BTreeSet<&String> = peers.values().map(|(address, _)| address).collect();
        self.channels
            .retain(|address, _| addresses.contains(address));
        let environment = &*self.node.config.environment;
        for address in addresses {
            if !self.channels.contains_key(address)
                && let Ok(channel) = connect_in(environment, address, self.node.config.tls.as_ref())
            {
                self.channels.insert(address.clone(), channel);
            }
        }
        (voters, peers)
    }

    async fn ask(
        &self,
        id: u64,
        identity: proto::ids::NodeIdentity,
        channel: Option<Channel>,
        after_index: u64,
    ) -> Option<(u64, BTreeMap<u64, [u8; 32]>)> {
        let request = StateSamplesRequest {
            target: Some(proto::rpc::Target {
                group: self.node.config.group,
                node_id: id,
                identity: identity.to_bytes(),
            }),
            after_index,
        };
        let mut client = RaftClient::new(channel?);
        let answer = timeout(ASK_TIMEOUT, client.state_samples(request)).await;
        let answer = answer.ok()?.ok()?.into_inner();
        self.node
            .clock
            .heard(id, Nanos(answer.time), Instant::now());
        // A node of another version, while the nodes of a hub are updated one after the other.
        if answer.format != u32::from(FORMAT) {
            return None;
        }
        let sample = |sample: proto::rpc::StateSample| {
            let hash = sample.hash.as_ref().try_into().ok()?;
            Some((sample.log_index, hash))
        };
        Some((id, answer.samples.into_iter().filter_map(sample).collect()))
    }
}

/// Refuses a data directory whose state was found to differ.
pub(super) fn refuse_marked(
    environment: &dyn Environment,
    data_dir: &Path,
) -> Result<(), NodeError> {
    let disk = environment.directory(data_dir)?;
    let differs = |reason| NodeError::StateDiffers {
        path: data_dir.join(MARKER),
        reason,
    };
    match read_file(&*disk, MARKER) {
        Ok(reason) => Err(differs(String::from_utf8_lossy(&reason).trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(differs(format!("unreadable: {error}"))),
    }
}

fn mark(environment: &dyn Environment, data_dir: &Path, reason: &str) -> io::Result<()> {
    let disk = environment.directory(data_dir).map_err(io::Error::other)?;
    replace_file(&*disk, MARKER, format!("{reason}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Real;

    /// Samples at 10, 20, 30…: one letter each, a dot where there is none.
    fn samples(letters: &str) -> Vec<Sample> {
        let numbered = (1..).zip(letters.bytes());
        let there = numbered.filter(|(_, letter)| *letter != b'.');
        there.map(|(at, letter)| (at * 10, [letter; 32])).collect()
    }

    #[test]
    fn who_is_wrong_and_who_can_not_know() {
        let fine = |settled| Verdict::Fine { settled };
        let open = |log_index| Verdict::Open { log_index };
        let wrong = |log_index| Verdict::Wrong { log_index };
        let split = |log_index| Verdict::Split { log_index };
        let table: [(&str, &[&str], usize, Verdict); 17] = [
            ("aa", &[], 1, fine(20)),
            ("aaa", &["aaa", "aaa"], 3, fine(30)),
            ("aaa", &["aa", "aaa"], 3, fine(20)),
            (".aa", &["aaa", "aaa"], 3, fine(30)),
            ("aaa", &["aaa"], 3, fine(0)),
            ("aaa", &["aab", "aaa"], 3, fine(20)),
            ("aab", &["aaa", "aaa"], 3, wrong(30)),
            ("aba", &["aaa", "aaa"], 3, wrong(20)),
            ("aab", &["aac", "aad"], 3, split(30)),
            ("ab", &["aa"], 3, open(20)),
            ("ab", &["aa", "a."], 3, open(20)),
            ("ab", &["aa"], 2, split(20)),
            ("ab", &["aa", "aa"], 5, open(20)),
            ("ab", &["aa", "aa", "aa"], 5, wrong(20)),
            ("ab", &["aa", "aa", "ab", "ac"], 5, split(20)),
            ("ab", &["aa", "ac", "ad"], 5, split(20)),
            ("abb", &["aab", "aab"], 3, wrong(20)),
        ];
        for (own, peers, voters, expected) in table {
            let peer = |(id, letters): (u64, &&str)| (id, samples(letters).into_iter().collect());
            let answers = (2..).zip(peers).map(peer).collect();
            let verdict = judge(&samples(own), true, &answers, voters);
            assert_eq!(verdict, expected, "{own} {peers:?} of {voters}");
        }
    }

    /// A learner is judged by the voters, and has no vote.
    #[test]
    fn one_that_does_not_vote_does_not_count() {
        let peers = |a: &str, b: &str| {
            let peers = [(1, a), (2, b)];
            let peer = |(id, letters): (u64, &str)| (id, samples(letters).into_iter().collect());
            peers.map(peer).into_iter().collect()
        };
        let judged = |own: &str, a: &str, b: &str| judge(&samples(own), false, &peers(a, b), 3);
        assert_eq!(judged("ab", "aa", "aa"), Verdict::Wrong { log_index: 20 });
        assert_eq!(judged("ab", "ab", "aa"), Verdict::Open { log_index: 20 });
        assert_eq!(judged("ab", "ab", "ab"), Verdict::Fine { settled: 0 });
    }

    #[test]
    fn a_marked_directory_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        refuse_marked(&Real, directory.path()).unwrap();
        mark(&Real, directory.path(), "it differs").unwrap();
        let refused = refuse_marked(&Real, directory.path())
            .unwrap_err()
            .to_string();
        assert!(refused.contains("it differs"), "{refused}");
    }
}
