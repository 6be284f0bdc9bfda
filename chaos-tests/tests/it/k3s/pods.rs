//! What pods may do, what they refer to, and how many of them may be away.

use serde_json::{Value, json};

use super::objects::{Objects, containers, list, matches, name, pod, port};

/// What the guide says that a person makes, with the keys that pods read.
pub(crate) const SECRETS: [(&str, &[&str]); 4] = [
    ("updraft-tls", &["ca.crt", "tls.crt", "tls.key"]),
    ("updraft-historian", &["password"]),
    ("updraft-console", &["admin"]),
    ("updraft-ca", &["tls.crt", "tls.key"]),
];

pub(crate) fn mistakes(objects: &Objects) -> Vec<String> {
    let mut mistakes = Vec::new();
    for workload in objects.workloads() {
        let of_workload = identity(objects, workload)
            .into_iter()
            .chain(rights(workload))
            .chain(volumes(objects, workload))
            .chain(containers(workload).iter().flat_map(|container| {
                let of_container = rights_of_container(container).into_iter();
                of_container
                    .chain(probes(workload, container))
                    .chain(variables(container))
            }));
        mistakes.extend(of_workload.map(|mistake| format!("{}: {mistake}", name(workload))));
    }
    if let Some(log) = objects.named("StatefulSet", "log") {
        mistakes.extend(quorum(objects, log));
    }
    mistakes.extend(budgets(objects));
    mistakes.extend(services(objects));
    mistakes
}

/// What must not hold, with what is told then.
fn told<const N: usize>(rules: [(bool, &str); N]) -> Vec<String> {
    let broken = rules.into_iter().filter(|(holds, _)| !holds);
    broken.map(|(_, mistake)| mistake.to_owned()).collect()
}

fn identity(objects: &Objects, workload: &Value) -> Vec<String> {
    let spec = &workload["spec"];
    let labels = &spec["template"]["metadata"]["labels"];
    let mut mistakes = told([(
        spec["selector"]["matchLabels"].is_object()
            && matches(&spec["selector"]["matchLabels"], labels),
        "its selector does not match its pods",
    )]);
    let account = pod(workload)["serviceAccountName"]
        .as_str()
        .unwrap_or("default");
    if objects.named("ServiceAccount", account).is_none() {
        mistakes.push(format!("ServiceAccount {account} is not there"));
    }
    if let Some(service) = spec["serviceName"].as_str() {
        let found = objects.named("Service", service);
        if !found.is_some_and(|found| matches(&found["spec"]["selector"], labels)) {
            mistakes.push(format!("Service {service} does not give its pods names"));
        }
    }
    mistakes
}

fn rights(workload: &Value) -> Vec<String> {
    let (pod, security) = (pod(workload), &pod(workload)["securityContext"]);
    told([
        (security["runAsNonRoot"] == true, "runAsNonRoot is not set"),
        (
            security["runAsUser"].as_u64().is_some_and(|id| id > 0),
            "runs as user 0 or as the image says",
        ),
        (
            security["seccompProfile"]["type"] == "RuntimeDefault",
            "seccomp is not RuntimeDefault",
        ),
        (pod["automountServiceAccountToken"] == false, "gets a token"),
        (
            pod["enableServiceLinks"] == false,
            "gets variables of all services",
        ),
        (
            pod["terminationGracePeriodSeconds"].as_u64() > Some(15),
            "has no time to drain",
        ),
        (!containers(workload).is_empty(), "has no containers"),
        (
            pod["hostNetwork"].is_null() && pod["hostPID"].is_null(),
            "is in the machine's namespaces",
        ),
    ])
}

fn rights_of_container(container: &Value) -> Vec<String> {
    let security = &container["securityContext"];
    let resources = &container["resources"];
    let image = container["image"].as_str().unwrap_or_default();
    // A registry may have a port: only what follows the last slash can be a tag.
    let tag = image
        .rsplit('/')
        .next()
        .and_then(|image| image.split_once(':'));
    told([
        (
            security["readOnlyRootFilesystem"] == true,
            "has a writable root file system",
        ),
        (
            security["allowPrivilegeEscalation"] == false,
            "may gain privileges",
        ),
        (
            security["capabilities"]["drop"] == json!(["ALL"]),
            "keeps capabilities",
        ),
        (
            security["capabilities"]["add"].is_null(),
            "adds capabilities",
        ),
        (
            resources["limits"]["memory"].is_string(),
            "has no memory limit",
        ),
        (resources["limits"]["cpu"].is_string(), "has no cpu limit"),
        (
            resources["requests"]["memory"].is_string(),
            "asks for no memory",
        ),
        (resources["requests"]["cpu"].is_string(), "asks for no cpu"),
        (
            tag.is_some_and(|(_, tag)| tag != "latest" && !tag.is_empty()),
            "its image is not pinned",
        ),
    ])
}

fn probes(workload: &Value, container: &Value) -> Vec<String> {
    let probes = [
        ("startupProbe", "/healthz"),
        ("livenessProbe", "/healthz"),
        ("readinessProbe", "/readyz"),
    ];
    let mut mistakes = Vec::new();
    for (probe, path) in probes {
        let get = &container[probe]["httpGet"];
        if get["path"] != path {
            mistakes.push(format!("its {probe} does not ask for {path}"));
        } else if port(workload, &get["port"]).is_none() {
            mistakes.push(format!("its {probe} asks port {}", text(&get["port"])));
        }
    }
    mistakes
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn volumes(objects: &Objects, workload: &Value) -> Vec<String> {
    let volumes = list(&pod(workload)["volumes"]);
    let claims = list(&workload["spec"]["volumeClaimTemplates"]);
    let given = volumes.iter().map(|volume| &volume["name"]);
    let given: Vec<_> = given
        .chain(claims.iter().map(|claim| &claim["metadata"]["name"]))
        .collect();
    let mounts = containers(workload)
        .iter()
        .flat_map(|container| list(&container["volumeMounts"]));
    let used: Vec<_> = mounts.map(|mount| &mount["name"]).collect();
    let mut mistakes = Vec::new();
    for name in used.iter().filter(|name| !given.contains(name)) {
        mistakes.push(format!("there is no volume {}", text(name)));
    }
    for name in given.iter().filter(|name| !used.contains(name)) {
        mistakes.push(format!("volume {} is not mounted", text(name)));
    }
    for volume in volumes {
        if let Some(config) = volume["configMap"]["name"].as_str()
            && objects.named("ConfigMap", config).is_none()
        {
            mistakes.push(format!("ConfigMap {config} is not there"));
        }
        if let Some(secret) = volume["secret"]["secretName"].as_str()
            && !SECRETS.iter().any(|(known, _)| *known == secret)
        {
            mistakes.push(format!("Secret {secret} is not documented"));
        }
    }
    mistakes
}

fn variables(container: &Value) -> Vec<String> {
    let variables = list(&container["env"]).iter();
    let secrets = variables.map(|variable| &variable["valueFrom"]["secretKeyRef"]);
    let unknown = secrets.filter(|secret| {
        !secret.is_null()
            && !SECRETS.iter().any(|(known, keys)| {
                secret["name"] == *known && keys.iter().any(|key| secret["key"] == *key)
            })
    });
    unknown
        .map(|secret| format!("{secret} is not documented"))
        .collect()
}

/// What keeps the nodes of the log from being away together.
fn quorum(objects: &Objects, log: &Value) -> Vec<String> {
    let spec = &log["spec"];
    let apart = &pod(log)["affinity"]["podAntiAffinity"];
    let apart = list(&apart["requiredDuringSchedulingIgnoredDuringExecution"]);
    let labels = &spec["template"]["metadata"]["labels"];
    let apart = apart.iter().any(|term| {
        term["topologyKey"] == "kubernetes.io/hostname"
            && matches(&term["labelSelector"]["matchLabels"], labels)
    });
    let names = spec["serviceName"]
        .as_str()
        .and_then(|name| objects.named("Service", name));
    let names = names.map(|service| &service["spec"]);
    let mut mistakes = told([
        (apart, "log: two on one machine are possible"),
        (
            spec["minReadySeconds"].as_u64() > Some(0),
            "log: minReadySeconds is not set",
        ),
        (
            spec["ordinals"]["start"] == 1,
            "log: ordinals do not start at 1, but node ids do",
        ),
        (
            spec["podManagementPolicy"] == "Parallel",
            "log: not Parallel: the first waits for ever",
        ),
        (
            spec["updateStrategy"]["type"] == "RollingUpdate",
            "log: does not update one by one",
        ),
        (
            spec["updateStrategy"]["rollingUpdate"].is_null(),
            "log: updates several at once",
        ),
        (
            names.is_none_or(|names| {
                names["publishNotReadyAddresses"] == true && names["clusterIP"] == "None"
            }),
            "log: nodes that are not ready have no name",
        ),
    ]);
    let budget = objects
        .of_kind("PodDisruptionBudget")
        .find(|budget| matches(&budget["spec"]["selector"]["matchLabels"], labels));
    if !budget.is_some_and(|budget| budget["spec"]["maxUnavailable"] == 1) {
        mistakes.push("log: a drain may take the quorum".into());
    }
    mistakes
}

fn budgets(objects: &Objects) -> Vec<String> {
    let mut mistakes = Vec::new();
    for budget in objects.of_kind("PodDisruptionBudget") {
        let spec = &budget["spec"];
        let selected = objects.selected(&spec["selector"]["matchLabels"]);
        let [workload] = selected[..] else {
            mistakes.push(format!(
                "budget {}: selects nothing, or several",
                name(budget)
            ));
            continue;
        };
        if workload["spec"]["replicas"].as_u64() <= spec["maxUnavailable"].as_u64() {
            mistakes.push(format!("budget {}: all or no pod may go", name(budget)));
        }
    }
    mistakes
}

fn services(objects: &Objects) -> Vec<String> {
    let mut mistakes = Vec::new();
    for service in objects.of_kind("Service") {
        let selected = objects.selected(&service["spec"]["selector"]);
        let [workload] = selected[..] else {
            mistakes.push(format!(
                "service {}: selects {} workloads",
                name(service),
                selected.len()
            ));
            continue;
        };
        for entry in list(&service["spec"]["ports"]) {
            if port(workload, &entry["targetPort"]).is_none() {
                let target = text(&entry["targetPort"]);
                mistakes.push(format!(
                    "service {}: no pod has the port {target}",
                    name(service)
                ));
            }
        }
    }
    mistakes
}
