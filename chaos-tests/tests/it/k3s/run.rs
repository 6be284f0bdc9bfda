//! The pods of an overlay, run as processes: with their files, variables, rights and names, but
//! without a cluster.

use std::process::Command;

use serde_json::{Value, json};

use super::files::{HASH, certify};
use super::objects::{Objects, root};
use crate::rig::NODE;

/// What is told of it: see `clients/run_pods.py`.
pub(crate) fn run(objects: &Objects, hosts: &[&str]) -> Value {
    // Not where most machines keep their temporary files: these may be mounted without programs.
    let folder = tempfile::tempdir_in(root().join("target")).unwrap();
    let path = |name: &str| folder.path().join(name);
    certify(folder.path(), hosts);
    let read = |name: &str| std::fs::read_to_string(path(name)).unwrap();
    let secrets = json!({
        "updraft-tls": {
            "ca.crt": read("ca.crt"),
            "tls.crt": read("tls.crt"),
            "tls.key": read("tls.key"),
        },
        "updraft-historian": { "password": "secret" },
        "updraft-console": { "admin": HASH },
    });
    std::fs::write(path("secrets.json"), secrets.to_string()).unwrap();
    std::fs::write(path("manifests.yaml"), &objects.text).unwrap();
    let pods = path("pods");
    std::fs::create_dir(&pods).unwrap();
    let namespaces = [
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ];
    let output = Command::new("unshare")
        .args(namespaces)
        .arg(root().join("target/python/bin/python"))
        .arg(root().join("chaos-tests/clients/run_pods.py"))
        .args([
            path("manifests.yaml"),
            NODE.into(),
            path("secrets.json"),
            pods,
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{errors}");
    serde_json::from_str(&told).unwrap_or_else(|error| panic!("{error}: {told}{errors}"))
}
