//! The simulated machines. Each connects to its hub with a client of its own, as a real one would.

mod client;
mod fridge;
mod spindle;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proto::{HubPath, Nanos};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use client::Client;

use super::ledger::{Account, Expected};

pub(super) use fridge::Fridge;
pub(super) use spindle::Spindle;

/// Both kinds of machine publish at 10 Hz: the one values, the other blocks of samples.
pub(super) const TICK: Duration = Duration::from_nanos(TICK_NANOS);
const TICK_NANOS: u64 = 100_000_000;

/// What a machine measures; knows nothing of the network.
pub(super) trait Source: Send + 'static {
    /// All topics below the machine's place in the Unified Namespace.
    fn topics(&self) -> Vec<String>;

    /// What is measured at the n-th tick of a measurement that began at `start`.
    fn tick(&mut self, number: u64, start: Nanos) -> Vec<Sample>;
}

/// One message that is to be published.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    /// Into [`Source::topics`].
    pub(super) topic: usize,
    pub(super) time: Nanos,
    pub(super) payload: Vec<u8>,
    pub(super) value: Expected,
}

/// The machines that run, and their accounts.
#[derive(Debug)]
pub(super) struct Machines {
    accounts: Vec<Arc<Account>>,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Machines {
    pub(super) fn new() -> Machines {
        let stop = CancellationToken::new();
        Machines {
            accounts: Vec::new(),
            tasks: JoinSet::new(),
            stop,
        }
    }

    /// Connects a machine to the first of a hub's brokers; it goes on to the next when that one is
    /// lost.
    pub(super) fn add(
        &mut self,
        name: &str,
        hub: &HubPath,
        brokers: Vec<SocketAddr>,
        source: impl Source,
    ) {
        let place = format!("umh/v1/{}/{name}", hub.as_str().replace('.', "/"));
        let topics = source
            .topics()
            .iter()
            .map(|topic| format!("{place}/{topic}"))
            .collect();
        let account = Arc::new(Account::new(name, hub.clone(), topics));
        let client = Client::new(Arc::clone(&account), brokers);
        self.accounts.push(account);
        self.tasks.spawn(run(client, source, self.stop.clone()));
    }

    pub(super) fn accounts(&self) -> &[Arc<Account>] {
        &self.accounts
    }

    pub(super) fn account(&self, machine: &str) -> Option<&Arc<Account>> {
        self.accounts
            .iter()
            .find(|account| account.machine == machine)
    }

    /// Nothing new is measured; what is under way is still acknowledged.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until each machine has an acknowledgement for all it has published.
    pub(super) async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn run(client: Client, source: impl Source, stop: CancellationToken) {
    let (publisher, connection) = client.split();
    let publishing = async move {
        measure(&publisher, source, &stop).await;
        publisher.finish().await;
    };
    tokio::join!(publishing, connection.run());
}

/// A machine that was held up goes on where it was: no measurement is left out.
async fn measure(publisher: &client::Publisher, mut source: impl Source, stop: &CancellationToken) {
    let now = Nanos::now();
    // Payloads carry milliseconds.
    let start = Nanos(now.0 - now.0 % 1_000_000);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        for sample in source.tick(number, start) {
            tokio::select! {
                () = publisher.publish(sample) => {}
                () = stop.cancelled() => return,
            }
        }
    }
}

/// The time of the n-th tick.
fn time_of(number: u64, start: Nanos) -> Nanos {
    let nanos = number.saturating_mul(TICK_NANOS);
    Nanos(start.0.saturating_add_unsigned(nanos))
}
