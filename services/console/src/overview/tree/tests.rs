use proto::rpc::{CursorState, Origin};

use super::*;

const SECOND: i64 = 1_000_000_000;
/// When everything in these tests begins.
const START: i64 = 1_000_000 * SECOND;

fn at(seconds: i64) -> Nanos {
    Nanos(START + seconds * SECOND)
}

fn node(id: u64, leads: bool) -> NodeReport {
    NodeReport {
        node_id: id,
        reachable: true,
        role: if leads { "leader" } else { "follower" }.into(),
        last_index: 100,
        applied_index: 100,
        disk_bytes: 10,
        ..NodeReport::default()
    }
}

/// Three nodes, led by the first; the hub's own origin has as many records as its log.
fn report(hub: &str, heard: i64, records: u64) -> HubReport {
    let origin = Origin {
        hub: hub.into(),
        ..Origin::default()
    };
    HubReport {
        hub: hub.into(),
        received: at(heard).0,
        nodes: vec![node(1, true), node(2, false), node(3, false)],
        leader_id: Some(1),
        next_offset: records,
        origins: vec![OriginState {
            origin: Some(origin),
            next_sequence: records,
            ..OriginState::default()
        }],
        ..HubReport::default()
    }
}

fn overview(reports: Vec<HubReport>) -> Overview {
    Tree::default().update(at(0), Some(reports))
}

fn alarms(hub: &Hub) -> Vec<(State, &str)> {
    let alarms = hub.alarms.iter();
    alarms
        .map(|alarm| (alarm.state, alarm.text.as_str()))
        .collect()
}

#[test]
fn hubs_stand_below_the_nearest_one_that_covers_them() {
    let paths = [
        "acme",
        "acme.site-2",
        "acme.site",
        "acme.site.line.cell",
        "acme.site-2.line",
        "other",
    ];
    let overview = overview(paths.map(|path| report(path, 0, 1)).to_vec());
    let parent = |hub: &Hub| hub.parent.map(|index| overview.hubs[index].path.as_str());
    let found: Vec<_> = overview
        .hubs
        .iter()
        .map(|hub| (hub.path.as_str(), parent(hub)))
        .collect();
    assert_eq!(
        found,
        [
            ("acme", None),
            ("acme.site", Some("acme")),
            ("acme.site.line.cell", Some("acme.site")),
            ("acme.site-2", Some("acme")),
            ("acme.site-2.line", Some("acme.site-2")),
            ("other", None),
        ]
    );
}

#[test]
fn a_healthy_hub() {
    let overview = overview(vec![report("acme", 0, 5)]);
    let hub = &overview.hubs[0];
    assert_eq!((hub.state, hub.word.as_str()), (State::Ok, "running"));
    let words: Vec<_> = hub.nodes.iter().map(|node| node.word.as_str()).collect();
    assert_eq!(words, ["leader", "follower", "follower"]);
    assert_eq!((hub.records, hub.disk_bytes), (5, 30));
    assert_eq!((hub.silence, hub.alarms.len()), (None, 0));
    assert_eq!(overview.worst(), State::Ok);
}

#[test]
fn what_is_wrong_with_the_nodes_of_a_hub() {
    fn down(report: &mut HubReport, ids: &[u64]) {
        for node in report
            .nodes
            .iter_mut()
            .filter(|node| ids.contains(&node.node_id))
        {
            *node = NodeReport {
                node_id: node.node_id,
                ..NodeReport::default()
            };
        }
    }
    type Edit = fn(&mut HubReport);
    let table: [(Edit, State, &str, &str); 6] = [
        (
            |hub| down(hub, &[2]),
            State::Warn,
            "degraded",
            "node 2 does not answer",
        ),
        (
            |hub| down(hub, &[1]),
            State::Bad,
            "down",
            "no leader: nothing is taken",
        ),
        (
            |hub| down(hub, &[2, 3]),
            State::Bad,
            "down",
            "no quorum: nothing is taken",
        ),
        (
            |hub| hub.nodes[2].applied_index = 0,
            State::Ok,
            "running",
            "",
        ),
        (
            |hub| hub.nodes[0].last_index = 5000,
            State::Warn,
            "behind",
            "node 1 is catching up",
        ),
        (
            |hub| hub.leader_id = None,
            State::Bad,
            "down",
            "no leader: nothing is taken",
        ),
    ];
    for (edit, state, word, alarm) in table {
        let mut report = report("acme", 0, 5);
        edit(&mut report);
        let overview = overview(vec![report]);
        let hub = &overview.hubs[0];
        assert_eq!((hub.state, hub.word.as_str()), (state, word), "{hub:?}");
        let first = alarms(hub).first().map_or("", |(_, text)| *text);
        assert!(first.starts_with(alarm), "{alarm:?}: {first:?}");
    }
}

#[test]
fn a_killed_node_is_bad_and_good_again() {
    let mut tree = Tree::default();
    let whole = report("acme", 0, 5);
    let mut broken = whole.clone();
    broken.nodes[2].reachable = false;
    for (report, state, word) in [
        (&whole, State::Ok, "follower"),
        (&broken, State::Bad, "unreachable"),
        (&whole, State::Ok, "follower"),
    ] {
        let overview = tree.update(at(0), Some(vec![report.clone()]));
        let node = &overview.hubs[0].nodes[2];
        assert_eq!((node.state, node.word.as_str()), (state, word));
    }
}

#[test]
fn an_own_hub_that_does_not_answer_is_shown_as_it_was_with_all_nodes_down() {
    let mut tree = Tree::default();
    assert_eq!(tree.update(at(0), None), Overview::default());
    tree.update(
        at(0),
        Some(vec![report("acme", 0, 7), report("acme.site", 0, 7)]),
    );
    let overview = tree.update(at(2), None);
    let hub = &overview.hubs[0];
    assert_eq!((hub.state, hub.records), (State::Bad, 7));
    assert!(hub.nodes.iter().all(|node| node.state == State::Bad));
    assert_eq!(hub.silence, Some(Duration::from_secs(2)));
    assert_eq!(alarms(hub), [(State::Bad, "no node of this hub answers")]);
    assert_eq!(overview.worst(), State::Bad);
}

#[test]
fn a_hub_below_that_is_silent_is_bad_and_its_nodes_unknown() {
    let mut tree = Tree::default();
    let reports = vec![report("acme", 0, 7), report("acme.site", 0, 7)];
    for (seconds, state) in [(0, State::Ok), (3, State::Ok), (4, State::Bad)] {
        let overview = tree.update(at(seconds), Some(reports.clone()));
        assert_eq!(overview.hubs[0].state, State::Ok);
        let below = &overview.hubs[1];
        assert_eq!(below.state, state, "after {seconds} s");
        let unknown = below.nodes.iter().all(|node| node.state == State::Idle);
        assert_eq!(unknown, state == State::Bad);
    }
}

#[test]
fn nothing_is_known_of_what_is_heard_of_through_a_silent_hub() {
    let mut tree = Tree::default();
    let reports = |heard: i64| {
        vec![
            report("acme", heard, 7),
            report("acme.site", 0, 7),
            report("acme.site.line", -1, 7),
        ]
    };
    tree.update(at(0), Some(reports(0)));
    let states =
        |overview: &Overview| -> Vec<State> { overview.hubs.iter().map(|hub| hub.state).collect() };
    let silent = tree.update(at(9), Some(reports(9)));
    assert_eq!(states(&silent), [State::Ok, State::Bad, State::Idle]);
    let heard = "heard of through acme.site, which is silent";
    assert_eq!(alarms(&silent.hubs[2]), [(State::Idle, heard)]);

    let mut tree = Tree::default();
    tree.update(at(0), Some(reports(0)));
    let gone = tree.update(at(1), None);
    assert_eq!(states(&gone), [State::Bad, State::Idle, State::Idle]);
}

#[test]
fn rates_are_of_what_was_heard_between() {
    let mut tree = Tree::default();
    let mut rates = Vec::new();
    for (seconds, heard, records) in [
        (0, 0, 1000),
        (1, 1, 1100),
        (2, 2, 1200),
        // The same report again.
        (3, 2, 1200),
        (4, 4, 1400),
        // The log began anew.
        (6, 6, 0),
    ] {
        let reports = vec![report("acme", 0, 0), report("acme.site", heard, records)];
        let overview = tree.update(at(seconds), Some(reports));
        rates.push(overview.hubs[1].rate.map(f64::round));
    }
    let steady = Some(100.0);
    assert_eq!(rates[..5], [None, steady, steady, steady, steady]);
    assert!(rates[5] < steady && rates[5] >= Some(0.0), "{rates:?}");
    let overview = tree.update(at(7), Some(vec![report("acme", 0, 0)]));
    assert_eq!((overview.hubs.len(), tree.rates.len()), (1, 1));
}

#[test]
fn what_a_layer_and_a_historian_do_not_have_yet() {
    let mut above = report("acme", 0, 500);
    above.origins.extend(report("acme.site", 0, 60).origins);
    let mut site = report("acme.site", 0, 100);
    site.origins.extend(report("acme.site.line", 0, 30).origins);
    let cursor = |name: &str, next_offset| CursorState {
        name: name.into(),
        next_offset,
        ..CursorState::default()
    };
    site.cursors = vec![
        cursor("writer/sqlite-1", 90),
        cursor("forwarder/normal", 10),
    ];
    above.cursors = vec![
        cursor("forwarder/normal", 450),
        cursor("forwarder/urgent", 480),
    ];
    let overview = overview(vec![above, site]);
    // Of the origin of the site 40, of the line's all 30.
    assert_eq!(overview.hubs[1].behind, Some(70));
    assert_eq!(overview.hubs[1].historians, [("sqlite-1".to_owned(), 10)]);
    // Nobody here sees the parent of the top: its forwarders tell.
    assert_eq!(overview.hubs[0].behind, Some(50));
}

#[test]
fn a_lag_is_an_alarm_when_it_is_more_than_some_seconds_of_the_rate() {
    for (records, lag, alarmed) in [
        (0, 900, false),
        (0, 1100, true),
        (1_000, 9_000, false),
        (1_000, 11_000, true),
    ] {
        let mut tree = Tree::default();
        let heard = |seconds: i64| {
            let mut site = report(
                "acme.site",
                seconds,
                100_000 + seconds.unsigned_abs() * records,
            );
            let next_offset = site.next_offset - lag;
            site.cursors = vec![CursorState {
                name: "writer/postgres".into(),
                next_offset,
                ..CursorState::default()
            }];
            let mut above = report("acme", 0, 0);
            above.origins.extend(site.origins.clone());
            vec![above, site]
        };
        tree.update(at(0), Some(heard(0)));
        let overview = tree.update(at(1), Some(heard(1)));
        let told = alarms(&overview.hubs[1]) == [(State::Warn, "historian postgres is behind")];
        assert_eq!(told, alarmed, "{records} records/s, {lag} behind");
    }
}
