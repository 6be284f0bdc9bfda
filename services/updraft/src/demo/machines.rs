//! The simulated machines. Each connects to its hub with a client of its own, as a real one would.

mod client;
mod fridge;
mod spindle;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use proto::{HubPath, Nanos};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
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
    gate: Gate,
}

/// Who holds it for reading measures; who holds it for writing keeps the machines from measuring,
/// and counts how often that was done.
type Gate = Arc<RwLock<u64>>;

/// As long as it lives, nothing is measured.
#[derive(Debug)]
pub(super) struct Pause(#[allow(dead_code, reason = "held, not read")] OwnedRwLockWriteGuard<u64>);

/// Pauses the machines; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Switch(Gate);

impl Switch {
    /// Waits until no machine is in the middle of a measurement.
    pub(super) async fn pause(&self) -> Pause {
        let mut pauses = Arc::clone(&self.0).write_owned().await;
        *pauses += 1;
        Pause(pauses)
    }
}

impl Machines {
    pub(super) fn new() -> Machines {
        Machines {
            accounts: Vec::new(),
            tasks: JoinSet::new(),
            stop: CancellationToken::new(),
            gate: Gate::default(),
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
        let (gate, stop) = (Arc::clone(&self.gate), self.stop.clone());
        self.tasks.spawn(run(client, source, gate, stop));
    }

    pub(super) fn accounts(&self) -> &[Arc<Account>] {
        &self.accounts
    }

    pub(super) fn switch(&self) -> Switch {
        Switch(Arc::clone(&self.gate))
    }

    /// Nothing new is measured from then on; what is under way is still acknowledged.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        self.switch().pause().await;
    }

    /// Whether one has stopped because its account is full.
    pub(super) fn is_one_full(&self) -> bool {
        self.accounts.iter().any(|account| account.is_full())
    }

    /// Waits until each machine has an acknowledgement for all it has published.
    pub(super) async fn ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn run(client: Client, source: impl Source, gate: Gate, stop: CancellationToken) {
    let (publisher, connection) = client.split();
    let publishing = async move {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = measure(&publisher, source, &gate) => {}
        }
        publisher.finish().await;
    };
    tokio::join!(publishing, connection.run());
}

/// A machine that was held up goes on where it was: no measurement is left out. After a pause it
/// goes on with the present: what passed meanwhile was not measured.
async fn measure(publisher: &client::Publisher, mut source: impl Source, gate: &Gate) {
    let now = Nanos::now();
    // Payloads carry milliseconds.
    let start = Nanos(now.0 - now.0 % 1_000_000);
    let began = Instant::now();
    let mut ticks = interval_at(began, TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut pauses = *gate.read().await;
    let mut number: u32 = 0;
    loop {
        ticks.tick().await;
        let open = gate.read().await;
        if *open != pauses {
            pauses = *open;
            number = number.max(ticks_within(began.elapsed()) + 1);
            ticks.reset_at(began + TICK * number);
            continue;
        }
        if publisher.is_full() {
            drop(open);
            return std::future::pending().await;
        }
        for sample in source.tick(number.into(), start) {
            publisher.publish(sample).await;
        }
        number += 1;
    }
}

fn ticks_within(elapsed: Duration) -> u32 {
    u32::try_from(elapsed.as_nanos() / TICK.as_nanos()).unwrap_or(u32::MAX - 1)
}

/// The time of the n-th tick.
fn time_of(number: u64, start: Nanos) -> Nanos {
    let nanos = number.saturating_mul(TICK_NANOS);
    Nanos(start.0.saturating_add_unsigned(nanos))
}
