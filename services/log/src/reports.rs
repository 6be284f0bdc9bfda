//! What hubs below said about themselves: the newest of each, on this node, in memory alone.
//!
//! Pure: time comes in. A report that grows old stays with the time when it was heard, so that one
//! can see since when a hub is silent; after [`KEEP`] it is dropped.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;
use proto::report::MAX_REPORTS;
use proto::rpc::MAX_MESSAGE_BYTES;
use proto::rpc::{HubReport, Refusal, RefusalKind, ReportRequest, ReportResponse};
use proto::{HubPath, Nanos};
use raft_log::refusal::refusal;

/// Hubs below that are remembered.
const MAX_HUBS: usize = 1024;
/// What all reports may take together: they go out in one answer.
const MAX_BYTES: usize = MAX_MESSAGE_BYTES / 2;
/// How long a report is shown after it was heard.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// A report that is older may make room for that of a hub which was not known.
const STALE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(crate) struct Reports {
    hubs: BTreeMap<HubPath, HubReport>,
    /// Of all of them, encoded.
    bytes: usize,
}

/// The hub that connects, which must lie below this one.
pub(crate) fn child(own: &HubPath, hub: &str) -> Result<HubPath, Refusal> {
    let hub: HubPath = hub
        .parse()
        .map_err(|error| refusal(RefusalKind::Invalid, format!("{error}")))?;
    if hub == *own || !own.covers(&hub) {
        let message =
            format!("hub {hub} is not below {own}: a child's hub.path starts with its parent's");
        return Err(refusal(RefusalKind::Scope, message));
    }
    Ok(hub)
}

impl Reports {
    /// Takes what hub `own` is told by a child. An error is about the child itself; a report that
    /// can't be taken is named in the answer and keeps no other from being taken (I9).
    pub(crate) fn accept(
        &mut self,
        own: &HubPath,
        request: ReportRequest,
        now: Nanos,
    ) -> Result<ReportResponse, Refusal> {
        let child = child(own, &request.hub)?;
        let count = request.hubs.len();
        if count > MAX_REPORTS {
            let message = format!("{count} reports at once, at most {MAX_REPORTS} are taken");
            return Err(refusal(RefusalKind::Invalid, message));
        }
        let mut answer = ReportResponse::default();
        for report in request.hubs {
            match self.take(&child, report, request.time, now) {
                Ok(()) => answer.taken += 1,
                Err(refusal) => {
                    answer.refused.get_or_insert(refusal);
                }
            }
        }
        Ok(answer)
    }

    /// The newest report of every hub that was heard of within [`KEEP`], by path.
    pub(crate) fn newest(&mut self, now: Nanos) -> Vec<HubReport> {
        self.expire(now);
        self.hubs.values().cloned().collect()
    }

    /// How long ago each of them was heard of.
    pub(crate) fn ages(&mut self, now: Nanos) -> Vec<(HubPath, Duration)> {
        self.expire(now);
        let hubs = self.hubs.iter();
        hubs.map(|(hub, report)| (hub.clone(), age(report, now)))
            .collect()
    }

    fn expire(&mut self, now: Nanos) {
        let bytes = &mut self.bytes;
        self.hubs.retain(|_, report| {
            let keep = age(report, now) <= KEEP;
            *bytes -= if keep { 0 } else { report.encoded_len() };
            keep
        });
    }

    fn take(
        &mut self,
        child: &HubPath,
        report: HubReport,
        sent: i64,
        now: Nanos,
    ) -> Result<(), Refusal> {
        let hub = check(child, &report)?;
        let mut report = detach(report)?;
        // How old it was when it was sent; the child's own was made for this request.
        let old = match report.received {
            0 => 0,
            received => sent.saturating_sub(received).max(0),
        };
        report.received = now.0.saturating_sub(old);
        if age(&report, now) > KEEP {
            return Ok(());
        }
        let known = self.hubs.get(&hub);
        if known.is_some_and(|known| !is_news(known, &report, now)) {
            return Ok(());
        }
        let before = known.map_or(0, HubReport::encoded_len);
        if known.is_none() {
            self.make_room(now)?;
        }
        let bytes = self.bytes - before + report.encoded_len();
        if bytes > MAX_BYTES {
            let message = format!("all reports together would take more than {MAX_BYTES} bytes");
            return Err(refusal(RefusalKind::Full, message));
        }
        self.bytes = bytes;
        self.hubs.insert(hub, report);
        Ok(())
    }

    /// A hub that still reports is never pushed out by another one.
    fn make_room(&mut self, now: Nanos) -> Result<(), Refusal> {
        if self.hubs.len() < MAX_HUBS {
            return Ok(());
        }
        let oldest = self.hubs.iter().max_by_key(|(_, report)| age(report, now));
        let stale = oldest.filter(|(_, report)| age(report, now) > STALE);
        let Some(hub) = stale.map(|(hub, _)| hub.clone()) else {
            let message = format!("{MAX_HUBS} hubs report already");
            return Err(refusal(RefusalKind::Full, message));
        };
        let gone = self.hubs.remove(&hub);
        self.bytes -= gone.map_or(0, |report| report.encoded_len());
        Ok(())
    }
}

/// A child may report of itself and of hubs below it. Answers whose report it is.
fn check(child: &HubPath, report: &HubReport) -> Result<HubPath, Refusal> {
    let invalid =
        |error: proto::envelope::Invalid| refusal(RefusalKind::Invalid, error.to_string());
    let hub = report.validate().map_err(invalid)?;
    if !child.covers(&hub) {
        let message = format!("hub {child} may not report of hub {hub}, which is not below it");
        return Err(refusal(RefusalKind::Scope, message));
    }
    Ok(hub)
}

/// A report of its own: what was received shares the memory of the whole request, which would be
/// held as long as one of its reports is.
fn detach(report: HubReport) -> Result<HubReport, Refusal> {
    HubReport::decode(bytes::Bytes::from(report.encode_to_vec()))
        .map_err(|error| refusal(RefusalKind::Invalid, error.to_string()))
}

/// The same report comes again over other nodes, a little later each time: that is no sign of life.
fn is_news(known: &HubReport, report: &HubReport, now: Nanos) -> bool {
    let same = known.time == report.time && known.incarnation == report.incarnation;
    // Our clock may have been set back since.
    !same && report.received >= known.received.min(now.0)
}

fn age(report: &HubReport, now: Nanos) -> Duration {
    let nanos = now.0.saturating_sub(report.received).max(0);
    Duration::from_nanos(nanos.unsigned_abs())
}

#[cfg(test)]
mod tests;
