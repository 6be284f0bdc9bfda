use super::*;

fn member(node_id: u64, silent_ms: Option<u64>) -> HubMember {
    HubMember {
        node_id,
        voter: true,
        silent_ms,
        identity: NodeIdentity(node_id.into()).to_bytes(),
        ..Default::default()
    }
}

fn hub(members: Vec<HubMember>) -> MembersResponse {
    MembersResponse {
        hub: "acme".into(),
        incarnation: proto::Incarnation(7).to_bytes(),
        members,
        ..Default::default()
    }
}

#[test]
fn a_learner_has_caught_up_when_it_has_what_the_log_held_a_look_ago() {
    let look = |joined, matched, last| Look {
        joined,
        matched,
        last,
    };
    let table = [
        // The first look says nothing yet, however far it is.
        (look(5, Some(100), 100), None, false),
        (look(5, Some(99), 120), Some(100), false),
        (look(5, Some(100), 120), Some(100), true),
        (look(5, None, 0), Some(0), false),
        // What an earlier member of this number held says nothing of this one.
        (look(101, Some(100), 101), Some(100), false),
        (look(101, Some(101), 101), Some(100), true),
    ];
    for (look, before, expected) in table {
        let (joined, matched) = (look.joined, look.matched);
        let has = look.has_caught_up(before);
        assert_eq!(has, expected, "{joined} {matched:?} {before:?}");
    }
}

#[test]
fn those_who_stay_must_be_able_to_commit() {
    let (heard, silent) = (Some(10), None);
    let patience = Duration::from_secs(2);
    let table = [
        (vec![member(1, heard)], 1, false),
        (vec![member(1, heard), member(2, silent)], 2, true),
        (vec![member(1, heard), member(2, silent)], 1, false),
        (
            vec![member(1, heard), member(2, silent), member(3, heard)],
            3,
            false,
        ),
        (
            vec![member(1, heard), member(2, silent), member(3, heard)],
            2,
            true,
        ),
        (
            vec![member(1, heard), member(2, Some(2001)), member(3, heard)],
            3,
            false,
        ),
        (
            vec![member(1, heard), member(2, Some(2000)), member(3, heard)],
            3,
            true,
        ),
    ];
    for (members, without, expected) in table {
        let hub = hub(members);
        let kept = quorum_without(without, &hub, patience, false);
        assert_eq!(kept.is_ok(), expected, "without {without}: {hub:?}");
        let last = hub.members.len() == 1;
        assert_eq!(quorum_without(without, &hub, patience, true).is_ok(), !last);
    }
}

#[test]
fn who_joins_is_of_this_hub_or_new() {
    let hub = hub(vec![member(1, None)]);
    let new = IdentityResponse {
        node_id: 4,
        identity: NodeIdentity(99).to_bytes(),
        hub: "acme".into(),
        ..Default::default()
    };
    assert_eq!(fits(&new, 4, &hub), Ok(NodeIdentity(99)));
    let refused = |answer: IdentityResponse, id| fits(&answer, id, &hub).unwrap_err();
    assert!(refused(new.clone(), 5).contains("node 4, not node 5"));
    let other = IdentityResponse {
        hub: "acme.else".into(),
        ..new.clone()
    };
    assert!(refused(other, 4).contains("acme.else"));
    for incarnation in [Default::default(), proto::Incarnation(8).to_bytes()] {
        let foreign = IdentityResponse {
            initialised: true,
            incarnation,
            ..new.clone()
        };
        assert!(refused(foreign, 4).contains("another hub"));
    }
    // It was a member before, or is one whose first entries have not come.
    for (identity, incarnation) in [
        (NodeIdentity(99).to_bytes(), hub.incarnation.clone()),
        (NodeIdentity(1).to_bytes(), Default::default()),
    ] {
        let known = IdentityResponse {
            initialised: true,
            identity,
            incarnation,
            ..new.clone()
        };
        assert!(fits(&known, 4, &hub).is_ok());
    }
}
