//! The small commands against one running hub.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use updraft::pyramid::{HubSpec, Pyramid};

const TOPIC: &str = "umh/v1/acme/cologne/_raw/temperature";

fn updraft(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_updraft"));
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    updraft(arguments).output().unwrap()
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_str(&printed(output)).unwrap()
}

async fn hub(directory: &Path) -> Pyramid {
    let mut pyramid = Pyramid::new(env!("CARGO_BIN_EXE_updraft"), directory);
    pyramid.add(HubSpec::new("acme.cologne")).unwrap();
    pyramid.start(Duration::from_secs(30)).await.unwrap();
    pyramid
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_seen_by_sub_tail_and_status() {
    let directory = tempfile::tempdir().unwrap();
    let pyramid = hub(directory.path()).await;
    let node = &pyramid.hub("acme.cologne").unwrap().nodes()[0];
    let (broker, config) = (node.mqtt().to_string(), node.config());
    let config = config.to_str().unwrap();

    let mut sub = updraft(&["sub", "--broker", &broker, "umh/v1/#", "-n", "1", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(sub.stdout.take().unwrap()).lines();
    let received = std::thread::spawn(move || lines.next().unwrap().unwrap());
    // Until the subscription stands, what is published passes it by.
    while !received.is_finished() {
        printed(&run(&[
            "pub", "--broker", &broker, "--value", TOPIC, "21.50",
        ]));
    }
    let message: serde_json::Value = serde_json::from_str(&received.join().unwrap()).unwrap();
    assert_eq!(message["topic"], TOPIC);
    assert!(
        message["payload"]
            .as_str()
            .unwrap()
            .ends_with(r#""value":21.50}"#),
        "{message}"
    );
    assert!(sub.wait().unwrap().success());

    let tail = run(&[
        "tail", "-c", config, "--from", "0", "--stop", "-n", "1", "--json",
    ]);
    let record = json(&tail);
    assert_eq!(
        (record["offset"].as_u64(), record["topic"].as_str()),
        (Some(0), Some(TOPIC))
    );
    let status = json(&run(&["status", "-c", config, "--json"]));
    assert_eq!(status["hub"], "acme.cologne");
    assert!(status["next_offset"].as_u64().unwrap() >= 1);
    assert!(printed(&run(&["status", "-c", config])).contains("on this one disk"));
    let audit = json(&run(&["audit", "-c", config, "--json"]));
    assert_eq!(audit["ok"], true, "{audit}");
}

#[test]
fn check_says_what_would_start_or_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hub.yaml");
    let path = file.to_str().unwrap();
    std::fs::write(
        &file,
        "hub: { path: acme }\ndata_dir: data\nlog: {}\nbroker: {}\n",
    )
    .unwrap();
    let good = printed(&run(&["check", "-c", path]));
    assert!(
        good.contains("hub acme, node 1") && good.contains("MQTT on 127.0.0.1:1883"),
        "{good}"
    );

    std::fs::write(
        &file,
        "hub: { path: acme }\ndata_dir: data\nbroker: { lisen: 1 }\n",
    )
    .unwrap();
    for command in ["check", "run"] {
        let bad = run(&[command, "-c", path]);
        let error = String::from_utf8(bad.stderr).unwrap();
        assert_eq!(bad.status.code(), Some(2), "{error}");
        assert!(
            error.contains(":3:") && error.contains("did you mean \"listen\"?"),
            "{error}"
        );
    }
    assert!(
        !directory.path().join("data").exists(),
        "nothing was started"
    );
}

#[test]
fn who_can_not_be_reached_is_named() {
    for arguments in [
        &["pub", "--broker", "127.0.0.1:1", "a", "b"][..],
        &["status", "--log", "127.0.0.1:1"],
        &["ready", "--at", "127.0.0.1:1"],
    ] {
        let output = run(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("127.0.0.1:1"), "{error}");
    }
}
