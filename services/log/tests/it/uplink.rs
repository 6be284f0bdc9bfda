//! What a parent takes from hubs below (I4, I9).

use futures::stream;
use proto::rpc::push_request::Message as Request;
use proto::rpc::push_response::Message as Answer;
use proto::rpc::uplink_client::UplinkClient;
use proto::rpc::{Envelope, Hello, PushRequest, RefusalKind};
use proto::{Batch, Incarnation, Lane, Scope};
use raft_log::refusal::from_status;

use crate::rig::{Hub, payloads, record};

const INCARNATION: Incarnation = Incarnation(5);

fn hello(hub: &str) -> Request {
    Request::Hello(Hello {
        hub: hub.into(),
        incarnation: INCARNATION.to_bytes(),
        ..Default::default()
    })
}

fn envelope(hub: &str, first_sequence: u64, text: &str) -> Request {
    let batch = Batch::encode(&[record("a", text)]).unwrap();
    let origin = proto::rpc::Origin {
        hub: hub.into(),
        incarnation: INCARNATION.to_bytes(),
        lane: 0,
    };
    let birth = Envelope::birth(&batch, Lane::Normal, &Scope::up(), false);
    Request::Envelope(Envelope {
        origin: Some(origin),
        first_sequence,
        ..birth
    })
}

/// Sends all at once and collects the answers; the error is the stream's.
async fn push(url: &str, requests: Vec<Request>) -> Result<Vec<Answer>, tonic::Status> {
    let mut client = UplinkClient::connect(url.to_owned()).await.unwrap();
    let requests = requests.into_iter().map(|message| PushRequest {
        message: Some(message),
    });
    let mut answers = client
        .push(stream::iter(requests.collect::<Vec<_>>()))
        .await?
        .into_inner();
    let mut received = Vec::new();
    while let Some(answer) = answers.message().await? {
        received.extend(answer.message);
    }
    Ok(received)
}

fn acknowledged(answers: &[Answer]) -> Vec<u64> {
    let next = |answer: &Answer| match answer {
        Answer::Ack(ack) => Some(ack.next_sequence),
        _ => None,
    };
    answers.iter().filter_map(next).collect()
}

fn refusal(answers: &[Answer]) -> RefusalKind {
    match answers.last() {
        Some(Answer::Refused(refusal)) => refusal.kind(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_continues_is_taken_once() {
    let hub = Hub::start("acme", 1).await;
    let edge = "acme.edge";
    let (x, y) = (envelope(edge, 0, "x"), envelope(edge, 1, "y"));
    let requests = vec![hello(edge), x.clone(), y.clone()];
    let answers = push(&hub.uplink(1), requests.clone()).await.unwrap();
    assert!(matches!(&answers[0], Answer::Welcome(welcome) if welcome.hub == "acme"));
    assert_eq!(acknowledged(&answers), [1, 2]);
    // The same again: acknowledged, not stored.
    assert_eq!(
        acknowledged(&push(&hub.uplink(1), requests).await.unwrap()),
        [2, 2]
    );
    let texts: Vec<String> = payloads(&hub.client(), 0)
        .await
        .into_iter()
        .map(|(_, text)| text)
        .collect();
    assert_eq!(texts, ["x", "y"]);

    let gap = push(&hub.uplink(1), vec![hello(edge), envelope(edge, 5, "z")])
        .await
        .unwrap();
    assert_eq!(refusal(&gap), RefusalKind::Gap);
    let fork = push(
        &hub.uplink(1),
        vec![hello(edge), envelope(edge, 1, "other")],
    )
    .await
    .unwrap();
    assert_eq!(refusal(&fork), RefusalKind::Forked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_sends_what_is_its_own() {
    let hub = Hub::start("acme.site", 1).await;
    for stranger in ["acme", "acme.site", "other.edge", "", "acme.site..x"] {
        let error = push(&hub.uplink(1), vec![hello(stranger)])
            .await
            .unwrap_err();
        let refusal = from_status(&error).unwrap();
        assert!(
            matches!(refusal.kind(), RefusalKind::Scope | RefusalKind::Invalid),
            "{stranger}"
        );
    }
    let foreign = vec![hello("acme.site.a"), envelope("acme.site.b", 0, "x")];
    assert_eq!(
        refusal(&push(&hub.uplink(1), foreign).await.unwrap()),
        RefusalKind::Scope
    );
    let unasked = push(&hub.uplink(1), vec![envelope("acme.site.a", 0, "x")])
        .await
        .unwrap_err();
    assert_eq!(from_status(&unasked).unwrap().kind(), RefusalKind::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_node_takes_a_child_and_hands_it_to_the_leader() {
    let hub = Hub::start("acme", 3).await;
    for (node, sequence) in (1..=3).zip(0..) {
        let requests = vec![hello("acme.edge"), envelope("acme.edge", sequence, "x")];
        let answers = loop {
            match push(&hub.uplink(node), requests.clone()).await {
                Ok(answers) => break answers,
                // No leader at this very moment.
                Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable),
            }
        };
        assert_eq!(
            acknowledged(&answers),
            [sequence + 1],
            "through node {node}"
        );
    }
}
