//! What the services are started with: their files, the variables and ports of these, and the
//! names in the certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::network;
use super::objects::{Objects, containers, list, name, port, root};
use crate::rig::NODE;

/// Where pods see their files.
const FOLDER: &str = "/etc/updraft/";
const CERTIFICATES: &str = "/etc/updraft-tls";

/// A container and the file that it is started with.
struct Started<'a> {
    workload: &'a Value,
    container: &'a Value,
    /// What `--only` says; absent, everything.
    only: Option<&'a str>,
    file: &'a str,
    text: &'a str,
}

impl Started<'_> {
    fn yaml(&self) -> Value {
        serde_saphyr::from_str(self.text).unwrap()
    }

    fn runs(&self, service: &str) -> bool {
        self.only.is_none_or(|only| only == service)
    }

    /// The ids that its pods have.
    fn nodes(&self) -> std::ops::Range<u64> {
        let spec = &self.workload["spec"];
        let first = spec["ordinals"]["start"].as_u64().unwrap_or(1);
        first..first + spec["replicas"].as_u64().unwrap_or(1)
    }
}

fn started(objects: &Objects) -> Vec<Started<'_>> {
    let mut all = Vec::new();
    for workload in objects.workloads() {
        for container in containers(workload) {
            assert_eq!(container["command"], serde_json::json!(["updraft"]));
            let arguments: Vec<&str> = list(&container["args"])
                .iter()
                .map(|word| word.as_str().unwrap())
                .collect();
            let after = |option: &str| {
                let at = arguments.iter().position(|argument| *argument == option)?;
                arguments.get(at + 1).copied()
            };
            let file = after("--config")
                .and_then(|path| path.strip_prefix(FOLDER))
                .unwrap();
            let maps = objects
                .of_kind("ConfigMap")
                .filter(|map| name(map).starts_with("updraft-"));
            let text = maps.filter_map(|map| map["data"][file].as_str()).next();
            let text = text.unwrap_or_else(|| panic!("{}: no {file}", name(workload)));
            let only = after("--only");
            all.push(Started {
                workload,
                container,
                only,
                file,
                text,
            });
        }
    }
    all
}

pub(crate) fn mistakes(objects: &Objects) -> Vec<String> {
    let started = started(objects);
    let mut mistakes = Vec::new();
    for one in &started {
        let of_one = ports(one)
            .into_iter()
            .chain(variables(one))
            .chain(nodes(objects, one));
        mistakes.extend(of_one.map(|told| format!("{}: {told}", name(one.workload))));
    }
    mistakes.extend(shared(&started));
    let allowed = network::outward(objects);
    let needed: BTreeSet<String> = started.iter().flat_map(destinations).collect();
    for way in needed.symmetric_difference(&allowed) {
        mistakes.push(format!(
            "{way} is either in a file or in a policy, but not in both"
        ));
    }
    mistakes
}

/// Every port that a service opens for others has its name at the container, and no other has.
fn ports(started: &Started<'_>) -> Vec<String> {
    let yaml = started.yaml();
    let listeners = [
        ("log", "log", "/log/listen"),
        ("log", "uplink", "/log/uplink"),
        ("broker", "mqtt", "/broker/listen"),
        ("console", "web", "/console/listen"),
    ];
    let listeners = listeners
        .into_iter()
        .filter(|(service, ..)| started.runs(service));
    let listeners = listeners.map(|(_, port, pointer)| (port, pointer));
    let mut mistakes = Vec::new();
    for (named, pointer) in listeners.chain([("telemetry", "/telemetry/listen")]) {
        let address = yaml
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default();
        let listened = address
            .strip_prefix("0.0.0.0:")
            .map(|port| port.parse::<u64>().unwrap());
        let opened = port(started.workload, &named.into());
        if listened != opened {
            mistakes.push(format!(
                "port {named}: {} says {listened:?}, the pod {opened:?}",
                started.file
            ));
        }
    }
    mistakes
}

/// A variable that is not set stops the service; one that is not used is a secret too many.
fn variables(started: &Started<'_>) -> Vec<String> {
    let used: BTreeSet<&str> = started
        .text
        .split("${")
        .skip(1)
        .filter_map(|rest| rest.split_once('}'))
        .map(|(name, _)| name)
        .collect();
    let set = list(&started.container["env"]).iter();
    let set: BTreeSet<&str> = set
        .map(|variable| variable["name"].as_str().unwrap())
        .collect();
    let differ = used.symmetric_difference(&set);
    differ
        .map(|name| format!("variable {name} is set or used, but not both"))
        .collect()
}

/// The file knows all nodes of the log under the names that their pods have.
fn nodes(objects: &Objects, started: &Started<'_>) -> Vec<String> {
    let yaml = started.yaml();
    let known: BTreeMap<u64, String> = yaml["log"]["nodes"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(id, address)| (id.parse().unwrap(), address.as_str().unwrap().to_owned()))
        .collect();
    let mut mistakes = Vec::new();
    for id in started.nodes().filter(|id| !known.contains_key(id)) {
        mistakes.push(format!(
            "it would be node {id}, which log.nodes does not have"
        ));
    }
    let Some(log) = objects.named("StatefulSet", "log") else {
        return mistakes;
    };
    let service = log["spec"]["serviceName"].as_str().unwrap();
    let replicas = log["spec"]["replicas"].as_u64().unwrap();
    let pods = (1..=replicas).map(|id| (id, format!("log-{id}.{service}:7400")));
    let pods: BTreeMap<u64, String> = pods.collect();
    if pods != known {
        mistakes.push(format!("log.nodes is {known:?}, but the pods are {pods:?}"));
    }
    mistakes
}

/// What the files of one hub say twice they say alike.
fn shared(started: &[Started<'_>]) -> Vec<String> {
    let [first, rest @ ..] = started else {
        return vec!["nothing is started".to_owned()];
    };
    let wanted = first.yaml();
    let pointers = [
        "/hub",
        "/node",
        "/data_dir",
        "/tls",
        "/log/nodes",
        "/telemetry",
    ];
    let mut mistakes = Vec::new();
    for (other, pointer) in rest
        .iter()
        .flat_map(|other| pointers.map(|pointer| (other, pointer)))
    {
        if other.yaml().pointer(pointer) != wanted.pointer(pointer) {
            mistakes.push(format!(
                "{} and {} differ in {pointer}",
                first.file, other.file
            ));
        }
    }
    mistakes
}

/// Where the services of a container connect to outside the cluster, such as `forwarder:7443`.
fn destinations(started: &Started<'_>) -> Vec<String> {
    let yaml = started.yaml();
    let labels = &started.workload["spec"]["template"]["metadata"]["labels"];
    let component = labels["app.kubernetes.io/component"].as_str().unwrap();
    let mut addresses = Vec::new();
    if started.runs("forwarder") {
        addresses.push(&yaml["parent"]["uplink"]);
    }
    if started.runs("writer") || started.runs("console") {
        addresses.push(&yaml["historian"]["postgres"]["url"]);
    }
    if started.runs("collector") {
        for collector in list(&yaml["collectors"]) {
            addresses.push(&collector["opcua"]["endpoint"]);
            addresses.push(&collector["modbus"]["address"]);
        }
    }
    let port = |address: &str| {
        let (_, port) = address.rsplit_once(':').unwrap();
        port.split('/').next().unwrap().to_owned()
    };
    let addresses = addresses.into_iter().filter_map(Value::as_str);
    addresses
        .map(|address| format!("{component}:{}", port(address)))
        .collect()
}

fn certificates(command: &[&str]) {
    let script = root().join("k3s/certificates.sh");
    let output = Command::new(script).args(command).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A hub's certificate as the guide makes it, under the names that pods see.
pub(crate) fn certify(folder: &Path, hosts: &[&str]) {
    let path = folder.to_str().unwrap();
    certificates(&["authority", path]);
    certificates(&[&["hub", path, "tls"], hosts].concat());
}

fn updraft(folder: &Path, arguments: &[&str], node: u64) -> Output {
    Command::new(NODE)
        .current_dir(folder)
        .args(arguments)
        .env("NODE_ID", node.to_string())
        .env("DATABASE_PASSWORD", "secret")
        .env("CONSOLE_PASSWORD_HASH", HASH)
        .output()
        .unwrap()
}

/// In the form of `updraft passwd`; nobody signs in with it.
pub(crate) const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZSBzYWx0IGhlcmU$\
                    jsZiDKnQhIwWbhwNNtkZ9HkDpLCjmpTtVNxoXPFV5gE";

/// `updraft check` takes every file, as every node; `updraft run` takes the arguments.
pub(crate) fn assert_accepted(objects: &Objects) {
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path(), &["localhost"]);
    for started in started(objects) {
        let here = started
            .text
            .replace(CERTIFICATES, folder.path().to_str().unwrap());
        assert_ne!(here, started.text, "{} has no certificates", started.file);
        std::fs::write(folder.path().join(started.file), here).unwrap();
        for node in started.nodes() {
            let output = updraft(folder.path(), &["check", "-c", started.file], node);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.success(),
                "{} node {node}: {errors}",
                started.file
            );
            let told = String::from_utf8_lossy(&output.stdout);
            assert!(told.contains(&format!("node {node}\n")), "{told}");
        }
        if let Some(only) = started.only {
            // The names are checked before the file is missed.
            let arguments = ["run", "--only", only, "--config", "missing.yaml"];
            let output = updraft(folder.path(), &arguments, 1);
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(
                errors.contains("missing.yaml: can't be read"),
                "{only}: {errors}"
            );
        }
    }
}

/// Nodes call each other by the names in `log.nodes`: the certificate must have them.
pub(crate) fn assert_certified(objects: &Objects) {
    let certificate = objects.named("Certificate", "updraft").unwrap();
    let names = list(&certificate["spec"]["dnsNames"]).iter();
    let names: Vec<&str> = names.map(|name| name.as_str().unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    certify(folder.path(), &names);
    let path = |name: &str| folder.path().join(name);
    for started in started(objects) {
        for address in started.yaml()["log"]["nodes"].as_object().unwrap().values() {
            let (host, _) = address.as_str().unwrap().rsplit_once(':').unwrap();
            if host == "localhost" {
                continue;
            }
            for purpose in ["sslserver", "sslclient"] {
                let output = Command::new("openssl")
                    .args([
                        "verify",
                        "-purpose",
                        purpose,
                        "-verify_hostname",
                        host,
                        "-CAfile",
                    ])
                    .args([path("ca.crt"), path("tls.crt")])
                    .output()
                    .unwrap();
                let errors = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "{host} as {purpose}: {errors}");
            }
        }
    }
}
