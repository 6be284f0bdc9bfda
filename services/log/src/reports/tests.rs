use super::*;

use proto::rpc::{NodeReport, OriginState};
use proto::{Incarnation, Lane, Origin};

const SECOND: i64 = 1_000_000_000;
const NOW: Nanos = Nanos(1_000_000 * SECOND);

fn path(hub: &str) -> HubPath {
    hub.parse().unwrap()
}

/// Made at `time` seconds, and heard by the child at `received`, both by clocks of their own.
fn report(hub: &str, time: i64, received: i64) -> HubReport {
    HubReport {
        hub: hub.into(),
        incarnation: Incarnation(7).to_bytes(),
        time: time * SECOND,
        received: received * SECOND,
        ..Default::default()
    }
}

fn request(hub: &str, time: i64, hubs: Vec<HubReport>) -> ReportRequest {
    ReportRequest {
        group: 0,
        hub: hub.into(),
        time: time * SECOND,
        hubs,
    }
}

fn at(seconds: i64) -> Nanos {
    Nanos(NOW.0 + seconds * SECOND)
}

/// Hub and age in seconds of all that is remembered.
fn ages(reports: &mut Reports, now: Nanos) -> Vec<(String, i64)> {
    let newest = reports.newest(now).into_iter();
    newest
        .map(|report| (report.hub, (now.0 - report.received) / SECOND))
        .collect()
}

#[test]
fn a_child_is_below_and_speaks_for_itself_and_below() {
    let table = [
        ("acme.site", "acme.site", Ok(())),
        ("acme.site", "acme.site.edge", Ok(())),
        ("acme.site", "acme.sites", Err(RefusalKind::Scope)),
        ("acme.site", "acme", Err(RefusalKind::Scope)),
        ("acme.site", "acme.other", Err(RefusalKind::Scope)),
        ("acme.site", "other", Err(RefusalKind::Scope)),
        ("acme.site", "acme.site..x", Err(RefusalKind::Invalid)),
        ("acme.site", "", Err(RefusalKind::Invalid)),
    ];
    for (child, hub, expected) in table {
        let mut reports = Reports::default();
        let request = request(child, 0, vec![report(hub, 1, 0), report(child, 1, 0)]);
        let answer = reports.accept(&path("acme"), request, NOW).unwrap();
        let refused = answer.refused.map(|refusal| refusal.kind());
        assert_eq!(refused, expected.err(), "{child} {hub}");
        // What is wrong keeps its neighbour from nothing.
        assert_eq!(
            answer.taken,
            1 + u32::from(expected.is_ok()),
            "{child} {hub}"
        );
    }
    for (child, kind) in [
        ("acme", RefusalKind::Scope),
        ("acm", RefusalKind::Scope),
        ("acmes.site", RefusalKind::Scope),
        ("other", RefusalKind::Scope),
        ("", RefusalKind::Invalid),
        ("acme..site", RefusalKind::Invalid),
    ] {
        let mut reports = Reports::default();
        let request = request(child, 0, vec![report(child, 1, 0)]);
        let refusal = reports.accept(&path("acme"), request, NOW).unwrap_err();
        assert_eq!(refusal.kind(), kind, "{child}");
        assert_eq!(reports.newest(NOW), []);
    }
}

#[test]
fn a_silent_hub_grows_old_and_is_dropped_after_a_day() {
    let mut reports = Reports::default();
    let own = path("acme");
    let take = |reports: &mut Reports, hubs, sent, now| {
        let answer = reports.accept(&own, request("acme.a", sent, hubs), now);
        assert_eq!(answer.unwrap().refused, None);
    };
    // The child's clock says 500, the grandchild's 77; it was heard 3 s before.
    let hubs = vec![report("acme.a", 500, 0), report("acme.a.b", 77, 497)];
    take(&mut reports, hubs, 500, at(0));
    let both = |a, b| vec![("acme.a".to_owned(), a), ("acme.a.b".to_owned(), b)];
    assert_eq!(ages(&mut reports, at(0)), both(0, 3));
    // The child goes on, the grandchild's report comes again; the way takes longer now and then.
    let hubs = vec![report("acme.a", 540, 0), report("acme.a.b", 77, 497)];
    take(&mut reports, hubs, 540, at(45));
    assert_eq!(ages(&mut reports, at(45)), both(0, 48));
    // Now the child is silent too.
    assert_eq!(ages(&mut reports, at(85)), both(40, 88));
    let day = 24 * 60 * 60;
    assert_eq!(ages(&mut reports, at(day)).len(), 1);
    assert_eq!(ages(&mut reports, at(day + 45)).len(), 1);
    assert_eq!(ages(&mut reports, at(day + 46)), []);
    // What is that old when it comes is not remembered at all.
    let hubs = vec![report("acme.a.b", 1, 1)];
    take(&mut reports, hubs, day + 2, at(0));
    assert_eq!(ages(&mut reports, at(0)), []);
}

#[test]
fn the_newest_stays_over_two_ways_and_a_clock_that_is_set_back() {
    let mut reports = Reports::default();
    let own = path("acme");
    let times = |reports: &mut Reports, now| -> Vec<i64> {
        let newest = reports.newest(now).into_iter();
        newest.map(|report| report.time / SECOND).collect()
    };
    // (the child's report of its child: made, heard), sent, our clock → the one that is kept
    let table = [
        ((10, 100), 101, at(1), 10),
        ((12, 102), 102, at(2), 12),
        // Over another node, which had an older one.
        ((11, 101), 103, at(3), 12),
        // Our clock was set back an hour: what comes is news nevertheless.
        ((13, 104), 104, at(-3600), 13),
        // Its clock was set back: it is newer all the same.
        ((5, 106), 106, at(-3598), 5),
    ];
    for ((made, heard), sent, now, expected) in table {
        let hubs = vec![report("acme.a.b", made, heard)];
        reports
            .accept(&own, request("acme.a", sent, hubs), now)
            .unwrap();
        assert_eq!(times(&mut reports, now), [expected]);
    }
}

#[test]
fn all_reports_together_fit_into_an_answer() {
    let mut reports = Reports::default();
    let large = |hub: &str| HubReport {
        nodes: vec![
            NodeReport {
                address: "a".repeat(200),
                ..Default::default()
            };
            5
        ],
        ..report(hub, 1, 0)
    };
    let bytes = large("acme.x.h000").encoded_len();
    reports.bytes = MAX_BYTES - 10 * bytes - bytes / 2;
    let names = (100..200).map(|n| format!("acme.x.h{n}"));
    let hubs: Vec<_> = names.map(|name| large(&name)).collect();
    let answer = reports.accept(&path("acme"), request("acme.x", 1, hubs), at(0));
    let answer = answer.unwrap();
    assert_eq!(answer.refused.unwrap().kind(), RefusalKind::Full);
    assert!((8..=10).contains(&answer.taken), "{}", answer.taken);
    // Newer reports of hubs that are known take the place of the older ones.
    let before = reports.bytes;
    let hubs = vec![HubReport {
        time: 2 * SECOND,
        ..large("acme.x.h100")
    }];
    let again = reports.accept(&path("acme"), request("acme.x", 2, hubs), at(1));
    assert_eq!((again.unwrap().taken, reports.bytes), (1, before));
}

#[test]
fn a_flood_of_hubs_stays_bounded_and_pushes_no_live_one_out() {
    let mut reports = Reports::default();
    let own = path("acme");
    let flood = |reports: &mut Reports, from: usize, now| -> (usize, Option<RefusalKind>) {
        let (mut taken, mut refused) = (0, None);
        for block in 0..40 {
            let names =
                (0..MAX_REPORTS).map(|n| format!("acme.x.h{}", from + block * MAX_REPORTS + n));
            let hubs = names.map(|name| report(&name, 1, 0)).collect();
            let answer = reports
                .accept(&own, request("acme.x", 1, hubs), now)
                .unwrap();
            taken += answer.taken as usize;
            refused = refused.or(answer.refused.map(|refusal| refusal.kind()));
        }
        (taken, refused)
    };
    let hubs = vec![report("acme.live", 1, 0)];
    reports
        .accept(&own, request("acme.live", 1, hubs), at(0))
        .unwrap();
    assert_eq!(
        flood(&mut reports, 0, at(0)),
        (MAX_HUBS - 1, Some(RefusalKind::Full))
    );
    assert_eq!(reports.newest(at(0)).len(), MAX_HUBS);
    // A minute later the flood is stale, and others may come; who reports stays.
    let hubs = vec![report("acme.live", 61, 0)];
    reports
        .accept(&own, request("acme.live", 61, hubs), at(61))
        .unwrap();
    assert_eq!(
        flood(&mut reports, 100_000, at(61)),
        (MAX_HUBS - 1, Some(RefusalKind::Full))
    );
    let newest = reports.newest(at(61));
    assert_eq!(newest.len(), MAX_HUBS);
    assert_eq!(newest[0].hub, "acme.live");

    let hubs = vec![report("acme.x", 1, 0); MAX_REPORTS + 1];
    let refusal = reports
        .accept(&own, request("acme.x", 1, hubs), at(61))
        .unwrap_err();
    assert_eq!(
        refusal.message,
        "257 reports at once, at most 256 are taken"
    );
}

#[test]
fn nonsense_is_named_and_not_kept() {
    let foreign = Origin {
        hub: path("acme.other"),
        incarnation: Incarnation(1),
        lane: Lane::Normal,
    };
    let origin = OriginState {
        origin: Some((&foreign).into()),
        next_sequence: 1,
        chain: vec![0; 32].into(),
    };
    let node = NodeReport {
        role: "x".repeat(1000),
        ..Default::default()
    };
    let table = [
        (
            HubReport {
                origins: vec![origin],
                ..report("acme.a", 1, 0)
            },
            "origin.hub",
        ),
        (
            HubReport {
                nodes: vec![node],
                ..report("acme.a", 1, 0)
            },
            "node.role",
        ),
        (report("acme.a", -1, 0), "report.time"),
    ];
    for (report, field) in table {
        let mut reports = Reports::default();
        let request = request("acme.a", 1, vec![report]);
        let answer = reports.accept(&path("acme"), request, NOW).unwrap();
        let refusal = answer.refused.unwrap();
        assert_eq!((answer.taken, refusal.kind()), (0, RefusalKind::Invalid));
        assert!(
            refusal.message.starts_with(&format!("invalid {field}: ")),
            "{}",
            refusal.message
        );
        assert_eq!(reports.newest(NOW), []);
    }
}

/// A report that is kept must not keep the request alive that it came in.
#[test]
fn a_report_is_kept_without_its_request() {
    let mut reports = Reports::default();
    let request = request(
        "acme.a",
        1,
        vec![report("acme.a", 1, 0), report("acme.a.b", 1, 1)],
    );
    let received = bytes::Bytes::from(request.encode_to_vec());
    let request = ReportRequest::decode(received.clone()).unwrap();
    reports.accept(&path("acme"), request, NOW).unwrap();
    assert!(received.is_unique());
}
