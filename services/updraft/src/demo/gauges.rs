//! Asks every node of every hub once a second how it is.
//!
//! These are the services' own counters. They are for watching; the audit does not use them.

use std::collections::VecDeque;
use std::time::Duration;

use proto::rpc::StatusResponse;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::plant::{ENTERPRISE, SITE};
use super::progress;
use super::story::{Phase, Story};
use crate::pyramid::Observer;

const EVERY: Duration = Duration::from_secs(1);
const ASK_TIMEOUT: Duration = Duration::from_millis(700);
/// Rates that are kept of each hub: as many as a wide screen has columns.
const RATES: usize = 240;
/// While somebody looks around, so many samples go by between two lines.
const QUIET: u64 = 10;

/// Statuses of all hubs in the order of [`super::plant::HUBS`]; `None` for one that does not answer.
pub(super) type Statuses = Vec<Option<StatusResponse>>;

/// How everything was at one moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// When the asking began.
    pub(super) asked: Instant,
    /// Of each hub, what its most advanced node says.
    pub(super) statuses: Statuses,
    /// Of each hub's nodes.
    pub(super) nodes: Vec<Statuses>,
    /// Records per second of each hub, the newest last; `None` where it can't be told.
    pub(super) rates: Vec<VecDeque<Option<u64>>>,
}

impl Sample {
    pub(super) fn empty(hubs: usize) -> Sample {
        Sample {
            asked: Instant::now(),
            statuses: vec![None; hubs],
            nodes: vec![Vec::new(); hubs],
            rates: vec![VecDeque::new(); hubs],
        }
    }

    /// What follows when the nodes say this.
    fn next(&self, asked: Instant, nodes: Vec<Statuses>) -> Sample {
        let statuses: Statuses = nodes.iter().map(|nodes| most_advanced(nodes)).collect();
        let over = asked.duration_since(self.asked);
        let mut rates = self.rates.clone();
        for (index, rates) in rates.iter_mut().enumerate() {
            let rate = match (&self.statuses[index], &statuses[index]) {
                (Some(before), Some(now)) => Some(rate(
                    now.next_offset.saturating_sub(before.next_offset),
                    over,
                )),
                _ => None,
            };
            if rates.len() == RATES {
                rates.pop_front();
            }
            rates.push_back(rate);
        }
        Sample {
            asked,
            statuses,
            nodes,
            rates,
        }
    }
}

fn most_advanced(nodes: &[Option<StatusResponse>]) -> Option<StatusResponse> {
    let answers = nodes.iter().flatten();
    answers.max_by_key(|status| status.next_offset).cloned()
}

fn rate(records: u64, over: Duration) -> u64 {
    let millis = u64::try_from(over.as_millis()).unwrap_or(u64::MAX).max(1);
    records.saturating_mul(1000) / millis
}

/// Asks, and prints a line of progress, until it is dropped.
pub(super) async fn run(hubs: Vec<Observer>, story: Story, samples: watch::Sender<Sample>) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0_u64.. {
        ticks.tick().await;
        let asked = Instant::now();
        let nodes = ask(&hubs).await;
        let sample = samples.borrow().next(asked, nodes);
        let now = story.now();
        let quiet = match now.phase {
            Phase::Running(_) | Phase::Draining => false,
            Phase::LookingAround => !number.is_multiple_of(QUIET),
            Phase::Starting | Phase::Auditing => true,
        };
        if !quiet {
            story.line(progress::line(&hubs, &sample, &now));
        }
        samples.send_replace(sample);
    }
}

async fn ask(hubs: &[Observer]) -> Vec<Statuses> {
    let asking = hubs.iter().map(|hub| {
        let nodes = hub.nodes().iter().map(async |node| {
            let status = timeout(ASK_TIMEOUT, node.status()).await;
            status.ok().flatten()
        });
        futures::future::join_all(nodes)
    });
    futures::future::join_all(asking).await
}

/// Records that the layer below has and this one does not have yet; 0 at the bottom.
pub(super) fn lag(hub: &str, statuses: &Statuses) -> Option<u64> {
    let [line_1, line_2, site, enterprise] = &statuses[..] else {
        return None;
    };
    match hub {
        SITE => {
            let below = records(line_1.as_ref()?) + records(line_2.as_ref()?);
            Some(below.saturating_sub(records(site.as_ref()?)))
        }
        ENTERPRISE => Some(records(site.as_ref()?).saturating_sub(records(enterprise.as_ref()?))),
        _ => Some(0),
    }
}

fn records(status: &StatusResponse) -> u64 {
    status
        .origins
        .iter()
        .map(|origin| origin.next_sequence)
        .sum()
}

/// Records that the historian does not have yet; `None` without a historian.
pub(super) fn unwritten(hub: &Observer, status: &StatusResponse) -> Option<u64> {
    hub.historian()?;
    let cursors = status
        .cursors
        .iter()
        .filter(|cursor| cursor.name.starts_with("writer/"));
    let written = cursors.map(|cursor| cursor.next_offset).max().unwrap_or(0);
    Some(status.next_offset.saturating_sub(written))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(next_offset: u64) -> Option<StatusResponse> {
        Some(StatusResponse {
            next_offset,
            ..StatusResponse::default()
        })
    }

    #[test]
    fn a_rate_is_known_between_two_answers_of_the_most_advanced_node() {
        let mut sample = Sample::empty(1);
        let start = sample.asked;
        for (seconds, nodes) in [
            (1, vec![at(100), at(90)]),
            (3, vec![None, at(500)]),
            (4, vec![None, None]),
            (5, vec![at(600), at(600)]),
            (6, vec![at(610), at(900)]),
        ] {
            sample = sample.next(start + Duration::from_secs(seconds), vec![nodes]);
        }
        assert_eq!(sample.rates[0], [None, Some(200), None, None, Some(300)]);
    }

    #[test]
    fn rates_are_bounded() {
        let mut sample = Sample::empty(1);
        for _ in 0..2 * RATES {
            sample = sample.next(sample.asked, vec![vec![None]]);
        }
        assert_eq!(sample.rates[0].len(), RATES);
    }
}
