//! Who may talk to whom.

use std::collections::BTreeSet;

use serde_json::Value;

use super::objects::{Objects, list, name, port};

/// A component and a port, such as `forwarder:7443`.
type Ways = BTreeSet<String>;

/// Where each hub connects to outside its cluster.
pub(crate) fn expected(overlay: &str) -> Ways {
    let ways: &[&str] = match overlay {
        // The parent and a machine.
        "edge" => &["node:7443", "node:502"],
        // The parent, the database, and a machine.
        "site" => &[
            "forwarder:7443",
            "writer:5432",
            "console:5432",
            "collector:4840",
        ],
        "enterprise" => &["writer:5432", "console:5432"],
        other => panic!("no overlay {other}"),
    };
    ways.iter().map(|way| (*way).to_owned()).collect()
}

pub(crate) fn mistakes(objects: &Objects) -> Vec<String> {
    let mut mistakes = Vec::new();
    let deny = objects
        .named("NetworkPolicy", "default-deny")
        .map(|policy| &policy["spec"]);
    let denies = deny.is_some_and(|spec| {
        spec["podSelector"]
            .as_object()
            .is_some_and(serde_json::Map::is_empty)
            && spec["policyTypes"] == serde_json::json!(["Ingress", "Egress"])
            && spec["ingress"].is_null()
            && spec["egress"].is_null()
    });
    if !denies {
        mistakes.push("there is no default-deny for both directions".to_owned());
    }
    for policy in policies(objects) {
        let of_policy = applies(objects, policy)
            .into_iter()
            .chain(bounds(policy))
            .chain(named_ports(objects, policy))
            .chain(inner_ways(policy));
        mistakes.extend(of_policy.map(|mistake| format!("policy {}: {mistake}", name(policy))));
    }
    let (open, served) = (inward(objects), load_balanced(objects));
    for way in open.symmetric_difference(&served) {
        mistakes.push(format!(
            "{way} is either open and not served, or served and not open"
        ));
    }
    mistakes
}

fn policies(objects: &Objects) -> impl Iterator<Item = &Value> {
    let policies = objects.of_kind("NetworkPolicy");
    policies.filter(|policy| name(policy) != "default-deny")
}

/// A policy without its direction, or without pods, does nothing.
fn applies(objects: &Objects, policy: &Value) -> Vec<String> {
    let spec = &policy["spec"];
    let mut mistakes = Vec::new();
    let labels = &spec["podSelector"]["matchLabels"];
    if labels.is_null() || objects.selected(labels).is_empty() {
        mistakes.push("selects nothing, or everything".to_owned());
    }
    for (direction, rules) in [("Ingress", "ingress"), ("Egress", "egress")] {
        let declared = list(&spec["policyTypes"])
            .iter()
            .any(|kind| kind == direction);
        if declared == list(&spec[rules]).is_empty() {
            mistakes.push(format!("{direction} and its rules do not go together"));
        }
    }
    mistakes
}

/// Nothing goes out to everywhere, and no rule is for all ports.
fn bounds(policy: &Value) -> Vec<String> {
    let spec = &policy["spec"];
    let mut mistakes = Vec::new();
    for rule in list(&spec["egress"]) {
        let to = list(&rule["to"]);
        let wide = |peer: &Value| {
            let cidr = peer["ipBlock"]["cidr"].as_str();
            cidr.is_some_and(|cidr| cidr.ends_with("/0")) || peer == &serde_json::json!({})
        };
        if to.is_empty() || to.iter().any(wide) {
            mistakes.push("lets out to everywhere".to_owned());
        }
    }
    for rule in list(&spec["ingress"]).iter().chain(list(&spec["egress"])) {
        if list(&rule["ports"]).is_empty() {
            mistakes.push("is for all ports".to_owned());
        }
    }
    mistakes
}

/// A name of a port that no pod has allows nothing.
fn named_ports(objects: &Objects, policy: &Value) -> Vec<String> {
    let spec = &policy["spec"];
    let own = objects.selected(&spec["podSelector"]["matchLabels"]);
    let inward = list(&spec["ingress"])
        .iter()
        .map(|rule| (rule, own.clone()));
    let outward = list(&spec["egress"]).iter().map(|rule| {
        let peers = list(&rule["to"])
            .iter()
            .map(|peer| &peer["podSelector"]["matchLabels"]);
        let peers = peers.filter(|labels| labels.is_object());
        (
            rule,
            peers.flat_map(|labels| objects.selected(labels)).collect(),
        )
    });
    let mut mistakes = Vec::new();
    for (rule, pods) in inward.chain(outward) {
        for entry in list(&rule["ports"]) {
            let Some(named) = entry["port"].as_str() else {
                continue;
            };
            if !pods
                .iter()
                .any(|workload| port(workload, &entry["port"]).is_some())
            {
                mistakes.push(format!("no pod has the port {named}"));
            }
        }
    }
    mistakes
}

/// Within the cluster a hub talks to its own log and to the name service, and to nothing else.
fn inner_ways(policy: &Value) -> Vec<String> {
    let rules = list(&policy["spec"]["egress"]).iter();
    let peers = rules.flat_map(|rule| list(&rule["to"]));
    let strange = peers.filter(|peer| {
        let labels = &peer["podSelector"]["matchLabels"];
        let log =
            labels["app.kubernetes.io/component"] == "log" && peer["namespaceSelector"].is_null();
        peer["ipBlock"].is_null() && !log && labels["k8s-app"] != "kube-dns"
    });
    strange.map(|peer| format!("lets out to {peer}")).collect()
}

fn component(labels: &Value) -> &str {
    labels["app.kubernetes.io/component"]
        .as_str()
        .unwrap_or("all")
}

fn ways<'a>(policy: &'a Value, rules: impl Iterator<Item = &'a Value>) -> Vec<String> {
    let component = component(&policy["spec"]["podSelector"]["matchLabels"]);
    let ports = rules.flat_map(|rule| list(&rule["ports"]));
    let port = |entry: &Value| entry["port"].to_string().trim_matches('"').to_owned();
    ports
        .map(|entry| format!("{component}:{}", port(entry)))
        .collect()
}

/// What anybody may connect to.
fn inward(objects: &Objects) -> Ways {
    let open = policies(objects).flat_map(|policy| {
        let rules = list(&policy["spec"]["ingress"]).iter();
        ways(policy, rules.filter(|rule| list(&rule["from"]).is_empty()))
    });
    open.collect()
}

/// What is offered to the network around the cluster.
fn load_balanced(objects: &Objects) -> Ways {
    let services = objects.of_kind("Service");
    let outside = services.filter(|service| {
        ["LoadBalancer", "NodePort"]
            .iter()
            .any(|kind| service["spec"]["type"] == *kind)
    });
    let ways = outside.flat_map(|service| {
        let component = component(&service["spec"]["selector"]);
        let ports = list(&service["spec"]["ports"]).iter();
        ports.map(move |port| format!("{component}:{}", port["targetPort"].as_str().unwrap_or("?")))
    });
    ways.collect()
}

/// What a hub may connect to outside its cluster.
pub(crate) fn outward(objects: &Objects) -> Ways {
    let out = policies(objects).flat_map(|policy| {
        let rules = list(&policy["spec"]["egress"]).iter();
        let outside = |rule: &&Value| {
            list(&rule["to"])
                .iter()
                .any(|peer| peer["ipBlock"].is_object())
        };
        ways(policy, rules.filter(outside))
    });
    out.collect()
}
