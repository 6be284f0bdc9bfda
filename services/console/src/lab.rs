//! What a demo lets people break, with buttons on a page of its own.
//!
//! Only a program that starts the console in its own process can give it a [`Lab`]; no file can.

pub(crate) mod page;

use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot, watch};

/// The console's end of a demo.
#[derive(Debug)]
pub struct Lab {
    pub state: watch::Receiver<LabState>,
    pub orders: mpsc::Sender<Order>,
}

/// What stands and what is broken now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabState {
    pub nodes: Vec<LabNode>,
    pub links: Vec<LabLink>,
    /// What happened, the oldest first; bounded by whoever fills it.
    pub events: Vec<LabEvent>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabNode {
    /// Path of the hub.
    pub hub: String,
    pub node: u64,
    pub state: NodeState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    Running,
    /// Its process was killed and is not there.
    Killed,
    /// Its process is there and does not serve yet.
    Starting,
}

/// The way from a hub up to its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabLink {
    pub child: String,
    pub parent: String,
    pub cut: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabEvent {
    pub time: SystemTime,
    pub text: String,
}

/// An order, and where its outcome goes: a line for people either way.
#[derive(Debug)]
pub struct Order {
    pub action: Action,
    pub done: oneshot::Sender<Result<String, String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL.
    Kill {
        hub: String,
        node: u64,
    },
    Start {
        hub: String,
        node: u64,
    },
    /// Connections from this hub to its parent are dropped and refused.
    Cut {
        child: String,
    },
    Heal {
        child: String,
    },
    /// Stops the machines, waits until all has arrived, and compares every layer.
    Audit,
}
