//! The configuration in force, section by section.

use std::fmt::Display;
use std::time::Duration;

use kit::config::{
    BrokerConfig, CollectorConfig, ConsoleConfig, HistorianBackend, HistorianConfig, HubConfig,
    LogConfig, ParentConfig, RulesConfig, Source, TelemetryConfig, TlsConfig,
};
use maud::{Markup, html};

/// A section's keys and values.
type Rows = Vec<(String, String)>;

const HIDDEN: &str = "•••••• (not shown)";

pub(super) fn sections(hub: &HubConfig) -> Markup {
    let node = vec![
        row("hub.path", &*hub.hub.path),
        row("node.id", *hub.node.id),
        row("data_dir", hub.data_dir.display()),
        row("insecure", *hub.insecure),
    ];
    let optional = [
        ("tls", hub.tls.as_ref().map(tls)),
        (
            "rules",
            Some(rules(&hub.rules)).filter(|rules| !rules.is_empty()),
        ),
        ("log", hub.log.as_ref().map(log)),
        ("broker", hub.broker.as_ref().map(broker)),
        (
            "collectors",
            Some(collectors(&hub.collectors)).filter(|rows| !rows.is_empty()),
        ),
        ("parent", hub.parent.as_ref().map(parent)),
        ("historian", hub.historian.as_ref().map(historian)),
        ("console", hub.console.as_ref().map(console)),
    ];
    html! {
        (section("node", Some(&node)))
        @for (name, rows) in &optional { (section(name, rows.as_ref())) }
        (section("telemetry", Some(&telemetry(&hub.telemetry))))
    }
}

fn section(name: &str, rows: Option<&Rows>) -> Markup {
    html! {
        section.card {
            h3.mono { (name) }
            @match rows {
                None => { p.muted { "Not configured on this node." } },
                Some(rows) => {
                    dl.facts {
                        @for (key, value) in rows {
                            div { dt.mono { (key) } dd.mono { (value) } }
                        }
                    }
                },
            }
        }
    }
}

fn row(key: impl Display, value: impl Display) -> (String, String) {
    (key.to_string(), value.to_string())
}

fn time(key: &str, time: Duration) -> (String, String) {
    row(key, humantime::format_duration(time))
}

fn optional(key: &str, value: Option<impl Display>) -> (String, String) {
    row(
        key,
        value.map_or("none".to_owned(), |value| value.to_string()),
    )
}

fn list<T: Display>(values: impl IntoIterator<Item = T>) -> String {
    let values: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    values.join(", ")
}

fn tls(tls: &TlsConfig) -> Rows {
    vec![
        row("ca", tls.ca.display()),
        row("cert", tls.cert.display()),
        row("key", tls.key.display()),
    ]
}

fn rules(rules: &RulesConfig) -> Rows {
    let lanes = rules
        .lanes
        .iter()
        .map(|rule| row(&*rule.filter, format!("lane {}", *rule.lane)));
    let scopes = rules
        .scopes
        .iter()
        .map(|rule| row(&*rule.filter, format!("scope {}", *rule.scope)));
    lanes.chain(scopes).collect()
}

fn log(log: &LogConfig) -> Rows {
    let max_age = log.retention.max_age;
    let max_age = max_age.map(|age| humantime::format_duration(*age));
    let nodes = log
        .nodes
        .as_ref()
        .map_or("this one alone".to_owned(), |nodes| {
            list(nodes.iter().map(|(id, at)| format!("{id}: {}", at.value)))
        });
    vec![
        row("listen", *log.listen),
        row("nodes", nodes),
        row(
            "uplink",
            log.uplink
                .as_ref()
                .map_or("none".to_owned(), |at| at.to_string()),
        ),
        row("segment_bytes", *log.segment_bytes),
        time("heartbeat", *log.heartbeat),
        time("election_timeout", *log.election_timeout),
        time("linger", *log.linger),
        time("retention.min_age", *log.retention.min_age),
        optional("retention.max_age", max_age),
        optional(
            "retention.max_bytes",
            log.retention.max_bytes.map(|it| it.value),
        ),
        time("retention.session_age", *log.retention.session_age),
        optional("disk.budget", log.disk.budget.map(|it| it.value)),
        optional("disk.reserve", log.disk.reserve.map(|it| it.value)),
        optional(
            "quota.bytes_per_second",
            log.quota.bytes_per_second.map(|it| it.value),
        ),
    ]
}

fn broker(broker: &BrokerConfig) -> Rows {
    vec![
        row("listen", *broker.listen),
        row("max_packet_bytes", *broker.max_packet_bytes),
        row("max_in_flight", *broker.max_in_flight),
    ]
}

fn collectors(collectors: &[CollectorConfig]) -> Rows {
    let source = |collector: &CollectorConfig| match collector.source() {
        Some(Source::Opcua(opcua)) => format!("OPC UA {}", *opcua.endpoint),
        Some(Source::Modbus(_)) => "Modbus TCP".to_owned(),
        None => "no source".to_owned(),
    };
    collectors
        .iter()
        .map(|collector| row(collector.name.as_str(), source(collector)))
        .collect()
}

fn parent(parent: &ParentConfig) -> Rows {
    vec![
        row("uplink", list(parent.uplink.0.iter().map(|url| &url.value))),
        row(
            "scopes",
            list(parent.scopes.iter().map(|scope| &scope.value)),
        ),
    ]
}

fn historian(historian: &HistorianConfig) -> Rows {
    match &historian.backend {
        HistorianBackend::Sqlite(path) => vec![row("sqlite", path.display())],
        HistorianBackend::Postgres(postgres) => vec![
            row("postgres.url", HIDDEN),
            row("postgres.schema", &*postgres.schema),
        ],
    }
}

fn console(console: &ConsoleConfig) -> Rows {
    let users = console.users.iter();
    let users = users.map(|user| row(format!("users: {}", *user.name), HIDDEN));
    [
        row("listen", *console.listen),
        row("tls", *console.tls),
        time("session_idle", *console.session_idle),
        time("session_limit", *console.session_limit),
    ]
    .into_iter()
    .chain(users)
    .collect()
}

fn telemetry(telemetry: &TelemetryConfig) -> Rows {
    vec![
        row(
            "listen",
            telemetry
                .listen
                .as_ref()
                .map_or("none".to_owned(), |at| at.to_string()),
        ),
        row(
            "otlp",
            telemetry
                .otlp
                .as_ref()
                .map_or("none".to_owned(), |at| at.to_string()),
        ),
        row("log", telemetry.log.as_str()),
    ]
}
