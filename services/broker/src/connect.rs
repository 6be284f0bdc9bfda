//! Who is let in, and with what.

use crate::packet::{ConnAck, Connect, Offer, Version};
use crate::reason::Reason;
use crate::session::is_reserved;

/// A CONNECT that is refused, with what its client is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Refusal {
        Refusal {
            reason,
            detail: detail.into(),
        }
    }

    pub(crate) fn connack(self) -> ConnAck {
        ConnAck {
            session_present: false,
            reason: self.reason,
            detail: Some(self.detail),
            offer: None,
        }
    }
}

/// Checks a CONNECT and completes it: `fresh_id` is for a client that brings no id. Returns
/// whether it was used.
pub(crate) fn admit(
    connect: &mut Connect,
    fresh_id: impl FnOnce() -> String,
) -> Result<bool, Refusal> {
    if connect.authentication_method.is_some() {
        let detail = "enhanced authentication is not supported";
        return Err(Refusal::new(Reason::BadAuthenticationMethod, detail));
    }
    check_will(connect)?;
    if !connect.client_id.is_empty() {
        return Ok(false);
    }
    if connect.version == Version::V4 && !connect.clean_start {
        let detail = "a session needs a client id to be found by [MQTT-3.1.3-8]";
        return Err(Refusal::new(Reason::ClientIdentifierNotValid, detail));
    }
    connect.client_id = fresh_id();
    Ok(true)
}

fn check_will(connect: &mut Connect) -> Result<(), Refusal> {
    let Some(will) = &mut connect.will else {
        return Ok(());
    };
    let publish = &mut will.publish;
    if let Err(error) = proto::topic::check_topic_name(&publish.topic) {
        return Err(Refusal::new(
            Reason::TopicNameInvalid,
            format!("will: {error}"),
        ));
    }
    if is_reserved(&publish.topic) {
        return Err(Refusal::new(
            Reason::NotAuthorized,
            "will: $SYS is the broker's own",
        ));
    }
    match (connect.version, publish.qos) {
        // [MQTT-3.2.2-12]; 3.1.1 has no way to say it, and its will is published with QoS 1.
        (Version::V5, 2) => Err(Refusal::new(Reason::QosNotSupported, "will: QoS 2")),
        _ => {
            publish.qos = publish.qos.min(1);
            Ok(())
        }
    }
}

/// The answer to a client that is let in.
pub(crate) fn welcome(
    connect: &Connect,
    assigned: bool,
    session_present: bool,
    max_in_flight: usize,
    max_packet_bytes: usize,
) -> ConnAck {
    let offer = Offer {
        assigned_client_id: assigned.then(|| connect.client_id.clone()),
        receive_maximum: u16::try_from(max_in_flight).unwrap_or(u16::MAX),
        max_packet_bytes: u32::try_from(max_packet_bytes).unwrap_or(u32::MAX),
    };
    ConnAck {
        session_present,
        reason: Reason::Success,
        detail: None,
        offer: Some(offer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Publish, Will};

    fn connect(version: Version, client_id: &str) -> Connect {
        Connect {
            version,
            client_id: client_id.into(),
            clean_start: true,
            keep_alive: 0,
            session_expiry: 0,
            receive_maximum: None,
            max_packet_bytes: None,
            authentication_method: None,
            will: None,
        }
    }

    fn will(topic: &str, qos: u8) -> Option<Will> {
        let publish = Publish {
            topic: topic.into(),
            qos,
            ..Publish::default()
        };
        Some(Will {
            publish,
            delay_seconds: 0,
        })
    }

    #[test]
    fn who_is_let_in() {
        type Edit = fn(&mut Connect);
        let table: [(Edit, Result<&str, Reason>); 11] = [
            (|_| {}, Ok("c")),
            (|c| c.client_id = "+ $ # / ö".into(), Ok("+ $ # / ö")),
            (|c| c.client_id.clear(), Ok("fresh")),
            (
                |c| (c.client_id.clear(), c.clean_start = false).1,
                Ok("fresh"),
            ),
            (
                |c| {
                    c.client_id.clear();
                    c.version = Version::V4;
                    c.clean_start = false;
                },
                Err(Reason::ClientIdentifierNotValid),
            ),
            (
                |c| c.authentication_method = Some("SCRAM".into()),
                Err(Reason::BadAuthenticationMethod),
            ),
            (|c| c.will = will("a/b", 1), Ok("c")),
            (|c| c.will = will("a/+", 1), Err(Reason::TopicNameInvalid)),
            (|c| c.will = will("$SYS/x", 1), Err(Reason::NotAuthorized)),
            (|c| c.will = will("a", 2), Err(Reason::QosNotSupported)),
            (
                |c| (c.will = will("a", 2), c.version = Version::V4).1,
                Ok("c"),
            ),
        ];
        for (at, (edit, expected)) in table.into_iter().enumerate() {
            let mut connect = connect(Version::V5, "c");
            edit(&mut connect);
            let admitted = admit(&mut connect, || "fresh".into());
            match expected {
                Ok(id) => {
                    assert_eq!(admitted, Ok(id == "fresh"), "{at}");
                    assert_eq!(connect.client_id, id, "{at}");
                    assert!(connect.will.is_none_or(|will| will.publish.qos < 2), "{at}");
                }
                Err(reason) => assert_eq!(admitted.unwrap_err().reason, reason, "{at}"),
            }
        }
    }
}
