//! Never less protection than was asked for, and no trust that nobody gave.

use collector::Fault;
use kit::config::HubConfig;

use crate::machine::Machine;
use crate::rig::{COUNTER, Hub, opcua};

async fn read(config: &HubConfig) -> Result<(), Fault> {
    let outcome = collector::read_once(config, None).await.unwrap().remove(0);
    let tags = outcome.tags?;
    assert!(tags.iter().all(|tag| tag.problem.is_none()), "{tags:?}");
    Ok(())
}

#[tokio::test]
async fn a_certificate_is_trusted_when_somebody_says_so() {
    let hub = Hub::start().await;
    let pki = tempfile::tempdir().unwrap();
    let pki_option = pki.path().to_str().unwrap();
    let options = ["--security", "sign-and-encrypt", "--pki", pki_option];
    let machine = Machine::opcua(&options);
    let config = |more: &str| {
        let more = format!(", security: sign-and-encrypt{more}");
        hub.config(&opcua(machine.address, &more, COUNTER))
    };
    let unknown = read(&config("")).await.unwrap_err();
    let message = unknown.to_string();
    let Fault::Untrusted {
        shown,
        rejected,
        trusted,
        ..
    } = unknown
    else {
        panic!("{unknown:?}");
    };
    assert!(
        message.contains(&format!("set fingerprint: {}", shown.sha1)),
        "{message}"
    );
    assert_eq!(
        std::fs::read(&rejected).unwrap(),
        std::fs::read(pki.path().join("cert.der")).unwrap()
    );

    for fingerprint in [shown.sha1, shown.sha256] {
        read(&config(&format!(", fingerprint: {fingerprint}")))
            .await
            .unwrap();
    }
    let other = format!(", fingerprint: {}", "0".repeat(40));
    let other = read(&config(&other)).await;
    assert!(
        matches!(other, Err(Fault::OtherCertificate { .. })),
        "{other:?}"
    );
    // A pin is no trust for those without it.
    assert!(matches!(
        read(&config("")).await,
        Err(Fault::Untrusted { .. })
    ));

    std::fs::copy(&rejected, trusted.join("press.der")).unwrap();
    read(&config("")).await.unwrap();

    // And values come over it.
    let yaml = opcua(machine.address, ", security: sign-and-encrypt", COUNTER);
    let collecting = hub.collect(&yaml).await;
    hub.counted_to("counter", 10).await;
    collecting.stop().await;
}

#[tokio::test]
async fn less_protection_than_was_asked_for_is_refused() {
    let hub = Hub::start().await;
    let machine = Machine::opcua(&[]);
    for asked in ["sign", "sign-and-encrypt"] {
        let more = format!(", security: {asked}");
        let refused = read(&hub.config(&opcua(machine.address, &more, COUNTER))).await;
        let message = refused.unwrap_err().to_string();
        let expected = format!("no endpoint with security {asked}; it offers None with None");
        assert!(message.contains(&expected), "{message}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_tried_again_at_once() {
    let hub = Hub::start().await;
    let machine = Machine::opcua(&["--user", "operator:right"]);
    let config = |more: &str| hub.config(&opcua(machine.address, more, COUNTER));
    read(&config(", user: operator, password: right"))
        .await
        .unwrap();
    for (more, remedy) in [
        (
            ", user: operator, password: wrong",
            "check user and password",
        ),
        ("", "set user and password"),
    ] {
        let fault = read(&config(more)).await.unwrap_err();
        assert!(matches!(fault, Fault::Identity { .. }), "{fault}");
        assert!(!fault.to_string().contains("wrong"), "{fault}");
        assert!(fault.to_string().ends_with(remedy), "{fault}");
    }
}
