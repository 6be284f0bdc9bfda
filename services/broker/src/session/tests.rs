use proto::record::Flags;
use proto::rpc::{CommittedPublish, SessionState};
use proto::{Nanos, Value};
use rumqttd::protocol::PublishProperties;

use super::*;
use crate::message::Message;
use crate::packet::{Deliver, Filter, RetainHandling, Subscribe};

const NOW: Nanos = Nanos(1_000_000_000_000);

fn limits(version: Version) -> Limits {
    Limits {
        version,
        receive_maximum: None,
        max_in_flight: 2,
    }
}

fn fresh(version: Version) -> Session {
    Session::new("c".into(), &limits(version), Start::fresh(Offset(100)))
}

fn state() -> SessionState {
    SessionState {
        client_id: "c".into(),
        session_epoch: 7,
        present: true,
        subscriptions: vec![proto::rpc::Subscription {
            filter: "a/#".into(),
            options: 1,
            subscription_id: None,
        }],
        acknowledged_offset: 10,
        recent_publishes: vec![CommittedPublish {
            packet_id: 5,
            digest: inbound::digest("a/b", b"x"),
        }],
        next_offset: 12,
    }
}

fn resumed(version: Version) -> Session {
    Session::new("c".into(), &limits(version), Start::of(&state()))
}

fn publish(qos: u8, packet_id: u16) -> Publish {
    Publish {
        qos,
        packet_id,
        topic: "a/b".into(),
        payload: "x".into(),
        ..Publish::default()
    }
}

fn feed(session: &mut Session, packet: Incoming) -> Result<Vec<Action>, End> {
    let mut actions = Vec::new();
    session.packet(packet, NOW, &mut actions).map(|()| actions)
}

fn append(session: &mut Session, publish: Publish) -> u64 {
    match feed(session, Incoming::Publish(publish))
        .unwrap()
        .as_slice()
    {
        [Action::Append { slot, .. }] => *slot,
        other => panic!("{other:?}"),
    }
}

fn committed(session: &mut Session, slot: u64, offset: u64) -> Vec<Action> {
    let mut actions = Vec::new();
    session
        .committed(slot, Ok(Offset(offset)), &mut actions)
        .unwrap();
    actions
}

fn puback(packet_id: u16, reason: Reason) -> Action {
    Action::Send(Outgoing::PubAck { packet_id, reason })
}

fn filter(path: &str, qos: u8) -> Filter {
    Filter {
        path: path.into(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Always,
    }
}

/// Subscribes from `from` on, and returns the answer.
fn subscribe(
    session: &mut Session,
    filters: Vec<Filter>,
    from: u64,
    retained: Vec<Record>,
) -> Outgoing {
    let subscribe = Subscribe {
        packet_id: 9,
        filters,
        subscription_id: Some(3),
    };
    let control = control(session, Incoming::Subscribe(subscribe));
    answer(
        session,
        control,
        ControlOutcome::Done {
            from: Offset(from),
            retained,
        },
    )
    .unwrap()
}

fn control(session: &mut Session, packet: Incoming) -> Control {
    let mut actions = feed(session, packet).unwrap();
    assert!(!session.may_read(), "nothing is read while it is under way");
    match (actions.pop(), actions.is_empty()) {
        (Some(Action::Control(control)), true) => control,
        other => panic!("{other:?}"),
    }
}

fn answer(
    session: &mut Session,
    control: Control,
    outcome: ControlOutcome,
) -> Result<Outgoing, End> {
    let mut actions = Vec::new();
    session.controlled(control, outcome, &mut actions)?;
    assert!(session.may_read());
    match (actions.pop(), actions.is_empty()) {
        (Some(Action::Send(answer)), true) => Ok(answer),
        other => panic!("{other:?}"),
    }
}

fn message(offset: u64, topic: &str, qos: u8) -> Message {
    let mut record = Record::message(topic, "x", NOW);
    record.flags = Flags::new(false, qos);
    Message::new(Offset(offset), record)
}

fn delivered(offer: Offer) -> Deliver {
    match offer {
        Offer::Send(Outgoing::Publish(deliver)) => deliver,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_publish_is_acknowledged_when_it_is_committed() {
    for version in [Version::V4, Version::V5] {
        let mut session = fresh(version);
        let first = append(&mut session, publish(1, 4));
        let without = append(&mut session, publish(0, 0));
        assert!(committed(&mut session, without, 8).is_empty());
        assert_eq!(
            committed(&mut session, first, 7),
            [puback(4, Reason::Success)]
        );
    }
}

#[test]
fn the_record_is_what_was_published() {
    let properties = PublishProperties {
        content_type: Some("c".into()),
        ..PublishProperties::default()
    };
    let publish = Publish {
        retain: true,
        properties: Some(properties),
        ..publish(1, 4)
    };
    let actions = feed(&mut resumed(Version::V5), Incoming::Publish(publish)).unwrap();
    let [
        Action::Append {
            record, publish, ..
        },
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(
        (record.topic.as_str(), record.flags),
        ("a/b", Flags::new(true, 1))
    );
    assert_eq!(record.value, Value::Payload("x".into()));
    assert_eq!(record.header("$content-type"), Some("c"));
    let expected = SessionPublish {
        client_id: "c".into(),
        session_epoch: 7,
        packet_id: 4,
        digest: inbound::digest("a/b", b"x"),
    };
    assert_eq!(publish.as_ref(), Some(&expected));
}

#[test]
fn only_persistent_sessions_stamp_their_publishes() {
    for (mut session, qos, stamped) in [
        (fresh(Version::V5), 1, false),
        (resumed(Version::V5), 1, true),
        (resumed(Version::V5), 0, false),
    ] {
        let actions = feed(&mut session, Incoming::Publish(publish(qos, 4))).unwrap();
        let [Action::Append { publish, .. }] = &actions[..] else {
            panic!("{actions:?}")
        };
        assert_eq!(publish.is_some(), stamped);
    }
}

#[test]
fn publishes_that_end_the_connection() {
    let with = |properties| Publish {
        properties: Some(properties),
        ..publish(1, 1)
    };
    let properties = PublishProperties::default;
    let topic = |topic: &str| Publish {
        topic: topic.into(),
        ..publish(0, 0)
    };
    for (publish, reason) in [
        (publish(2, 1), Reason::QosNotSupported),
        (topic(""), Reason::TopicNameInvalid),
        (topic("a/+"), Reason::TopicNameInvalid),
        (topic("a\0"), Reason::TopicNameInvalid),
        (
            with(PublishProperties {
                topic_alias: Some(1),
                ..properties()
            }),
            Reason::TopicAliasInvalid,
        ),
        (
            with(PublishProperties {
                subscription_identifiers: vec![1],
                ..properties()
            }),
            Reason::ProtocolError,
        ),
        (
            with(PublishProperties {
                response_topic: Some("a/#".into()),
                ..properties()
            }),
            Reason::ProtocolError,
        ),
    ] {
        for version in [Version::V4, Version::V5] {
            let end = feed(&mut fresh(version), Incoming::Publish(publish.clone())).unwrap_err();
            assert_eq!(end.reason(), Some(reason), "{publish:?}");
            assert!(end.publishes_will());
        }
    }
}

#[test]
fn a_topic_of_the_brokers_own_is_refused_in_turn() {
    for (version, reason) in [
        (Version::V4, Reason::Success),
        (Version::V5, Reason::NotAuthorized),
    ] {
        let mut session = fresh(version);
        let first = append(&mut session, publish(1, 1));
        let reserved = Publish {
            topic: "$SYS/x".into(),
            ..publish(1, 2)
        };
        assert_eq!(feed(&mut session, Incoming::Publish(reserved)), Ok(vec![]));
        let reserved = Publish {
            topic: "$SYS".into(),
            ..publish(0, 0)
        };
        assert_eq!(feed(&mut session, Incoming::Publish(reserved)), Ok(vec![]));
        let expected = [puback(1, Reason::Success), puback(2, reason)];
        assert_eq!(committed(&mut session, first, 7), expected);
        append(
            &mut session,
            Publish {
                topic: "$SYSTEM".into(),
                ..publish(0, 0)
            },
        );
        append(
            &mut session,
            Publish {
                topic: "$other/x".into(),
                ..publish(0, 0)
            },
        );
    }
}

#[test]
fn a_repeated_publish_is_acknowledged_without_an_append() {
    let mut session = resumed(Version::V4);
    let repeat = || {
        Incoming::Publish(Publish {
            dup: true,
            ..publish(1, 5)
        })
    };
    assert_eq!(
        feed(&mut session, repeat()),
        Ok(vec![puback(5, Reason::Success)])
    );
    let again = feed(&mut session, repeat()).unwrap();
    assert!(
        matches!(again[..], [Action::Append { .. }]),
        "the id is of this connection now"
    );

    for other in [
        publish(1, 5),
        Publish {
            dup: true,
            ..publish(1, 6)
        },
        Publish {
            dup: true,
            payload: "y".into(),
            ..publish(1, 5)
        },
    ] {
        append(&mut resumed(Version::V4), other);
    }
}

#[test]
fn too_many_uncommitted_publishes() {
    let mut session = fresh(Version::V4);
    let slots = [1, 2].map(|id| append(&mut session, publish(1, id)));
    assert!(
        !session.may_read(),
        "a client of 3.1.1 is held by its socket"
    );
    committed(&mut session, slots[0], 0);
    assert!(session.may_read());

    let mut session = fresh(Version::V5);
    for id in [1, 2] {
        append(&mut session, publish(1, id));
    }
    assert!(session.may_read());
    append(&mut session, publish(0, 0));
    let end = feed(&mut session, Incoming::Publish(publish(1, 3))).unwrap_err();
    assert_eq!(end.reason(), Some(Reason::ReceiveMaximumExceeded));
    append(&mut session, publish(0, 0));
    assert!(!session.may_read(), "QoS 0 is bounded by the socket");
}

#[test]
fn appends_that_fail() {
    let refused = || AppendError::Refused("too large".into());
    for (version, error, expected) in [
        (
            Version::V4,
            AppendError::StaleSession,
            Err(Some(Reason::SessionTakenOver)),
        ),
        (
            Version::V5,
            AppendError::StaleSession,
            Err(Some(Reason::SessionTakenOver)),
        ),
        (
            Version::V4,
            AppendError::Closed,
            Err(Some(Reason::ServerUnavailable)),
        ),
        (
            Version::V4,
            refused(),
            Err(Some(Reason::ImplementationSpecific)),
        ),
        (
            Version::V5,
            refused(),
            Ok(vec![puback(1, Reason::ImplementationSpecific)]),
        ),
    ] {
        let mut session = fresh(version);
        let slot = append(&mut session, publish(1, 1));
        let mut actions = Vec::new();
        let text = format!("{version:?} {error:?}");
        let result = session.committed(slot, Err(error), &mut actions);
        assert_eq!(
            result.map(|()| actions).map_err(|end| end.reason()),
            expected,
            "{text}"
        );
    }
}

#[test]
fn filters_are_granted_or_refused_one_by_one() {
    use Reason::{SharedSubscriptionsNotSupported, TopicFilterInvalid};
    let filters = vec![
        filter("a", 0),
        filter("b", 1),
        filter("c", 2),
        filter("a/#/b", 1),
        filter("$share/g/a", 1),
    ];
    let answer = subscribe(&mut fresh(Version::V5), filters, 100, vec![]);
    let refused = [
        Err(TopicFilterInvalid),
        Err(SharedSubscriptionsNotSupported),
    ];
    let codes = [Ok(0), Ok(1), Ok(1)].into_iter().chain(refused).collect();
    assert_eq!(
        answer,
        Outgoing::SubAck {
            packet_id: 9,
            codes
        }
    );
}

#[test]
fn a_subscription_is_stored_before_it_is_granted() {
    let mut session = resumed(Version::V5);
    let filters = vec![filter("x/+", 1), filter("#/x", 1)];
    let subscribe = Subscribe {
        packet_id: 9,
        filters,
        subscription_id: None,
    };
    let job = control(&mut session, Incoming::Subscribe(subscribe));
    let update = job.update("c", 7).unwrap();
    assert_eq!((update.client_id.as_str(), update.session_epoch), ("c", 7));
    assert_eq!(update.subscribe.len(), 1);
    assert_eq!(update.subscribe[0].filter, "x/+");
    assert_eq!(job.retained_filters(), ["x/+"]);
    let failed = answer(&mut session, job.clone(), ControlOutcome::Failed);
    let codes = vec![Err(Reason::Unspecified), Err(Reason::TopicFilterInvalid)];
    assert_eq!(
        failed,
        Ok(Outgoing::SubAck {
            packet_id: 9,
            codes
        })
    );
    assert_eq!(session.offer(&message(12, "x/1", 1), NOW), Offer::Skip);
    assert_eq!(
        answer(&mut session, job, ControlOutcome::Stale),
        Err(End::TakenOver)
    );
}

#[test]
fn unsubscribing() {
    let mut session = resumed(Version::V5);
    let filters = vec!["a/#".to_owned(), "never".to_owned()];
    let job = control(
        &mut session,
        Incoming::Unsubscribe {
            packet_id: 4,
            filters,
        },
    );
    assert_eq!(job.update("c", 7).unwrap().unsubscribe, ["a/#"]);
    let done = ControlOutcome::Done {
        from: Offset(12),
        retained: vec![],
    };
    let answer = answer(&mut session, job, done);
    let reasons = vec![Reason::Success, Reason::NoSubscriptionExisted];
    assert_eq!(
        answer,
        Ok(Outgoing::UnsubAck {
            packet_id: 4,
            reasons
        })
    );
    assert_eq!(session.wants(), None);
}

#[test]
fn delivery_starts_with_the_subscription_and_keeps_the_order_of_the_log() {
    let mut session = fresh(Version::V5);
    assert_eq!(session.wants(), None);
    subscribe(
        &mut session,
        vec![filter("a/#", 1), filter("a/b", 0)],
        105,
        vec![],
    );
    assert_eq!(session.wants(), Some(Offset(105)));
    assert_eq!(session.offer(&message(104, "a/b", 1), NOW), Offer::Skip);
    for (offset, qos, expected) in [(105, 0, (0, 0)), (106, 1, (1, 1)), (107, 2, (1, 2))] {
        let deliver = delivered(session.offer(&message(offset, "a/b", qos), NOW));
        assert_eq!((deliver.qos, deliver.packet_id), expected);
        assert_eq!((deliver.dup, deliver.retain), (false, false));
        assert_eq!(deliver.properties.unwrap().subscription_identifiers, [3, 3]);
    }
    assert_eq!(
        session.offer(&message(106, "a/b", 1), NOW),
        Offer::Skip,
        "offered before"
    );
    assert_eq!(session.offer(&message(108, "b", 1), NOW), Offer::Skip);
    assert_eq!(session.wants(), Some(Offset(109)));
    session.passed(Offset(120));
    assert_eq!(session.wants(), Some(Offset(120)));
}

#[test]
fn a_full_window_waits_and_loses_nothing() {
    let limits = Limits {
        receive_maximum: Some(1),
        ..limits(Version::V5)
    };
    let mut session = Session::new("c".into(), &limits, Start::fresh(Offset(0)));
    subscribe(&mut session, vec![filter("#", 1)], 0, vec![]);
    let first = delivered(session.offer(&message(0, "a", 1), NOW));
    assert_eq!(session.offer(&message(1, "a", 1), NOW), Offer::Wait);
    assert_eq!(session.wants(), Some(Offset(1)));
    session.acknowledged(first.packet_id);
    assert_eq!(
        delivered(session.offer(&message(1, "a", 1), NOW)).packet_id,
        2
    );
    assert_eq!(
        delivered(session.offer(&message(2, "a", 0), NOW)).qos,
        0,
        "needs no room"
    );
}

#[test]
fn a_resumed_session_goes_on_at_its_floor() {
    let mut session = resumed(Version::V4);
    assert_eq!(session.wants(), Some(Offset(10)));
    let first = delivered(session.offer(&message(10, "a/1", 1), NOW));
    let second = delivered(session.offer(&message(11, "a/2", 1), NOW));
    let third = delivered(session.offer(&message(12, "a/3", 1), NOW));
    assert_eq!(
        (first.dup, second.dup),
        (true, true),
        "may have been sent before"
    );
    assert!(!third.dup, "committed since");
    assert_eq!((session.floor(), session.take_floor()), (Offset(10), None));
    session.acknowledged(second.packet_id);
    assert_eq!((session.floor(), session.take_floor()), (Offset(10), None));
    session.acknowledged(first.packet_id);
    let floor = session.take_floor().unwrap();
    assert_eq!(
        (floor.acknowledged_offset, floor.session_epoch),
        (Some(12), 7)
    );
    assert_eq!(session.take_floor(), None);
    session.acknowledged(third.packet_id);
    session.passed(Offset(20));
    assert_eq!(session.take_floor().unwrap().acknowledged_offset, Some(20));
    session.passed(Offset(21));
    assert_eq!(session.take_floor(), None, "not worth it");
    session.passed(Offset(20 + 4096));
    assert_eq!(
        session.take_floor().unwrap().acknowledged_offset,
        Some(20 + 4096)
    );
    let closing = session.closing(false).unwrap();
    assert!(closing.closed && !closing.end);
    assert!(session.closing(true).unwrap().end);
}

#[test]
fn a_session_without_an_entry_in_the_log_reports_nothing() {
    let mut session = fresh(Version::V5);
    subscribe(&mut session, vec![filter("#", 0)], 100, vec![]);
    delivered(session.offer(&message(100, "a", 1), NOW));
    assert_eq!((session.take_floor(), session.closing(true)), (None, None));
}

#[test]
fn retained_messages_come_first_and_say_so() {
    let mut session = fresh(Version::V5);
    let retained = |topic: &str, qos| {
        let mut record = Record::message(topic, "r", NOW);
        record.flags = Flags::new(true, qos);
        record
    };
    let filters = vec![
        filter("a/#", 1),
        Filter {
            retain_handling: RetainHandling::Never,
            ..filter("b/#", 1)
        },
    ];
    let records = vec![retained("a/1", 1), retained("b/1", 1), retained("a/2", 0)];
    subscribe(&mut session, filters.clone(), 100, records);
    let next = |session: &mut Session| {
        let Some(Outgoing::Publish(deliver)) = session.next_retained(NOW) else {
            return None;
        };
        assert!(deliver.retain && !deliver.dup);
        Some((deliver.topic, deliver.qos))
    };
    assert_eq!(next(&mut session), Some(("a/1".into(), 1)));
    assert_eq!(next(&mut session), Some(("a/2".into(), 0)));
    assert_eq!(next(&mut session), None);

    let if_new = Filter {
        retain_handling: RetainHandling::IfNew,
        ..filter("a/#", 1)
    };
    for (filters, expected) in [
        (filters, vec!["a/#".to_owned()]),
        (vec![if_new.clone()], vec![]),
        (
            vec![Filter {
                path: "new".into(),
                ..if_new
            }],
            vec!["new".to_owned()],
        ),
    ] {
        let subscribe = Subscribe {
            packet_id: 9,
            filters,
            subscription_id: None,
        };
        let job = control(&mut session, Incoming::Subscribe(subscribe));
        assert_eq!(job.retained_filters(), expected);
        answer(&mut session, job, ControlOutcome::Failed).unwrap();
    }
}

#[test]
fn the_retain_flag_survives_only_where_it_is_asked_for() {
    for (retain_as_published, expected) in [(false, false), (true, true)] {
        let mut session = fresh(Version::V5);
        let filter = Filter {
            retain_as_published,
            ..filter("a", 0)
        };
        subscribe(&mut session, vec![filter], 0, vec![]);
        let mut message = message(100, "a", 0);
        message.record.flags = Flags::new(true, 0);
        assert_eq!(delivered(session.offer(&message, NOW)).retain, expected);
    }
}

#[test]
fn no_local_waits_until_it_is_known_whose_message_it_is() {
    let mut session = fresh(Version::V5);
    let no_local = Filter {
        no_local: true,
        ..filter("a/#", 0)
    };
    subscribe(&mut session, vec![no_local, filter("b", 0)], 100, vec![]);
    let own = append(&mut session, publish(1, 1));
    assert!(matches!(
        session.offer(&message(100, "b", 0), NOW),
        Offer::Send(_)
    ));
    assert_eq!(session.offer(&message(101, "a/b", 0), NOW), Offer::Wait);
    let later = append(&mut session, publish(1, 2));
    committed(&mut session, own, 102);
    assert!(
        matches!(session.offer(&message(101, "a/b", 0), NOW), Offer::Send(_)),
        "foreign"
    );
    committed(&mut session, later, 103);
    assert_eq!(
        session.offer(&message(102, "a/b", 1), NOW),
        Offer::Skip,
        "own"
    );
    assert_eq!(
        session.offer(&message(103, "a/b", 1), NOW),
        Offer::Skip,
        "own"
    );
    assert!(matches!(
        session.offer(&message(104, "a/b", 1), NOW),
        Offer::Send(_)
    ));
}

#[test]
fn what_has_expired_is_not_sent() {
    let mut session = fresh(Version::V5);
    subscribe(&mut session, vec![filter("a", 1)], 100, vec![]);
    let with_expiry = |offset| {
        let mut message = message(offset, "a", 1);
        message.record.headers = vec![("$message-expiry".into(), "10".into())];
        message
    };
    let after = |seconds: i64| Nanos(NOW.0 + seconds * 1_000_000_000);
    let deliver = delivered(session.offer(&with_expiry(100), after(4)));
    assert_eq!(deliver.properties.unwrap().message_expiry_interval, Some(6));
    assert_eq!(session.offer(&with_expiry(101), after(10)), Offer::Skip);
    assert_eq!(session.wants(), Some(Offset(102)));
}

#[test]
fn a_client_of_3_1_1_gets_no_properties() {
    let mut session = fresh(Version::V4);
    subscribe(&mut session, vec![filter("a", 0)], 100, vec![]);
    let mut message = message(100, "a", 0);
    message.record.headers = vec![
        ("$content-type".into(), "x".into()),
        ("k".into(), "v".into()),
    ];
    assert_eq!(delivered(session.offer(&message, NOW)).properties, None);
}

#[test]
fn a_collectors_value_is_as_safe_as_its_subscriber_wants() {
    let mut session = fresh(Version::V5);
    subscribe(&mut session, vec![filter("a", 1)], 100, vec![]);
    let mut message = message(100, "a", 0);
    message.record.value = Value::F64(1.5);
    let deliver = delivered(session.offer(&message, NOW));
    assert_eq!(deliver.qos, 1);
    assert_eq!(deliver.payload, r#"{"timestamp_ms":1000000,"value":1.5}"#);
}

#[test]
fn ways_to_say_goodbye() {
    let disconnect = |will, expiry| Incoming::Disconnect { will, expiry };
    for (mut session, packet, will, reason) in [
        (fresh(Version::V5), disconnect(false, None), false, None),
        (fresh(Version::V5), disconnect(true, None), true, None),
        (fresh(Version::V5), disconnect(false, Some(0)), false, None),
        (
            fresh(Version::V5),
            disconnect(false, Some(5)),
            true,
            Some(Reason::ProtocolError),
        ),
        (
            resumed(Version::V5),
            disconnect(false, Some(5)),
            false,
            None,
        ),
    ] {
        let end = feed(&mut session, packet).unwrap_err();
        assert_eq!(
            (end.publishes_will(), end.reason()),
            (will, reason),
            "{end:?}"
        );
    }
    let ping = feed(&mut fresh(Version::V4), Incoming::PingReq);
    assert_eq!(ping, Ok(vec![Action::Send(Outgoing::PingResp)]));
}
