//! What nodes say about themselves, as a collector and a Prometheus that are not ours hear it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use chaos_tests::otlp::{Collector, Seen};
use chaos_tests::prometheus::{Prometheus, get, promtool, rules};
use chaos_tests::wait;
use chaos_tests::wire::Wire;
use updraft::pyramid::{HubSpec, Pyramid, free_ports};

use crate::rig::{LIMIT, NODE, cursor, urls};

const TOPIC: &[u8] = b"umh/v1/acme/_raw/machine/temperature";

/// Two hubs with all services, each with its metrics on an address of its own.
struct Rig {
    pyramid: Pyramid,
    metrics: [SocketAddr; 2],
}

impl Rig {
    /// `telemetry` is more of that section.
    async fn start(directory: &Path, telemetry: &str) -> Result<Rig> {
        let ports = free_ports(2)?;
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let metrics = [at(ports[0]), at(ports[1])];
        let section = |at: SocketAddr| format!("telemetry:\n  listen: {at}\n{telemetry}");
        let mut pyramid = Pyramid::new(NODE, directory);
        let site = pyramid.add(HubSpec {
            historian: true,
            further: section(metrics[0]),
            ..HubSpec::new("acme")
        })?;
        let parent = urls(&site.uplinks());
        pyramid.add(HubSpec {
            parent,
            further: section(metrics[1]),
            ..HubSpec::new("acme.edge")
        })?;
        pyramid.start(LIMIT).await?;
        Ok(Rig { pyramid, metrics })
    }

    async fn publisher(&self) -> Result<Publisher> {
        let broker = self.pyramid.hub("acme.edge")?.brokers()[0];
        Ok(Publisher {
            wire: Wire::connect(broker, "machine").await?,
            published: 0,
        })
    }

    /// Everything that was published is in the historian of the site.
    async fn written(&self, records: u64) -> Result<()> {
        let site = self.pyramid.hub("acme")?.client().clone();
        wait::until("the site has written it", LIMIT, async || {
            let at = cursor(&site, "writer/sqlite-1").await?;
            (at >= records).then_some(()).ok_or(format!("{at}"))
        })
        .await
    }
}

struct Publisher {
    wire: Wire,
    published: u16,
}

impl Publisher {
    async fn publish(&mut self) -> Result<()> {
        self.published = self.published.checked_add(1).context("enough")?;
        let payload = format!(
            r#"{{"timestamp_ms": 1700000000000, "value": {}}}"#,
            self.published
        );
        let publish = self.wire.publish(self.published, TOPIC, payload.as_bytes());
        publish.await
    }
}

/// The traces that hold all of these spans, each at its hub.
fn complete(seen: &Seen, stages: &[(&str, &str)]) -> usize {
    let mut traces: BTreeMap<&[u8], BTreeSet<(&str, &str)>> = BTreeMap::new();
    for (hub, span) in &seen.spans {
        let trace = traces.entry(&span.trace_id).or_default();
        trace.insert((hub, &span.name));
    }
    let all = |trace: &&BTreeSet<(&str, &str)>| stages.iter().all(|stage| trace.contains(stage));
    traces.values().filter(all).count()
}

const STAGES: [(&str, &str); 9] = [
    ("acme.edge", "publish"),
    ("acme.edge", "append"),
    ("acme.edge", "commit"),
    ("acme.edge", "apply"),
    ("acme.edge", "forward"),
    ("acme", "relay"),
    ("acme", "commit"),
    ("acme", "apply"),
    ("acme", "write"),
];

#[tokio::test]
async fn a_collector_sees_the_whole_way_of_a_batch_and_hears_logs_and_metrics() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let collector = Collector::start()?;
    let telemetry = format!("  otlp: http://{}\n  traces: 1\n", collector.address);
    let mut rig = Rig::start(directory.path(), &telemetry).await?;
    let mut publisher = rig.publisher().await?;
    for _ in 0..5 {
        publisher.publish().await?;
    }
    rig.written(5).await?;
    // Each was acknowledged before the next: five batches, of one record each.
    wait::until("all traces are complete", LIMIT, async || {
        let complete = complete(&collector.seen(), &STAGES);
        (complete == 5).then_some(()).ok_or(format!("{complete}"))
    })
    .await?;
    for (hub, span) in collector.seen().spans {
        ensure!(
            span.start_time_unix_nano <= span.end_time_unix_nano,
            "{hub} {} ends before it starts",
            span.name
        );
    }
    // Metrics go once a minute, and when the node ends.
    rig.pyramid.stop(LIMIT).await?;
    let seen = collector.seen();
    for (hub, metric) in [
        ("acme.edge", "updraft_broker_publishes_total"),
        ("acme.edge", "updraft_forwarder_envelopes_total"),
        ("acme", "updraft_log_uplink_records_total"),
        ("acme", "updraft_writer_rows_total"),
        ("acme", "updraft_log_has_quorum"),
    ] {
        let expected = (hub.to_owned(), metric.to_owned());
        ensure!(seen.metrics.contains(&expected), "{expected:?} is missing");
    }
    for (hub, target) in [
        ("acme.edge", "forwarder::lane"),
        ("acme", "log_service::uplink"),
        ("acme", "writer::task"),
    ] {
        let expected = (hub.to_owned(), target.to_owned());
        ensure!(
            seen.logs.contains(&expected),
            "{expected:?}: {:?}",
            seen.logs
        );
    }
    Ok(())
}

#[tokio::test]
async fn without_a_share_no_batch_is_traced() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let collector = Collector::start()?;
    let telemetry = format!("  otlp: http://{}\n  traces: 0\n", collector.address);
    let mut rig = Rig::start(directory.path(), &telemetry).await?;
    let mut publisher = rig.publisher().await?;
    publisher.publish().await?;
    rig.written(1).await?;
    // Everything that is buffered leaves with the process.
    rig.pyramid.stop(LIMIT).await?;
    let seen = collector.seen();
    let names: BTreeSet<&str> = seen.spans.iter().map(|(_, span)| &span.name[..]).collect();
    ensure!(names == BTreeSet::from(["service"]), "{names:?}");
    ensure!(!seen.metrics.is_empty() && !seen.logs.is_empty());
    Ok(())
}

/// What a query yields, by the value of a label.
async fn by_label(prometheus: &Prometheus, query: &str, label: &str) -> Vec<(String, f64)> {
    // It may not answer yet.
    let samples = prometheus.query(query).await.unwrap_or_default();
    let mut values: Vec<(String, f64)> = samples
        .into_iter()
        .map(|mut sample| {
            (
                sample.labels.remove(label).unwrap_or_default(),
                sample.value,
            )
        })
        .collect();
    values.sort_by(|a, b| a.0.cmp(&b.0));
    values
}

/// Until a query yields these values, publishing all the while.
async fn yields(
    prometheus: &Prometheus,
    publisher: &mut Publisher,
    (query, label): (&str, &str),
    expected: &[(&str, f64)],
) -> Result<()> {
    wait::until(query, LIMIT, async || {
        publisher
            .publish()
            .await
            .map_err(|error| format!("{error:#}"))?;
        let values = by_label(prometheus, query, label).await;
        let values: Vec<(&str, f64)> = values.iter().map(|(l, v)| (l.as_str(), *v)).collect();
        (values == expected)
            .then_some(())
            .ok_or(format!("{values:?}"))
    })
    .await
}

#[tokio::test]
async fn a_real_prometheus_scrapes_nodes_and_its_alarms_go_off() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let mut rig = Rig::start(directory.path(), "").await?;
    let port = free_ports(1)?[0];
    let rules = rules().canonicalize()?.join("rules.yml");
    let prometheus = Prometheus::start(directory.path(), port, &rig.metrics, &rules)?;
    let [site, edge] = rig.metrics.map(|at| at.to_string());
    let mut publisher = rig.publisher().await?;
    let publisher = &mut publisher;

    let mut up = [(site.as_str(), 1.0), (edge.as_str(), 1.0)];
    up.sort_by(|a, b| a.0.cmp(b.0));
    yields(&prometheus, publisher, ("up", "instance"), &up).await?;
    let rate = "sum by (instance) (rate(updraft_broker_publishes_total[10s])) > bool 0.5";
    yields(&prometheus, publisher, (rate, "instance"), &[(&edge, 1.0)]).await?;
    // What is joined with the node's own word on its hub, by the rules.
    let both = [("acme", 1.0), ("acme.edge", 1.0)];
    let quorum = "hub:updraft_log_has_quorum:max";
    yields(&prometheus, publisher, (quorum, "hub"), &both).await?;
    let connected = r#"hub:updraft_forwarder_connected:max{lane="normal"}"#;
    let edge_alone = [("acme.edge", 1.0)];
    yields(&prometheus, publisher, (connected, "hub"), &edge_alone).await?;
    let writing = "hub:updraft_writer_writing:max";
    yields(&prometheus, publisher, (writing, "hub"), &[("acme", 1.0)]).await?;
    let heard = "hub:updraft_log_report_age_seconds:min < bool 30";
    yields(&prometheus, publisher, (heard, "below"), &edge_alone).await?;

    rig.pyramid.hub_mut("acme")?.node_mut(0)?.kill()?;
    let down = r#"ALERTS{alertname="UpdraftNodeDown"}"#;
    yields(&prometheus, publisher, (down, "instance"), &[(&site, 1.0)]).await?;
    let uplink = r#"ALERTS{alertname="UpdraftUplinkDown", lane="normal"}"#;
    yields(&prometheus, publisher, (uplink, "hub"), &edge_alone).await?;
    rig.pyramid.hub_mut("acme")?.node_mut(0)?.start()?;
    let no_alarm = [];
    yields(&prometheus, publisher, (down, "instance"), &no_alarm).await?;
    yields(&prometheus, publisher, (uplink, "hub"), &no_alarm).await
}

/// Type and label names of each row in the tables of `docs/metrics.md`.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows = rows.filter_map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, _unit, _meaning] = cells[..] else {
            return None;
        };
        let labels = labels.split(['`', ',', ' ', '–']).filter(|l| !l.is_empty());
        let labels = labels.map(str::to_owned).collect();
        Some((name.trim_matches('`').to_owned(), (kind.to_owned(), labels)))
    });
    rows.collect()
}

/// Compares what a node shows with the tables.
fn compare(text: &str) -> Result<()> {
    let documented = documented();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').context("a type")?;
            let row = documented.get(name);
            let (expected, _) = row.with_context(|| format!("docs/metrics.md lacks {name}"))?;
            ensure!(kind == expected, "{name} is a {kind}, not a {expected}");
            family = name.to_owned();
        } else if let Some((_, labels)) = line.split_once('{')
            && !line.starts_with('#')
        {
            let (labels, _) = labels.rsplit_once('}').context("labels")?;
            // A value with a comma and an equals sign in it would be taken for a label.
            let names = labels.split("\",").filter_map(|pair| pair.split_once('='));
            let names: BTreeSet<&str> = names.map(|(name, _)| name).collect();
            let (_, expected) = &documented[&family];
            for name in names {
                ensure!(
                    name == "le" || expected.contains(name),
                    "{family} has label {name}"
                );
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_metrics_of_a_node_are_as_documented_and_without_fault() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let rig = Rig::start(directory.path(), "").await?;
    let mut publisher = rig.publisher().await?;
    publisher.publish().await?;
    rig.written(1).await?;
    for at in rig.metrics {
        let text = get(at, "/metrics").await?;
        compare(&text)?;
        let file = directory.path().join("metrics");
        std::fs::write(&file, text)?;
        let faults = promtool(&["check", "metrics"], directory.path(), Some(&file))?;
        ensure!(faults.trim().is_empty(), "{faults}");
    }
    Ok(())
}

#[test]
fn the_alert_rules_are_right() {
    let said = promtool(&["check", "rules", "rules.yml"], &rules(), None).unwrap();
    assert!(said.contains("SUCCESS"), "{said}");
    let said = promtool(&["test", "rules", "rules_test.yml"], &rules(), None).unwrap();
    assert!(said.contains("SUCCESS"), "{said}");
}
