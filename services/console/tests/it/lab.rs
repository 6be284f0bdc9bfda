//! The lab's page gives orders to whoever broke things, and shows what became of them.

use console::lab::{Action, Lab, LabLink, LabNode, LabState, NodeState, Order};
use hyper::StatusCode;
use tokio::sync::{mpsc, watch};

use crate::rig::{Hub, users};

fn state(node: NodeState) -> LabState {
    LabState {
        nodes: vec![LabNode {
            hub: "acme.press".into(),
            node: 2,
            state: node,
        }],
        links: vec![LabLink {
            child: "acme.press".into(),
            parent: "acme".into(),
            cut: false,
        }],
        events: Vec::new(),
    }
}

/// Kills what it is told to, and refuses everything else.
async fn obey(mut orders: mpsc::Receiver<Order>, shown: watch::Sender<LabState>) {
    while let Some(Order { action, done }) = orders.recv().await {
        let outcome = match action {
            Action::Kill { hub, node } if hub == "acme.press" && node == 2 => {
                shown.send_replace(state(NodeState::Killed));
                Ok("killed acme.press node 2".to_owned())
            }
            _ => Err("not now".to_owned()),
        };
        let _ = done.send(outcome);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_kills_and_everybody_sees_it() {
    let (shown, lab_state) = watch::channel(state(NodeState::Running));
    let (orders, received) = mpsc::channel(4);
    let lab = Lab {
        state: lab_state,
        orders,
    };
    let hub = Hub::with(&users(), Some(lab)).await;
    tokio::spawn(obey(received, shown));
    let (viewer, operator) = (
        hub.signed_in("viewer").await,
        hub.signed_in("operator").await,
    );
    assert!(viewer.get("/").await.text.contains("href=\"/lab\""));
    let buttons = |text: &str| text.contains("value=\"kill acme.press 2\"");
    operator.follow("/live/lab", "a button", buttons).await;
    assert!(!viewer.get("/lab").await.text.contains("kill acme.press 2"));
    let answer = viewer
        .submit("/lab/orders", "order=kill+acme.press+2")
        .await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);

    let answer = operator
        .submit("/lab/orders", "order=kill+acme.press+2")
        .await;
    assert_eq!(answer.header("location"), "/lab", "{}", answer.text);
    let page = operator.get("/lab").await.text;
    assert!(page.contains("Killed acme.press node 2."), "{page}");
    let killed = |text: &str| text.contains("killed</span>");
    viewer.follow("/live/lab", "the killed node", killed).await;

    let token = operator.token().await;
    let headers = [
        ("accept", "application/json"),
        ("x-csrf-token", token.as_str()),
    ];
    let answer = operator.post("/lab/orders", &headers, "order=audit").await;
    assert_eq!(answer.text, r#"{"ok":false,"text":"Not now."}"#);
    hub.stop().await;
}
