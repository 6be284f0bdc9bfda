//! What `kubectl kustomize` renders, as objects.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[derive(Clone, Debug)]
pub(crate) struct Objects {
    pub(crate) text: String,
    all: Vec<Value>,
}

pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().unwrap()
}

pub(crate) fn overlay(name: &str) -> Objects {
    render(&root().join("k3s/overlays").join(name))
}

/// The overlay with the optional parts that it only mentions.
pub(crate) fn with_components(name: &str) -> Objects {
    // Kustomize takes relative paths only.
    let folder = tempfile::tempdir_in(root().join("target")).unwrap();
    let text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: updraft\n\
         resources: [../../k3s/overlays/{name}]\n\
         components: [../../k3s/components/monitoring, ../../k3s/components/cert-manager]\n"
    );
    std::fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    render(folder.path())
}

fn render(folder: &Path) -> Objects {
    let kubectl = root().join("target/python/bin/kubectl");
    let output = Command::new(&kubectl).arg("kustomize").arg(folder).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{}: {error}; .ci/setup installs it", kubectl.display());
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    // A deprecated field is told, but no error.
    assert_eq!(errors, "");
    let text = String::from_utf8(output.stdout).unwrap();
    let all = serde_saphyr::from_multiple(&text).unwrap();
    Objects { text, all }
}

impl Objects {
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.all.iter().filter(move |object| object["kind"] == kind)
    }

    pub(crate) fn named(&self, kind: &str, name: &str) -> Option<&Value> {
        self.all
            .iter()
            .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    /// Everything that starts pods.
    pub(crate) fn workloads(&self) -> impl Iterator<Item = &Value> {
        let kinds = [
            "StatefulSet",
            "Deployment",
            "DaemonSet",
            "Job",
            "CronJob",
            "Pod",
        ];
        self.all
            .iter()
            .filter(move |object| kinds.iter().any(|kind| object["kind"] == *kind))
    }

    /// The workloads whose pods have these labels.
    pub(crate) fn selected(&self, labels: &Value) -> Vec<&Value> {
        self.workloads()
            .filter(|workload| matches(labels, &workload["spec"]["template"]["metadata"]["labels"]))
            .collect()
    }

    /// A copy with one value replaced, or taken away by `null`; an empty pointer takes the object.
    pub(crate) fn with(&self, kind: &str, name: &str, pointer: &str, value: Value) -> Objects {
        let mut objects = self.clone();
        let at = objects
            .all
            .iter()
            .position(|object| object["kind"] == kind && object["metadata"]["name"] == name)
            .unwrap_or_else(|| panic!("no {kind} {name}"));
        let Some((parent, key)) = pointer.rsplit_once('/') else {
            objects.all.remove(at);
            return objects;
        };
        let (key, object) = (key.replace("~1", "/"), &mut objects.all[at]);
        let parent = object.pointer_mut(parent);
        let parent = parent.unwrap_or_else(|| panic!("{kind} {name} has no {pointer}"));
        match (parent, value) {
            (Value::Object(map), Value::Null) => {
                map.shift_remove(&key)
                    .unwrap_or_else(|| panic!("no {pointer}"));
            }
            (parent, value) => {
                let place = parent.pointer_mut(&format!("/{}", key.replace('/', "~1")));
                *place.unwrap_or_else(|| panic!("{kind} {name} has no {pointer}")) = value;
            }
        }
        objects
    }
}

/// Whether `labels` has all that `selector` asks for.
pub(crate) fn matches(selector: &Value, labels: &Value) -> bool {
    let wanted = selector.as_object();
    wanted.is_none_or(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
}

pub(crate) fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn pod(workload: &Value) -> &Value {
    &workload["spec"]["template"]["spec"]
}

pub(crate) fn containers(workload: &Value) -> &[Value] {
    list(&pod(workload)["containers"])
}

/// The number of a container's named port.
pub(crate) fn port(workload: &Value, port: &Value) -> Option<u64> {
    let mut ports = containers(workload)
        .iter()
        .flat_map(|container| list(&container["ports"]));
    let found = ports.find(|known| known["name"] == *port || known["containerPort"] == *port);
    found.and_then(|port| port["containerPort"].as_u64())
}
