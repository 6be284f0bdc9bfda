//! Whole files: what they read as, and the exact line that each mistake gives.

use std::net::SocketAddr;
use std::time::Duration;

use proto::{Lane, Scope};

use super::*;

const LEAST: &str = "hub: { path: acme }\ndata_dir: data\n";

const FULL: &str = r#"
hub:
  path: acme.cologne.press-shop
node: { id: 2 }
data_dir: ./data
insecure: true
tls: { ca: ca.pem, cert: node.pem, key: node.key }
rules:
  lanes:  [ { filter: "acme/+/_alarm/#", lane: urgent } ]
  scopes: [ { filter: "acme/#", scope: local } ]
log:
  listen: 127.0.0.1:${PORT}
  nodes: { 1: "node-1:7400", 2: 127.0.0.1:7401, 3: "[::1]:7402" }
  uplink: 0.0.0.0:7443
  segment_bytes: 16MiB
  heartbeat: 100ms
  election_timeout: 2s 500ms
  linger: 0s
broker:
  listen: 0.0.0.0:1883
  max_packet_bytes: 4096
  max_in_flight: 7
parent:
  uplink: [ "https://site-1.acme:7443", "https://site-2.acme:7443/" ]
  scopes: [ up, lab ]
historian:
  postgres: { url: "postgres://user:${PGPASSWORD}@host/db", schema: "$${raw}" }
telemetry:
  listen: 127.0.0.1:9400
  otlp: http://127.0.0.1:4317
  log: info,raft_log=debug
"#;

fn environment(variable: &str) -> Option<String> {
    match variable {
        "PORT" => Some("7401".into()),
        "PGPASSWORD" => Some("hush".into()),
        "EVIL" => Some("x\", schema: evil }\nbroker:\n  listen: 0.0.0.0:1\n#'".into()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<HubConfig, ConfigError> {
    from_str_with("hub.yaml", text, environment)
}

#[test]
fn every_key_of_the_file() {
    let config = parse(FULL).unwrap();
    assert_eq!(config.hub.path.as_str(), "acme.cologne.press-shop");
    let rules = config.rules.rules();
    assert_eq!(rules.lane("acme/x/_alarm/y"), Lane::Urgent);
    assert_eq!(rules.scope("acme/x"), Scope::local());

    let nodes = config.log_nodes("broker").unwrap();
    let nodes: Vec<_> = nodes.iter().map(|(id, at)| format!("{id}={at}")).collect();
    assert_eq!(nodes, ["1=node-1:7400", "2=127.0.0.1:7401", "3=[::1]:7402"]);
    let log = config.log.as_ref().unwrap();
    assert_eq!(*log.listen, "127.0.0.1:7401".parse::<SocketAddr>().unwrap());
    assert_eq!((log.listen.place.line, log.listen.place.column), (12, 11));
    assert_eq!(log.segment_bytes.as_u64(), 16 << 20);
    assert_eq!(*log.election_timeout, Duration::from_millis(2500));

    assert_eq!(*config.broker.as_ref().unwrap().max_in_flight, 7);
    let parent = config.parent.as_ref().unwrap();
    assert_eq!(parent.uplink.0[1].to_string(), "https://site-2.acme:7443");
    assert_eq!(parent.scopes[1].0, "lab");
    let HistorianBackend::Postgres(postgres) = &config.historian.as_ref().unwrap().backend else {
        panic!("{:?}", config.historian);
    };
    assert_eq!(postgres.url.expose(), "postgres://user:hush@host/db");
    assert_eq!(*postgres.schema, "${raw}");
    assert!(!format!("{config:?}").contains("hush"), "{config:?}");
}

#[test]
fn the_smallest_file_configures_no_service() {
    let config = parse(LEAST).unwrap();
    let absent = (
        &config.tls,
        &config.log,
        &config.broker,
        &config.parent,
        &config.historian,
    );
    assert!(
        matches!(absent, (None, None, None, None, None)),
        "{config:?}"
    );
    assert_eq!(config.node.id.0, 1);
    assert!(config.warnings().is_empty());
    let error = config.log_nodes("broker").unwrap_err().to_string();
    let expected =
        "hub.yaml: broker needs the section \"log\", with \"nodes\" if the log runs elsewhere";
    assert_eq!(error, expected);
}

#[test]
fn an_empty_section_is_one_with_defaults() {
    let config = parse(&format!("{LEAST}log:\nbroker:\n")).unwrap();
    assert_eq!(
        config.broker.as_ref().unwrap().max_packet_bytes.as_u64(),
        8 << 20
    );
    let nodes = config.log_nodes("broker").unwrap();
    assert_eq!(nodes[&config.node.id].to_string(), "127.0.0.1:7400");
}

#[test]
fn what_insecure_allows_is_warned_about() {
    let open = "insecure: true\nlog: { listen: 0.0.0.0:7400 }\nparent: { uplink: http://up:1 }\n";
    let config = parse(&format!("{LEAST}{open}")).unwrap();
    let expected = [
        "insecure: log.listen: 0.0.0.0:7400 takes anonymous clients in clear text",
        "insecure: parent.uplink: connects to http://up:1 in clear text",
    ];
    assert_eq!(config.warnings(), expected);
    assert_eq!(
        config.log_nodes("x").unwrap()[&config.node.id].to_string(),
        "127.0.0.1:7400"
    );
}

#[test]
fn a_variable_stays_in_its_value() {
    for (left, right) in [("\"", "\""), ("'", "'"), ("", "")] {
        let text = format!("{LEAST}historian:\n  sqlite: {left}${{EVIL}}{right}\n");
        let config = parse(&text).unwrap();
        assert!(config.broker.is_none());
        let HistorianBackend::Sqlite(path) = &config.historian.unwrap().backend else {
            panic!()
        };
        assert_eq!(path.to_str(), environment("EVIL").as_deref());
    }
}

#[test]
fn errors_show_no_variable() {
    let error = parse(&format!(
        "{LEAST}broker: {{ listen: \"${{PGPASSWORD}}\" }}\n"
    ))
    .unwrap_err();
    assert!(
        error.to_string().ends_with("found \"${PGPASSWORD}\""),
        "{error}"
    );
}

/// What follows [`LEAST`] begins at line 3.
fn assert_mistakes(table: &[(&str, &str)]) {
    for (rest, expected) in table {
        let error = parse(&format!("{LEAST}{rest}\n")).unwrap_err().to_string();
        assert_eq!(error, format!("hub.yaml:{expected}"), "{rest}");
    }
}

#[test]
fn mistakes_in_the_shape() {
    let table = [
        (
            "broker:\n  lisen: x",
            r#"4:3: unknown key "lisen" in broker; did you mean "listen"?"#,
        ),
        (
            "brokr: {}",
            r#"3:1: unknown key "brokr"; did you mean "broker"?"#,
        ),
        (
            "rules: { zebra: 1 }",
            r#"3:10: unknown key "zebra" in rules; known keys: lanes, scopes"#,
        ),
        (
            "rules: { lanes: [ { filter: a, lane: bulk }, { filter: a, lan: bulk } ] }",
            r#"3:59: unknown key "lan" in rules.lanes[1]; did you mean "lane"?"#,
        ),
        (
            "broker: {}\nbroker: {}",
            r#"4:1: the key "broker" is given twice"#,
        ),
        (
            "broker:\n  listen: 127.0.0.1:1\n  listen: 127.0.0.1:2",
            r#"5:3: the key "listen" is given twice in broker"#,
        ),
        (
            "tls:\n  ca: a\n  cert: b",
            r#"5:3: missing key "key" in tls"#,
        ),
        ("tls:", "3:4: tls: expected a mapping of keys to values"),
        (
            "broker: 7",
            "3:9: broker: expected a mapping of keys to values",
        ),
        (
            "broker:\n  listen: [1]",
            "4:11: broker.listen: expected a single value",
        ),
        (
            "broker:\n  listen:",
            "4:9: broker.listen: expected a value, found nothing",
        ),
        (
            "rules:\n  lanes: { filter: a }",
            "4:10: rules.lanes: expected a list",
        ),
        (
            "log:\n  nodes: { one: a:1 }",
            "4:12: log.nodes: expected whole numbers as keys",
        ),
        ("log: {", "3:6: log: unclosed bracket '{'"),
        (
            "log:\n\tlisten: 1",
            "4:2: tabs disallowed within this context (block indentation)",
        ),
        (
            "---\na: 1",
            "4:1: expected one YAML document, found another",
        ),
    ];
    assert_mistakes(&table);
}

#[test]
fn mistakes_in_the_values() {
    let table = [
        (
            "broker:\n  listen: localhost",
            r#"4:11: broker.listen: expected an IP address and port such as 127.0.0.1:7400, found "localhost""#,
        ),
        (
            "broker:\n  max_in_flight: many",
            r#"4:18: broker.max_in_flight: expected a whole number, found "many""#,
        ),
        (
            "node: { id: 0 }",
            r#"3:13: node.id: expected a node id: a whole number from 1, found "0""#,
        ),
        (
            "insecure: yes",
            r#"3:11: insecure: expected true or false, found "yes""#,
        ),
        (
            "log:\n  segment_bytes: big",
            r#"4:18: log.segment_bytes: expected a size such as 64MiB, found "big""#,
        ),
        (
            "log:\n  heartbeat: 5",
            r#"4:14: log.heartbeat: expected a duration such as 250ms, found "5""#,
        ),
        (
            "log:\n  nodes: { 1: node }",
            r#"4:15: log.nodes.1: expected a host and port such as node-1.acme:7400, found "node""#,
        ),
        (
            "rules:\n  lanes:\n    - { filter: a/#/b, lane: bulk }",
            r#"5:17: rules.lanes[0].filter: expected an MQTT topic filter such as acme/+/_alarm/#, found "a/#/b""#,
        ),
        (
            "rules: { lanes: [ { filter: a, lane: fast } ] }",
            r#"3:38: rules.lanes[0].lane: expected normal, urgent or bulk, found "fast""#,
        ),
        (
            "parent:\n  uplink: [ http://127.0.0.1:1, ftp://x ]",
            r#"4:33: parent.uplink[1]: expected a URL such as https://site.acme:7443, found "ftp://x""#,
        ),
        (
            "parent:\n  uplink: ftp://x",
            r#"4:11: parent.uplink: expected a URL such as https://site.acme:7443, found "ftp://x""#,
        ),
        (
            "parent: { uplink: [ ] }",
            "3:19: parent.uplink: expected a URL such as https://site.acme:7443, found an empty list",
        ),
        (
            "telemetry:\n  log: 'info,='",
            r#"4:8: telemetry.log: expected a log filter such as info or info,raft_log=debug, found "info,=""#,
        ),
        (
            "historian:\n  postgres:\n    url: \"postgres://u:${MISSING}@h/db\"",
            r#"5:10: historian.postgres.url: the environment variable "MISSING" is not set"#,
        ),
    ];
    assert_mistakes(&table);
}

#[test]
fn mistakes_between_the_values() {
    let table = [
        (
            "log:\n  nodes: { 1: a:1, 2: b:1 }",
            "4:10: log.nodes: a hub has 1, 3 or 5 nodes, found 2",
        ),
        (
            "log:\n  nodes: { 2: a:1 }",
            "4:10: log.nodes: this node, 1, is not among them",
        ),
        (
            "log:\n  nodes: { 1: a:1, 2: b:1, 3: a:1 }",
            "4:31: log.nodes: node 3 has the address of another node",
        ),
        (
            "log:\n  nodes: { 0: a:1 }",
            "4:15: log.nodes: node ids begin at 1",
        ),
        (
            "log:\n  heartbeat: 2s",
            "4:14: log.election_timeout: must be at least twice log.heartbeat, which is 2s",
        ),
        (
            "log:\n  heartbeat: 0s",
            "4:14: log.heartbeat: must be more than 0",
        ),
        (
            "log:\n  nodes: { 1: a:1 }",
            "4:15: log.nodes: connects to a:1 in clear text; add the section \"tls\" or set insecure: true",
        ),
        (
            "parent:\n  uplink: http://127.0.0.1:1\n  scopes: [up, local]",
            r#"5:16: parent.scopes: records of the scope "local" never leave their hub"#,
        ),
        (
            "parent:\n  uplink: [ http://localhost:1, http://site:1 ]",
            "4:33: parent.uplink: connects to http://site:1 in clear text; use https with the section \"tls\" or set insecure: true",
        ),
        (
            "parent: { uplink: https://site:1 }",
            r#"3:19: parent.uplink: https needs the section "tls""#,
        ),
        (
            "telemetry: { otlp: https://c:4317 }",
            r#"3:20: telemetry.otlp: https needs the section "tls""#,
        ),
        (
            "historian: {}",
            r#"3:12: historian: expected "sqlite" or "postgres""#,
        ),
        (
            "historian:\n  sqlite: a\n  postgres: { url: b }",
            r#"4:3: historian: "sqlite" and "postgres" exclude each other"#,
        ),
    ];
    assert_mistakes(&table);
}

#[test]
fn mistakes_about_room() {
    let table = [
        (
            "log:\n  retention:\n    max_age: 10min",
            "5:14: log.retention.max_age: must not be less than min_age, which is 1h",
        ),
        (
            "log:\n  segment_bytes: 1MiB\n  disk: { budget: 5MiB }",
            "5:19: log.disk.budget: must be at least 6291456 bytes: the reserve and four of \
             log.segment_bytes",
        ),
        (
            "log:\n  segment_bytes: 1MiB\n  disk: { budget: 5MiB, reserve: 2MiB }",
            "5:19: log.disk.budget: must be at least 6291456 bytes: the reserve and four of \
             log.segment_bytes",
        ),
        (
            "log:\n  segment_bytes: 1MiB\n  disk: { reserve: 1MiB }",
            "5:20: log.disk.reserve: must be at least 2097152 bytes: two of log.segment_bytes",
        ),
    ];
    assert_mistakes(&table);
}

#[test]
fn what_is_open_beyond_this_machine() {
    for (rest, what, remedy) in [
        (
            "log:\n  listen: 0.0.0.0:1",
            "log.listen: 0.0.0.0:1",
            "add the section \"tls\"",
        ),
        (
            "log:\n  uplink: '[::]:1'",
            "log.uplink: [::]:1",
            "add the section \"tls\"",
        ),
        (
            "broker:\n  listen: 10.0.0.1:1",
            "broker.listen: 10.0.0.1:1",
            "listen on 127.0.0.1",
        ),
    ] {
        let why = "takes anonymous clients in clear text";
        let expected = format!("4:11: {what} {why}; {remedy} or set insecure: true");
        assert_mistakes(&[(rest, &expected)]);
    }
}

#[test]
fn mistakes_of_the_whole_file() {
    let table = [
        ("", "hub.yaml:1:1: the file is empty or ends too early"),
        ("data_dir: x\n", r#"hub.yaml:1:1: missing key "hub""#),
        (
            "hub: {}\ndata_dir: x\n",
            r#"hub.yaml:1:6: missing key "path" in hub"#,
        ),
        (
            "- 1\n",
            "hub.yaml:1:1: expected a mapping of keys to values",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(parse(text).unwrap_err().to_string(), expected, "{text}");
    }
    let error = load("/no/such/hub.yaml").unwrap_err().to_string();
    assert!(
        error.starts_with("/no/such/hub.yaml: can't be read: No such file"),
        "{error}"
    );
    let error = parse("hub: { path: a._b }\ndata_dir: x\n")
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("hub.yaml:1:14: hub.path: expected a hub path: levels"),
        "{error}"
    );
    assert!(
        error.ends_with("such as acme.cologne.press-shop, found \"a._b\""),
        "{error}"
    );
}
