//! The schema against the types: both take the same files, and both refuse the same mistakes.

use super::*;
use crate::config::from_str_with;

const LEAST: &str = "hub: { path: acme }\ndata_dir: data\n";

fn parses(text: &str) -> Result<HubConfig, String> {
    from_str_with("hub.yaml", text, |_| Some("7".into())).map_err(|error| error.to_string())
}

fn validates(text: &str) -> Result<(), String> {
    // As an editor reads it: `yes` is a text.
    let options = serde_saphyr::options! { strict_booleans: true };
    let value: Value =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
    let validator = jsonschema::draft7::new(&schema()).unwrap();
    validator
        .validate(&value)
        .map_err(|error| format!("{}: {error}", error.instance_path()))
}

#[test]
fn what_both_accept() {
    let table = [
        "",
        "node: { id: 3 }\ninsecure: true",
        "node: { id: '${ID}' }\ninsecure: false",
        "tls: { ca: ca.pem, cert: a.pem, key: a.key }",
        "rules: { lanes: [ { filter: '#', lane: bulk }, { filter: a/+/b/#, lane: urgent } ] }",
        "rules: { scopes: [ { filter: $SYS/x, scope: lab } ] }",
        "log:\nbroker:\nconsole:",
        "log: { listen: '[::1]:7400', nodes: { 1: '127.0.0.1:${PORT}' }, uplink: }",
        "log: { segment_bytes: 4096, heartbeat: 1s 500ms, election_timeout: 5sec, linger: 0 }",
        "log: { segment_bytes: 1.5 GiB, linger: 2.5ms }",
        "log: { segment_bytes: 64k }",
        "log: { retention: { min_age: 0s, max_age: 7d, max_bytes: 20GiB, session_age: 1h } }",
        "log: { disk: { budget: 20GB, reserve: 1GB }, quota: { bytes_per_second: 10MiB } }",
        "broker: { listen: 127.0.0.1:1883, max_packet_bytes: '${MAX}MiB', max_in_flight: 1 }",
        "parent: { uplink: 'http://127.0.0.1:7443/', scopes: [ up ] }",
        "parent: { uplink: [ 'http://[::1]:7443', 'http://localhost' ] }",
        "historian: { sqlite: ./a.db }",
        "historian: { postgres: { url: 'postgres://u:${PW}@h/d', schema: other } }",
        "console: { listen: 127.0.0.1:8080, users: [] }",
        "collectors:\n- { name: m, topic: a, tags: [], modbus: { address: 'h:502', unit: 3 } }",
        "collectors:\n- name: p\n  topic: umh/v1/acme/_raw\n  opcua: { endpoint: opc.tcp://h }\n  \
         tags: [ { name: t, address: ns=2;s=T } ]",
        "telemetry: { listen: 127.0.0.1:9400, otlp: 'http://127.0.0.1:4317', log: 'info,x=debug' }",
    ];
    for rest in table {
        let text = format!("{LEAST}{rest}\n");
        assert_eq!(parses(&text).map(|_| ()), Ok(()), "{rest}");
        assert_eq!(validates(&text), Ok(()), "{rest}");
    }
}

#[test]
fn what_both_refuse() {
    let table = [
        "brokr: {}",
        "broker: { lisen: 127.0.0.1:1 }",
        "broker: 7",
        "broker: { listen: localhost }",
        "broker: { listen: 127.0.0.1 }",
        "broker: { listen: [ 1 ] }",
        "broker: { listen: true }",
        "broker: { max_in_flight: many }",
        "broker: { max_in_flight: -1 }",
        "broker: { max_in_flight: 1.5 }",
        "broker: { max_packet_bytes: 0 }",
        "node: { id: 0 }",
        "node: 1",
        "insecure: yes",
        "tls: { ca: a, cert: b }",
        "tls:",
        "rules: { lanes: { filter: a } }",
        "rules: { lanes: [ { filter: a/#/b, lane: bulk } ] }",
        "rules: { lanes: [ { filter: a+, lane: bulk } ] }",
        "rules: { lanes: [ { filter: a, lane: fast } ] }",
        "rules: { scopes: [ { filter: a, scope: 'a b' } ] }",
        "log: { segment_bytes: big }",
        "log: { heartbeat: 5 }",
        "log: { heartbeat: 5 bananas }",
        "log: { nodes: { one: 'a:1' } }",
        "log: { nodes: { 1: node } }",
        "log: { nodes: [ 'a:1' ] }",
        "parent: {}",
        "parent: { uplink: [] }",
        "parent: { uplink: ftp://x }",
        "parent: { uplink: http://a/path }",
        "historian: {}",
        "historian: { sqlite: a, postgres: { url: b } }",
        "historian: { mysql: a }",
        "historian: { postgres: { url: a, shema: b } }",
        "console: { users: [ { name: a, role: boss, password: x } ] }",
        "console: { users: [ { name: a, role: viewer } ] }",
        "collectors:\n- { name: m, topic: a, tags: [] }",
        "collectors:\n- { name: m, topic: a, tags: [], modbus: { address: h } }",
        "collectors:\n- { name: m/n, topic: a, tags: [], modbus: { address: 'h:1' } }",
        "collectors:\n- { name: m, topic: a, tags: [], opcua: { endpoint: 'http://h' } }",
        "collectors:\n- { name: m, topic: a, tags: [], modbus: { address: 'h:1' }, \
         opcua: { endpoint: opc.tcp://h } }",
        "collectors: { name: m }",
        "telemetry: { otlp: nowhere }",
    ];
    for rest in table {
        let text = format!("{LEAST}{rest}\n");
        assert!(parses(&text).is_err(), "the types accept {rest}");
        assert!(validates(&text).is_err(), "the schema accepts {rest}");
    }
    for whole in [
        "data_dir: x",
        "hub: {}\ndata_dir: x",
        "hub: { path: a._b }\ndata_dir: x",
        "- 1",
    ] {
        assert!(parses(whole).is_err(), "the types accept {whole}");
        assert!(validates(whole).is_err(), "the schema accepts {whole}");
    }
}

#[test]
fn what_a_person_sees_in_an_editor() {
    let schema = schema();
    let log = &schema["definitions"]["LogConfig"]["properties"];
    assert_eq!(log["listen"]["default"], "127.0.0.1:7400");
    assert_eq!(log["segment_bytes"]["default"], "64MiB");
    assert_eq!(log["heartbeat"]["default"], "250ms");
    assert!(log["uplink"].get("default").is_none(), "{log}");
    let described = log["linger"]["description"].as_str().unwrap();
    let expected = "closes a batch.\n\nExpected: a duration such as 250ms.";
    assert!(described.ends_with(expected), "{described}");
    let lane = &schema["definitions"]["LaneRule"]["properties"]["lane"]["anyOf"][0]["enum"];
    assert_eq!(*lane, json!(["normal", "urgent", "bulk"]));
    // No links into the source, and nothing that a default would give away.
    let text = schema_text();
    assert!(!text.contains("[`"), "{text}");
}
