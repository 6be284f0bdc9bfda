//! Reading every tag of a file's collectors once, for a person who sets one up. Needs no log.

use std::time::Duration;

use futures::future::join_all;
use kit::config::{ConfigError, HubConfig};
use proto::{Nanos, Quality, Value};
use tokio::time::timeout;

use crate::config::{self, Collector, Machine};
use crate::error::Fault;
use crate::modbus::Modbus;
use crate::opcua::Opcua;
use crate::protocol::{Protocol, Reading};

/// Whatever a machine does.
const LIMIT: Duration = Duration::from_secs(60);

/// What one collector's machine said.
#[derive(Debug)]
pub struct Outcome {
    pub collector: String,
    /// One for each tag, in the order of the file; or why there is nothing.
    pub tags: Result<Vec<TagOutcome>, Fault>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TagOutcome {
    pub topic: String,
    /// In its canonical form.
    pub address: String,
    pub value: Value,
    /// As the machine calls it.
    pub kind: String,
    pub quality: Quality,
    pub source_time: Option<Nanos>,
    pub problem: Option<String>,
}

/// Asks the machines of all collectors, or of the one called `only`, at the same time.
pub async fn read_once(hub: &HubConfig, only: Option<&str>) -> Result<Vec<Outcome>, ConfigError> {
    let collectors = config::collectors(hub)?;
    let chosen = collectors
        .into_iter()
        .filter(|known| only.is_none_or(|only| only == known.name));
    Ok(join_all(chosen.map(outcome)).await)
}

async fn outcome(collector: Collector) -> Outcome {
    let (addresses, reading) = match collector.machine.clone() {
        Machine::Opcua(settings) => {
            let addresses = settings.tags.iter().map(ToString::to_string).collect();
            (addresses, read(Opcua::new(settings)).await)
        }
        Machine::Modbus(settings) => {
            let addresses = settings.addresses().map(ToString::to_string).collect();
            (addresses, read(Modbus::new(settings)).await)
        }
    };
    Outcome {
        collector: collector.name,
        tags: reading.map(|readings| tags(collector.topics, addresses, readings)),
    }
}

async fn read(mut protocol: impl Protocol) -> Result<Vec<Reading>, Fault> {
    timeout(LIMIT, protocol.read_once())
        .await
        .unwrap_or_else(|_| {
            Err(Fault::Connection {
                address: "the machine".into(),
                reason: "not read within a minute".into(),
            })
        })
}

fn tags(topics: Vec<String>, addresses: Vec<String>, readings: Vec<Reading>) -> Vec<TagOutcome> {
    let each = topics.into_iter().zip(addresses).zip(readings);
    each.map(|((topic, address), reading)| TagOutcome {
        topic,
        address,
        value: reading.sample.value,
        kind: reading.kind,
        quality: reading.sample.quality,
        source_time: reading.sample.source_time,
        problem: reading.problem,
    })
    .collect()
}
