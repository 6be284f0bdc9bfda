//! The manifests in `k3s/`: rendered by the real `kubectl kustomize`, then looked at as objects.
//!
//! No cluster runs here. What can be known without one is checked: the schemas of Kubernetes, how
//! the objects refer to each other, what they may do, and whether the services take their files.

mod objects;
mod pods;
mod network;
mod files;
mod breakages;
mod run;

use std::process::Command;

use objects::{overlay, root, with_components};
use serde_json::{Value, json};

const OVERLAYS: [&str; 3] = ["edge", "site", "enterprise"];
/// The oldest that the manifests are for, one between, and the newest with a published schema.
const KUBERNETES: [&str; 3] = ["1.31", "1.34", "1.37"];

/// What the schemas find wrong, if anything.
fn validate(text: &str) -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let output = Command::new(root().join("target/python/bin/python"))
        .arg(root().join("chaos-tests/clients/validate_manifests.py"))
        .arg(file.path())
        .args(KUBERNETES)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let valid = output.status.success();
    valid.then_some(()).ok_or_else(|| format!("{told}{errors}"))
}

#[test]
fn every_overlay_is_valid_for_three_versions_of_kubernetes() {
    for name in OVERLAYS {
        validate(&overlay(name).text).unwrap();
    }
}

#[test]
fn monitoring_and_certificates_are_valid_for_their_operators() {
    validate(&with_components("site").text).unwrap();
}

#[test]
fn the_schemas_refuse_what_they_do_not_know() {
    let head = |kind: &str, version: &str| {
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{ name: x }}\nspec:\n")
    };
    let table = [
        (
            head("Service", "v1") + "  ports: [{ port: 1, targetport: 2 }]",
            "targetport",
        ),
        (head("Service", "v1") + "  ports: [{ port: one }]", "'one'"),
        (
            head("Deployment", "apps/v1beta1") + "  replicas: 1",
            "find schema",
        ),
        (
            head("ServiceMonitor", "monitoring.coreos.com/v1")
                + "  selector: {}\n  endpoints: [{ port: x, intervall: 1s }]",
            "intervall",
        ),
        (
            head("Certificate", "cert-manager.io/v1")
                + "  secretName: x\n  issuerRef: { name: x }\n  dnsName: [x]",
            "dnsName",
        ),
    ];
    let texts: Vec<&str> = table.iter().map(|(text, _)| text.as_str()).collect();
    let told = validate(&texts.join("\n---\n")).unwrap_err();
    for (_, expected) in &table {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

#[test]
fn pods_are_held_to_little_and_refer_to_what_is_there() {
    for name in OVERLAYS {
        let mistakes = pods::mistakes(&with_components(name));
        assert!(mistakes.is_empty(), "{name}: {mistakes:#?}");
    }
}

#[test]
fn the_network_allows_only_what_is_needed() {
    for name in OVERLAYS {
        let mistakes = network::mistakes(&overlay(name));
        assert!(mistakes.is_empty(), "{name}: {mistakes:#?}");
        assert_eq!(
            network::outward(&overlay(name)),
            network::expected(name),
            "{name}"
        );
    }
}

#[test]
fn ports_and_variables_are_those_of_the_files() {
    for name in OVERLAYS {
        let mistakes = files::mistakes(&overlay(name));
        assert!(mistakes.is_empty(), "{name}: {mistakes:#?}");
    }
}

#[test]
fn the_services_take_their_files() {
    for name in OVERLAYS {
        files::assert_accepted(&overlay(name));
    }
}

#[test]
fn the_certificates_have_the_names_of_the_nodes() {
    for name in OVERLAYS {
        files::assert_certified(&with_components(name));
    }
}

#[test]
fn the_guide_names_every_secret_and_overlay() {
    let guide = std::fs::read_to_string(root().join("docs/k3s.md")).unwrap();
    let secrets = pods::SECRETS.iter().map(|(name, _)| *name);
    for word in secrets.chain(OVERLAYS) {
        assert!(guide.contains(word), "docs/k3s.md does not mention {word}");
    }
}

/// The site's pods start with what they are given, find each other by name and certificate, and an
/// update of the log loses nothing.
#[test]
fn the_pods_of_a_site_run_and_survive_an_update() {
    let told = run::run(&overlay("site"), &["log-1.log", "log-2.log", "log-3.log"]);
    assert_eq!(told["restarted"], json!(["log-3", "log-2", "log-1"]));
    assert_stored_once(&told);
}

#[test]
fn the_pod_of_an_edge_runs() {
    let told = run::run(&overlay("edge"), &["localhost"]);
    assert_eq!(told["pods"], json!(["node-1"]));
    assert_stored_once(&told);
}

fn assert_stored_once(told: &Value) {
    let acknowledged = told["acknowledged"].as_u64().unwrap();
    assert!(acknowledged > 0);
    // The client sends one after the other; the last may have been stored and not acknowledged.
    let mut stored: Vec<u64> = serde_json::from_value(told["stored"].clone()).unwrap();
    stored.truncate(usize::try_from(acknowledged).unwrap());
    assert!(
        stored.iter().copied().eq(0..acknowledged),
        "{acknowledged}: {stored:?}"
    );
}

/// One list of alerts, for both ways to run Prometheus.
#[test]
fn the_alerts_are_those_of_the_compose_stack() {
    let objects = with_components("site");
    let rule = objects.named("PrometheusRule", "updraft").unwrap();
    let text = std::fs::read_to_string(root().join("compose/prometheus/rules.yml")).unwrap();
    let rules: Value = serde_saphyr::from_str(&text).unwrap();
    let told = "k3s/components/monitoring/rules.yaml says how to take a change over";
    assert_eq!(rule["spec"]["groups"], rules["groups"], "{told}");
    // They ask for the job by its name, which is this label of the services.
    assert!(text.contains(r#"up{job=~"updraft.*"}"#));
    let monitor = objects.named("ServiceMonitor", "updraft").unwrap();
    let label = monitor["spec"]["jobLabel"].as_str().unwrap();
    assert!(
        objects
            .of_kind("Service")
            .all(|service| service["metadata"]["labels"][label] == "updraft")
    );
}
