//! A hub and all hubs below it, from what each of its nodes knows.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use proto::Nanos;
use proto::rpc::{HubReport, NodeReport, TopologyRequest};

use super::{ClientError, LogClient, unavailable, why};

/// A node that has not answered by then counts as unreachable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

impl LogClient {
    /// The hub itself first, then the hubs below it by path, each as it was heard of last.
    ///
    /// Asks all endpoints at once: a node that does not answer within a second is not reachable.
    /// `received` is by the clock of this machine, whatever the clocks of the nodes say.
    ///
    /// # Errors
    /// [`ClientError::Unavailable`] when no node answers.
    pub async fn topology(&self) -> Result<Vec<HubReport>, ClientError> {
        let group = self.group;
        let asked = self.channels.all().map(|(address, mut log)| async move {
            let request = log.topology(TopologyRequest { group });
            match tokio::time::timeout(ANSWER_TIMEOUT, request).await {
                Ok(Ok(answer)) => Ok(answer.into_inner().hubs),
                Ok(Err(status)) => Err(format!("{address}: {}", why(&status))),
                Err(_) => Err(format!("{address}: no answer")),
            }
        });
        let (mut answers, mut silent) = (Vec::new(), Vec::new());
        for answer in join_all(asked).await {
            match answer {
                Ok(hubs) => answers.push(hubs),
                Err(reason) => silent.push(reason),
            }
        }
        if answers.is_empty() {
            return Err(unavailable(silent.join(", ")));
        }
        Ok(merge(answers, Nanos::now()))
    }
}

/// Each answer is a node's own hub first, then what it heard of the hubs below.
fn merge(answers: Vec<Vec<HubReport>>, now: Nanos) -> Vec<HubReport> {
    let mut own = Vec::new();
    let mut below: BTreeMap<String, HubReport> = BTreeMap::new();
    for answer in answers {
        let mut reports = answer.into_iter();
        let Some(first) = reports.next() else {
            continue;
        };
        // Clocks of nodes differ: ages, by the clock of each node itself, can be compared.
        let clock = first.time;
        own.push(first);
        for mut report in reports {
            let age = clock.saturating_sub(report.received).max(0);
            report.received = now.0.saturating_sub(age);
            let known = below.get(&report.hub);
            if known.is_none_or(|known| known.received < report.received) {
                below.insert(report.hub.clone(), report);
            }
        }
    }
    own_hub(own)
        .into_iter()
        .chain(below.into_values())
        .collect()
}

/// One report of a hub from those of its nodes: the state is that of the node that has applied
/// most, the leader is the one of the highest term, and each node speaks for itself.
fn own_hub(answers: Vec<HubReport>) -> Option<HubReport> {
    let speaker = |report: &HubReport| report.nodes.iter().find(|node| node.reachable).cloned();
    let mut nodes: BTreeMap<u64, NodeReport> = BTreeMap::new();
    let mut leader: Option<(u64, u64)> = None;
    for report in &answers {
        for node in &report.nodes {
            let known = nodes.entry(node.node_id).or_default();
            if node.reachable || !known.reachable {
                *known = node.clone();
            }
        }
        let term = speaker(report).map_or(0, |node| node.term);
        leader = leader.max(report.leader_id.map(|id| (term, id)));
    }
    let applied = |report: &HubReport| speaker(report).map_or(0, |node| node.applied_index);
    let best = answers.into_iter().max_by_key(applied)?;
    Some(HubReport {
        nodes: nodes.into_values().collect(),
        leader_id: leader.map(|(_, id)| id),
        ..best
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// Node `id` of the hub `acme`, which has three.
    fn node(id: u64, term: u64, leader: Option<u64>, applied: u64, clock: i64) -> HubReport {
        let nodes = (1..=3).map(|node_id| NodeReport {
            node_id,
            address: format!("node-{node_id}"),
            ..Default::default()
        });
        let mut nodes: Vec<NodeReport> = nodes.collect();
        for node in nodes.iter_mut().filter(|node| node.node_id == id) {
            node.reachable = true;
            node.term = term;
            node.applied_index = applied;
        }
        HubReport {
            hub: "acme".into(),
            time: clock,
            nodes,
            leader_id: leader,
            next_offset: applied * 10,
            ..Default::default()
        }
    }

    fn below(hub: &str, received: i64, next_offset: u64) -> HubReport {
        HubReport {
            hub: hub.into(),
            received,
            next_offset,
            ..Default::default()
        }
    }

    #[test]
    fn every_node_speaks_for_itself_and_the_silent_one_is_unreachable() {
        let answers = vec![
            vec![node(1, 7, Some(3), 40, 0)],
            vec![node(3, 8, Some(3), 50, 0)],
        ];
        let merged = merge(answers, Nanos(0));
        let [hub] = &merged[..] else {
            panic!("{merged:?}")
        };
        let nodes: Vec<(u64, bool, u64)> = hub
            .nodes
            .iter()
            .map(|node| (node.node_id, node.reachable, node.applied_index))
            .collect();
        assert_eq!(nodes, [(1, true, 40), (2, false, 0), (3, true, 50)]);
        assert_eq!(hub.nodes[1].address, "node-2");
        assert_eq!((hub.leader_id, hub.next_offset), (Some(3), 500));
    }

    #[test]
    fn the_leader_of_the_highest_term_leads() {
        let table = [
            ([(7, Some(1)), (8, Some(2))], Some(2)),
            ([(8, None), (7, Some(1))], Some(1)),
            ([(8, Some(2)), (8, None)], Some(2)),
            ([(8, None), (8, None)], None),
        ];
        for (nodes, expected) in table {
            let answers = (1..).zip(nodes);
            let answers = answers.map(|(id, (term, leader))| vec![node(id, term, leader, 1, 0)]);
            let merged = merge(answers.collect(), Nanos(0));
            assert_eq!(merged[0].leader_id, expected, "{nodes:?}");
        }
    }

    #[test]
    fn the_newest_report_wins_whatever_the_clocks_say() {
        let now = Nanos(1_000 * SECOND);
        // Node 1's clock is 100 s ahead: what it heard 9 s ago looks newer than what node 2 heard
        // 2 s ago.
        let answers = vec![
            vec![
                node(1, 1, Some(1), 1, 1_100 * SECOND),
                below("acme.a", 1_091 * SECOND, 1),
                below("acme.b", 1_099 * SECOND, 1),
            ],
            vec![
                node(2, 1, Some(1), 1, 1_000 * SECOND),
                below("acme.a", 998 * SECOND, 2),
                below("acme.c", 1_003 * SECOND, 2),
            ],
        ];
        let merged: Vec<(String, i64, u64)> = merge(answers, now)
            .into_iter()
            .skip(1)
            .map(|report| (report.hub, report.received / SECOND, report.next_offset))
            .collect();
        let expected = [
            ("acme.a".to_owned(), 998, 2),
            ("acme.b".to_owned(), 999, 1),
            // Of a clock that was set back: heard now, not in the future.
            ("acme.c".to_owned(), 1_000, 2),
        ];
        assert_eq!(merged, expected);
    }
}
