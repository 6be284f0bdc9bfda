//! The checks themselves, each shown what it is for.

use super::objects::{Objects, with_components};
use super::{files, network, pods};

/// One thing broken in the manifests of a site.
struct Breakage {
    kind: &'static str,
    name: &'static str,
    /// Where in the object; empty for all of it.
    at: &'static str,
    /// What is put there, as JSON; `null` takes it away.
    value: &'static str,
    /// What the check tells of it.
    told: &'static str,
}

const fn broken(
    kind: &'static str,
    name: &'static str,
    at: &'static str,
    value: &'static str,
    told: &'static str,
) -> Breakage {
    Breakage {
        kind,
        name,
        at,
        value,
        told,
    }
}

const LABEL: &str = "/spec/selector/matchLabels/app.kubernetes.io~1component";

macro_rules! pod {
    ($at:literal, $value:literal, $told:literal) => {
        broken(
            "StatefulSet",
            "log",
            concat!("/spec/template/spec", $at),
            $value,
            $told,
        )
    };
}

#[rustfmt::skip]
const POD: &[Breakage] = &[
    pod!("/containers/0/resources/limits/memory", "null", "no memory limit"),
    pod!("/securityContext/runAsNonRoot", "false", "runAsNonRoot"),
    pod!("/securityContext/runAsUser", "0", "user 0"),
    pod!("/securityContext/seccompProfile/type", r#""Unconfined""#, "seccomp"),
    pod!("/containers/0/securityContext/readOnlyRootFilesystem", "null", "writable root"),
    pod!("/containers/0/securityContext/capabilities/drop", r#"["NET_RAW"]"#, "capabilities"),
    pod!("/containers/0/readinessProbe", "null", "readinessProbe"),
    pod!("/containers/0/livenessProbe/httpGet/path", r#""/readyz""#, "livenessProbe"),
    pod!("/containers/0/startupProbe/httpGet/port", r#""http""#, "port http"),
    pod!("/containers/0/image", r#""updraft/updraft:latest""#, "image"),
    pod!("/containers/0/image", r#""registry:5000/updraft""#, "image"),
    pod!("/containers/0/volumeMounts/0/name", r#""else""#, "volume else"),
    pod!("/volumes/0/configMap/name", r#""updraft-config""#, "ConfigMap updraft-config"),
    pod!("/volumes/1/secret/secretName", r#""tls""#, "Secret tls"),
    pod!("/automountServiceAccountToken", "null", "token"),
    pod!("/serviceAccountName", r#""default""#, "ServiceAccount default"),
    pod!("/affinity/podAntiAffinity", "null", "two on one machine"),
];

#[rustfmt::skip]
const PODS: &[Breakage] = &[
    broken("StatefulSet", "log", LABEL, r#""logs""#, "selector"),
    broken("StatefulSet", "log", "/spec/minReadySeconds", "null", "minReadySeconds"),
    broken("StatefulSet", "log", "/spec/ordinals/start", "0", "ordinals"),
    broken("StatefulSet", "log", "/spec/podManagementPolicy", "null", "Parallel"),
    broken("StatefulSet", "log", "/spec/serviceName", r#""logs""#, "Service logs"),
    broken("StatefulSet", "broker", "/spec/replicas", "1", "no pod may go"),
    broken("PodDisruptionBudget", "log", LABEL, r#""lag""#, "selects nothing"),
    broken("PodDisruptionBudget", "log", "/spec/maxUnavailable", "2", "quorum"),
    broken("Service", "uplink", "/spec/ports/0/targetPort", r#""up""#, "port up"),
    broken("Service", "log", "/spec/publishNotReadyAddresses", "null", "not ready"),
];

#[rustfmt::skip]
const NETWORK: &[Breakage] = &[
    broken("NetworkPolicy", "default-deny", "/spec/policyTypes", r#"["Ingress"]"#, "default-deny"),
    broken("NetworkPolicy", "default-deny", "", "null", "default-deny"),
    broken("NetworkPolicy", "to-parent", "/spec/egress/0/to/0/ipBlock/cidr", r#""0.0.0.0/0""#, "everywhere"),
    broken("NetworkPolicy", "to-parent", "/spec/egress/0/to", "null", "everywhere"),
    broken("NetworkPolicy", "to-parent", "/spec/egress/0/ports", "null", "all ports"),
    broken("NetworkPolicy", "log", "/spec/ingress/0/from", "null", "log:log"),
    broken("NetworkPolicy", "broker", "/spec/ingress/0/ports/0/port", r#""mqtts""#, "port mqtts"),
    broken("NetworkPolicy", "broker", "/spec/podSelector/matchLabels", r#"{"a": "b"}"#, "selects nothing"),
    broken("NetworkPolicy", "dns", "/spec/egress/0/to/0/podSelector/matchLabels", r#"{"a": "b"}"#, "lets out to"),
    broken("Service", "mqtt", "/spec/type", r#""ClusterIP""#, "broker:mqtt"),
];

#[rustfmt::skip]
const FILES: &[Breakage] = &[
    broken("StatefulSet", "broker", "/spec/template/spec/containers/0/ports/0/containerPort", "1884", "mqtt"),
    broken("StatefulSet", "writer", "/spec/template/spec/containers/0/env/1/name", r#""PASSWORD""#, "DATABASE_PASSWORD"),
    broken("StatefulSet", "log", "/spec/replicas", "5", "log.nodes"),
    broken("StatefulSet", "broker", "/spec/replicas", "4", "node 4"),
    broken("NetworkPolicy", "to-parent", "/spec/egress/0/ports/0/port", "8443", "forwarder:7443"),
    broken("NetworkPolicy", "to-machines", "/spec/egress/0/ports/0/port", "4841", "collector:4840"),
];

fn assert_told(check: fn(&Objects) -> Vec<String>, breakages: &[Breakage]) {
    let site = with_components("site");
    assert_eq!(check(&site), [""; 0]);
    for Breakage {
        kind,
        name,
        at,
        value,
        told,
    } in breakages
    {
        let value = serde_json::from_str(value).unwrap();
        let mistakes = check(&site.with(kind, name, at, value));
        assert!(
            mistakes.iter().any(|mistake| mistake.contains(told)),
            "{kind} {name} {at}: expected {told:?} among {mistakes:?}"
        );
    }
}

#[test]
fn the_check_of_the_pods_sees_what_it_is_for() {
    assert_told(pods::mistakes, PODS);
    assert_told(pods::mistakes, POD);
}

#[test]
fn the_check_of_the_network_sees_what_it_is_for() {
    assert_told(network::mistakes, NETWORK);
}

#[test]
fn the_check_of_the_files_sees_what_it_is_for() {
    assert_told(files::mistakes, FILES);
}
