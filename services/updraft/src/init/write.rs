//! The words of the file: what was chosen, and in comments what else there is.

use super::args::{Collector, Historian, Layer};
use super::plan::Plan;

/// The whole file.
pub(super) fn hub_yaml(plan: &Plan, with_schema: bool) -> String {
    let sections = [
        head(plan, with_schema),
        hub(plan),
        security(plan),
        rules(),
        log(plan),
        broker(plan),
        parent(plan),
        historian(plan),
        collectors(plan),
        console(plan),
        telemetry(plan),
    ];
    sections.join("\n")
}

fn head(plan: &Plan, with_schema: bool) -> String {
    let schema = match with_schema {
        true => "# yaml-language-server: $schema=./hub.schema.json\n",
        false => "",
    };
    let layer = match plan.layer {
        Layer::Edge => "an edge hub, beside the machines",
        Layer::Site => "the hub of a site",
        Layer::Enterprise => "the hub at the top",
    };
    format!(
        "{schema}\
# {path}, node {id}: {layer}.
#
# `updraft check` tells whether this file is right, `updraft run` starts what stands in it: a
# section that is absent or commented out is not run. Any value may hold environment variables,
# ${{NAME}}: that is where secrets belong.
",
        path = plan.path,
        id = plan.node_id,
    )
}

fn hub(plan: &Plan) -> String {
    format!(
        "\
hub:
  # enterprise.site.area…, beginning with the path of the hub above. It names the hub for ever.
  path: {path}

node:
  id: {id}

# All that this node keeps; relative to the directory that updraft is started in.
data_dir: ./data
",
        path = plan.path,
        id = plan.node_id,
    )
}

fn security(plan: &Plan) -> String {
    let insecure = match plan.insecure {
        true => {
            "\
# Clear text and clients without a name are accepted from other machines.
insecure: true
"
        }
        false => {
            "\
# Off this machine, clear text and clients without a name are refused. This accepts them:
# insecure: true
"
        }
    };
    let tls = match &plan.tls {
        Some(directory) => {
            let file = |name: &str| quoted(&directory.join(name).display().to_string());
            format!(
                "\
# Mutual TLS between the nodes, with the hub above and with hubs below: all show a certificate of
# one authority.
tls:
  ca: {}
  cert: {}
  key: {}
",
                file("ca.pem"),
                file("node.pem"),
                file("node.key")
            )
        }
        None => "\
# Mutual TLS between the nodes, with the hub above and with hubs below:
# tls: { ca: ./tls/ca.pem, cert: ./tls/node.pem, key: ./tls/node.key }
"
        .into(),
    };
    format!("{insecure}\n{tls}")
}

fn rules() -> String {
    "\
# Which topics go first and which stay here; the first filter that matches wins.
# rules:
#   lanes:  [ { filter: \"umh/v1/+/+/_alarm/#\", lane: urgent } ]   # normal, urgent or bulk
#   scopes: [ { filter: \"umh/v1/+/+/_local/#\", scope: local } ]   # local never leaves the hub
"
    .into()
}

fn log(plan: &Plan) -> String {
    let durable = match plan.nodes.len() {
        0 => "One node: what is acknowledged is on this one disk.".to_owned(),
        nodes => format!(
            "{nodes} nodes: what is acknowledged is on {} disks, and any one node may fail.",
            nodes / 2 + 1
        ),
    };
    let mut text = format!(
        "# {durable}\nlog:\n  listen: {}\n",
        quoted(&plan.log_listen.to_string())
    );
    if plan.nodes.is_empty() {
        text += "  # nodes: { 1: \"10.0.0.1:7400\", 2: \"10.0.0.2:7400\", 3: \"10.0.0.3:7400\" }\n";
    } else {
        text += "  nodes:\n";
        for (id, address) in (1..).zip(&plan.nodes) {
            text += &format!("    {id}: {}\n", quoted(address.as_str()));
        }
    }
    match &plan.uplink_listen {
        Some(uplink) => {
            text += &format!(
                "  # Where hubs below connect.\n  uplink: {}\n",
                quoted(&uplink.to_string())
            );
        }
        None => text += "  # Where hubs below connect:\n  # uplink: 0.0.0.0:7443\n",
    }
    text + "  # segment_bytes: 64MiB\n  # heartbeat: 250ms\n  # election_timeout: 1s\n"
}

fn broker(plan: &Plan) -> String {
    format!(
        "\
# MQTT 3.1.1 and 5. A PUBACK says that the message is durable.
broker:
  listen: {}
  # max_packet_bytes: 8MiB
",
        quoted(&plan.mqtt_listen.to_string())
    )
}

fn parent(plan: &Plan) -> String {
    let urls: Vec<String> = plan
        .parent
        .iter()
        .map(|url| quoted(&url.to_string()))
        .collect();
    match &urls[..] {
        [] => "\
# The hub above: this one opens the connection, and goes on by itself while that one is away.
# parent:
#   uplink: https://site.acme:7443
"
        .into(),
        urls => {
            let uplink = match urls {
                [url] => url.clone(),
                urls => format!("[ {} ]", urls.join(", ")),
            };
            format!(
                "\
# The hub above: this one opens the connection, and goes on by itself while that one is away.
parent:
  uplink: {uplink}
  # scopes: [ up ]
"
            )
        }
    }
}

fn historian(plan: &Plan) -> String {
    let sqlite = "sqlite: ./data/historian.db";
    let url = quoted(&plan.postgres_url);
    let about = "# The database that the values go into.\n";
    match plan.historian {
        Historian::Sqlite => format!(
            "{about}historian:\n  {sqlite}\n  # or, with or without TimescaleDB:\n  \
             # postgres: {{ url: {url} }}\n"
        ),
        Historian::Postgres => format!(
            "{about}historian:\n  postgres:\n    url: {url}\n    # schema: updraft\n  \
             # or, with nothing to install:\n  # {sqlite}\n"
        ),
        Historian::None => {
            format!("{about}# historian:\n#   {sqlite}\n#   postgres: {{ url: {url} }}\n")
        }
    }
}

fn collectors(plan: &Plan) -> String {
    let base = format!("umh/v1/{}/_raw", plan.path.as_str().replace('.', "/"));
    let about = "\
# The machines that this node asks for values. `updraft collect test` connects, reads every tag
# once and prints the table. A tag's topic is <topic>/<name>.
";
    if plan.collectors.is_empty() {
        return format!(
            "{about}\
# collectors:
#   - name: press-1
#     opcua: {{ endpoint: \"opc.tcp://10.0.0.5:4840\" }}
#     topic: {base}/press-1
#     tags: [ {{ name: temperature, address: \"ns=2;s=Temperature\" }} ]
#   - name: meter-1
#     modbus: {{ address: \"10.0.0.6:502\", unit: 1, every: 1s }}
#     topic: {base}/meter-1
#     tags: [ {{ name: power, address: holding.100.FLOAT32 }} ]
"
        );
    }
    let mut text = format!("{about}collectors:\n");
    let (mut opcua, mut modbus) = (0, 0);
    for machine in &plan.collectors {
        text += &match machine {
            Collector::Opcua(endpoint) => {
                opcua += 1;
                opcua_collector(&format!("opcua-{opcua}"), &quoted(endpoint.as_str()), &base)
            }
            Collector::Modbus(address) => {
                modbus += 1;
                modbus_collector(
                    &format!("modbus-{modbus}"),
                    &quoted(address.as_str()),
                    &base,
                )
            }
        };
    }
    text
}

/// Its one tag is one that every OPC UA server has.
fn opcua_collector(name: &str, endpoint: &str, base: &str) -> String {
    format!(
        "  - name: {name}
    opcua:
      endpoint: {endpoint}
      # security: none        # on this machine; elsewhere sign-and-encrypt is the default
      # user: updraft
      # password: ${{OPCUA_PASSWORD}}
    topic: {base}/{name}
    tags:
      - {{ name: server_time, address: \"ns=0;i=2258\" }}
      # - {{ name: temperature, address: \"ns=2;s=Temperature\" }}
"
    )
}

fn modbus_collector(name: &str, address: &str, base: &str) -> String {
    format!(
        "  - name: {name}
    modbus:
      address: {address}
      # unit: 1
      # every: 1s
    topic: {base}/{name}
    tags:
      - {{ name: register_0, address: holding.0.UINT16 }}
      # - {{ name: power, address: holding.100.FLOAT32 }}
"
    )
}

fn console(plan: &Plan) -> String {
    let about = "# The web console. `updraft passwd` asks for a password and prints its hash.\n";
    let user =
        "{ name: anna, role: operator, password: \"$argon2id$…\" }   # viewer, operator, admin";
    match plan.console_listen {
        Some(listen) => format!(
            "{about}console:\n  listen: {}\n  # Without users everybody on this machine may look, \
             and nobody may change anything.\n  # users:\n  #   - {user}\n",
            quoted(&listen.to_string())
        ),
        None => {
            format!("{about}# console:\n#   listen: 127.0.0.1:8080\n#   users:\n#     - {user}\n")
        }
    }
}

fn telemetry(plan: &Plan) -> String {
    format!(
        "\
# /metrics for Prometheus, /healthz and /readyz.
telemetry:
  listen: {}
  # log: info                      # or info,raft_log=debug
  # Traces, metrics and logs to an OpenTelemetry collector (gRPC):
  # otlp: http://127.0.0.1:4317
",
        quoted(&plan.telemetry_listen.to_string())
    )
}

/// As a YAML text: a JSON string is one. Plain where it can't be misread.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "./_-:".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '.');
    match starts && text.chars().all(plain) && !text.ends_with(':') {
        true => text.to_owned(),
        false => serde_json::Value::from(text).to_string(),
    }
}
