//! One line a second: what each layer has committed, how fast, and how far it lags behind.
//!
//! These are the services' own counters. They are for watching; the audit does not use them.

use std::time::Duration;

use proto::rpc::StatusResponse;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::console::Console;
use super::plant::{Asked, ENTERPRISE, SITE, short};

const EVERY: Duration = Duration::from_secs(1);
const ASK_TIMEOUT: Duration = Duration::from_millis(700);

/// Statuses of all hubs in the order of [`super::plant::HUBS`]; `None` for one that does not answer.
pub(super) type Statuses = Vec<Option<StatusResponse>>;

pub(super) async fn ask(hubs: &[Asked]) -> Statuses {
    let asking = hubs.iter().map(async |asked| {
        let status = timeout(ASK_TIMEOUT, asked.client.status()).await;
        status.ok().and_then(Result::ok)
    });
    futures::future::join_all(asking).await
}

/// Prints lines.
#[derive(Debug)]
pub(super) struct Progress {
    hubs: Vec<Asked>,
    console: Console,
    started: Instant,
    before: Option<(Instant, Statuses)>,
}

impl Progress {
    pub(super) fn new(hubs: Vec<Asked>, console: Console, started: Instant) -> Progress {
        Progress {
            hubs,
            console,
            started,
            before: None,
        }
    }

    /// Until it is dropped.
    pub(super) async fn run(&mut self, current: watch::Receiver<String>) -> ! {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let doing = current.borrow().clone();
            self.line(&doing).await;
        }
    }

    /// Asks all hubs and says where they are.
    pub(super) async fn line(&mut self, doing: &str) -> Statuses {
        let statuses = ask(&self.hubs).await;
        let now = Instant::now();
        let mut parts = Vec::new();
        for (index, asked) in self.hubs.iter().enumerate() {
            parts.push(self.layer(index, asked, &statuses, now));
        }
        let elapsed = now.duration_since(self.started).as_secs_f64();
        let doing = if doing.is_empty() {
            String::new()
        } else {
            format!(" | {doing}")
        };
        self.console
            .line(format!("{elapsed:6.1}s  {}{doing}", parts.join(" | ")));
        self.before = Some((now, statuses.clone()));
        statuses
    }

    fn layer(&self, index: usize, asked: &Asked, statuses: &Statuses, now: Instant) -> String {
        let name = short(asked.hub);
        let Some(status) = &statuses[index] else {
            return format!("{name} does not answer");
        };
        let mut notes = Vec::new();
        if let Some((then, before)) = &self.before
            && let Some(before) = &before[index]
        {
            let grown = status.next_offset.saturating_sub(before.next_offset);
            notes.push(format!("{}/s", rate(grown, now.duration_since(*then))));
        }
        notes.extend(
            lag(asked.hub, statuses)
                .filter(|n| *n > 0)
                .map(|n| format!("lag {n}")),
        );
        let unwritten = unwritten(asked, status).filter(|n| *n > 0);
        notes.extend(unwritten.map(|n| format!("SQLite lag {n}")));
        match notes.join(", ") {
            notes if notes.is_empty() => format!("{name} {}", status.next_offset),
            notes => format!("{name} {} ({notes})", status.next_offset),
        }
    }
}

fn rate(records: u64, over: Duration) -> u64 {
    let millis = u64::try_from(over.as_millis()).unwrap_or(u64::MAX).max(1);
    records.saturating_mul(1000) / millis
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
pub(super) fn unwritten(asked: &Asked, status: &StatusResponse) -> Option<u64> {
    if !asked.historian {
        return None;
    }
    let cursors = status
        .cursors
        .iter()
        .filter(|cursor| cursor.name.starts_with("writer/"));
    let written = cursors.map(|cursor| cursor.next_offset).max().unwrap_or(0);
    Some(status.next_offset.saturating_sub(written))
}
