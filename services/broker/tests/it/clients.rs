//! Clients that this project did not write.

use std::process::Stdio;
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::Packet as Packet5;
use rumqttc::{Event, Packet, QoS};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::hub::{Hub, PATIENCE};

const MESSAGES: usize = 2000;

#[tokio::test(flavor = "multi_thread")]
async fn rumqttc_publishes_and_subscribes_with_3_1_1() {
    let hub = Hub::start().await;
    let port = hub.broker.address.port();
    let mut options = rumqttc::MqttOptions::new("subscriber", "127.0.0.1", port);
    options
        .set_keep_alive(Duration::from_secs(5))
        .set_clean_session(false);
    let (client, mut events) = rumqttc::AsyncClient::new(options, 100);
    client.subscribe("plant/#", QoS::AtLeastOnce).await.unwrap();
    while !matches!(
        events.poll().await.unwrap(),
        Event::Incoming(Packet::SubAck(_))
    ) {}

    let publishing = tokio::spawn(async move {
        let options = rumqttc::MqttOptions::new("publisher", "127.0.0.1", port);
        let (client, mut events) = rumqttc::AsyncClient::new(options, 100);
        tokio::spawn(async move {
            for number in 0..MESSAGES {
                let payload = number.to_string();
                client
                    .publish("plant/a", QoS::AtLeastOnce, false, payload)
                    .await
                    .unwrap();
            }
        });
        let mut acknowledged = 0;
        while acknowledged < MESSAGES {
            if let Event::Incoming(Packet::PubAck(_)) = events.poll().await.unwrap() {
                acknowledged += 1;
            }
        }
    });
    let receiving = async {
        let mut next = 0;
        while next < MESSAGES {
            if let Event::Incoming(Packet::Publish(publish)) = events.poll().await.unwrap() {
                assert_eq!(publish.payload, next.to_string());
                next += 1;
            }
        }
    };
    tokio::time::timeout(PATIENCE, receiving)
        .await
        .expect("all messages arrive");
    publishing.await.unwrap();
    client.disconnect().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rumqttc_publishes_and_subscribes_with_5() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::{AsyncClient, Event, MqttOptions};

    let hub = Hub::start().await;
    let port = hub.broker.address.port();
    let (client, mut events) = AsyncClient::new(MqttOptions::new("both", "127.0.0.1", port), 100);
    client.subscribe("plant/#", QoS::ExactlyOnce).await.unwrap();
    tokio::spawn(async move {
        for number in 0..MESSAGES {
            let payload = number.to_string();
            client
                .publish("plant/a", QoS::AtLeastOnce, false, payload)
                .await
                .unwrap();
        }
        // The client is dropped at the end of the test.
        std::future::pending::<()>().await;
    });
    let (mut received, mut acknowledged) = (0, 0);
    let run = async {
        while received < MESSAGES || acknowledged < MESSAGES {
            match events.poll().await.unwrap() {
                Event::Incoming(Packet5::Publish(publish)) => {
                    assert_eq!(publish.payload, received.to_string());
                    received += 1;
                }
                Event::Incoming(Packet5::PubAck(_)) => acknowledged += 1,
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, run)
        .await
        .expect("all messages arrive");
}

/// Needs the Debian package `mosquitto-clients`, which `.ci/setup` installs.
fn mosquitto(program: &str, hub: &Hub, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    let port = hub.broker.address.port().to_string();
    command
        .args(["-h", "127.0.0.1", "-p", &port])
        .args(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

async fn output(command: &mut Command) -> String {
    let child = command
        .spawn()
        .expect("mosquitto-clients are installed; see .ci/setup");
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output = output.expect("ends in time").unwrap();
    assert!(output.status.success(), "{command:?} {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_clients_of_both_versions() {
    let hub = Hub::start().await;
    for version in ["mqttv311", "mqttv5"] {
        let id = format!("sub-{version}");
        let session = ["-V", version, "-i", &id, "-c", "-q", "1", "-t", "plant/#"];
        let forever = ["-x", "3600"];
        let expiry = if version == "mqttv5" {
            &forever[..]
        } else {
            &[]
        };
        // Opens the session; the messages then wait for it.
        let open = [&session[..], expiry, &["-E"]].concat();
        output(&mut mosquitto("mosquitto_sub", &hub, &open)).await;
        let publish = ["-V", version, "-q", "1", "-t", "plant/Öfen/1", "-l"];
        let mut publisher = mosquitto("mosquitto_pub", &hub, &publish);
        let mut child = publisher.spawn().expect("mosquitto-clients are installed");
        let lines: String = (0..1000).map(|number| format!("{number}\n")).collect();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(lines.as_bytes()).await.unwrap();
        drop(stdin);
        assert!(child.wait().await.unwrap().success());
        let receive = [&session[..], expiry, &["-C", "1000"]].concat();
        assert_eq!(
            output(&mut mosquitto("mosquitto_sub", &hub, &receive)).await,
            lines
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquitto_asks_and_is_answered() {
    let hub = Hub::start().await;
    let (client, mut events) = {
        use rumqttc::v5::{AsyncClient, MqttOptions};
        AsyncClient::new(
            MqttOptions::new("server", "127.0.0.1", hub.broker.address.port()),
            10,
        )
    };
    client
        .subscribe("ask", rumqttc::v5::mqttbytes::QoS::AtLeastOnce)
        .await
        .unwrap();
    let is_suback = |event| matches!(event, rumqttc::v5::Event::Incoming(Packet5::SubAck(_)));
    while !is_suback(events.poll().await.unwrap()) {}
    let serving = tokio::spawn(async move {
        loop {
            let event = events.poll().await.unwrap();
            if let rumqttc::v5::Event::Incoming(Packet5::Publish(publish)) = event {
                let asked = publish.properties.unwrap();
                let properties = rumqttc::v5::mqttbytes::v5::PublishProperties {
                    correlation_data: asked.correlation_data,
                    ..Default::default()
                };
                let qos = rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
                let topic = asked.response_topic.unwrap();
                client
                    .publish_with_properties(topic, qos, false, "42", properties)
                    .await
                    .unwrap();
            }
        }
    });
    let question = [
        "-V", "mqttv5", "-q", "1", "-t", "ask", "-e", "reply", "-m", "?",
    ];
    assert_eq!(
        output(&mut mosquitto("mosquitto_rr", &hub, &question)).await,
        "42\n"
    );
    serving.abort();
}
