//! The connection to a device and its polls.

use std::collections::VecDeque;
use std::time::Duration;

use kit::config::{HostPort, ModbusConfig};
use proto::{Nanos, Quality};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_modbus::client::{Context, Reader, tcp};
use tokio_modbus::{ExceptionCode, Slave};
use tracing::{info, warn};

use super::address::{Address, Table};
use super::decode::{Words, decode};
use super::plan::{Block, Plan, Refused};
use crate::error::Fault;
use crate::link::Link;
use crate::protocol::{Protocol, Reading};
use crate::sample::{Sample, quality};

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    address: HostPort,
    unit: u8,
    every: Duration,
    timeout: Duration,
    tags: Vec<Address>,
}

impl Settings {
    pub(crate) fn new(section: &ModbusConfig, tags: Vec<Address>) -> Settings {
        Settings {
            address: section.address.value.clone(),
            unit: *section.unit,
            every: *section.every,
            timeout: *section.timeout,
            tags,
        }
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.tags.iter()
    }
}

#[derive(Debug)]
pub(crate) struct Modbus {
    settings: Settings,
    /// What was said last about each tag: nothing, a value, or why there is none.
    told: Vec<Option<Quality>>,
    connections: u64,
}

/// What came of one block.
enum Answer {
    Bits(Vec<bool>),
    Registers(Vec<u16>),
    Refused(ExceptionCode),
}

/// A tag's value, or the device's reason not to give it.
type Value = Result<proto::Value, ExceptionCode>;

impl Modbus {
    pub(crate) fn new(settings: Settings) -> Modbus {
        let told = vec![None; settings.tags.len()];
        Modbus {
            settings,
            told,
            connections: 0,
        }
    }

    fn fault(&self, reason: impl ToString) -> Fault {
        Fault::Connection {
            address: self.settings.address.to_string(),
            reason: reason.to_string(),
        }
    }

    async fn connect(&self) -> Result<Context, Fault> {
        let address = &self.settings.address;
        let stream = TcpStream::connect((address.host(), address.port()));
        let stream = timeout(self.settings.timeout, stream)
            .await
            .map_err(|_| self.fault("no connection within the time-out"))?
            .map_err(|error| self.fault(error))?;
        // Requests are small and wait for their answers.
        stream
            .set_nodelay(true)
            .map_err(|error| self.fault(error))?;
        Ok(tcp::attach_slave(stream, Slave(self.settings.unit)))
    }

    /// Any error ends the connection: the answer may still come, and must not be taken for that
    /// of the next request.
    async fn read(&self, device: &mut Context, block: &Block) -> Result<Answer, Fault> {
        let (offset, len) = (block.offset, block.len);
        let what = format!("reading {}.{offset} and {len} in all", block.table.name());
        let answer = timeout(self.settings.timeout, ask(device, block))
            .await
            .map_err(|_| self.fault(format!("{what}: no answer within the time-out")))?;
        let answer = answer.map_err(|error| self.fault(format!("{what}: {error}")))?;
        let got = match &answer {
            Answer::Bits(bits) => bits.len(),
            Answer::Registers(registers) => registers.len(),
            Answer::Refused(_) => return Ok(answer),
        };
        if got < usize::from(len) {
            return Err(self.fault(format!("{what}: the device gave {got} only")));
        }
        Ok(answer)
    }

    /// Reads all that is due; a fault ends the poll.
    async fn poll(
        &self,
        device: &mut Context,
        plan: &mut Plan,
    ) -> Result<Vec<(usize, Nanos, Value)>, Fault> {
        let mut values = Vec::new();
        let mut blocks: VecDeque<Block> = plan.due(Instant::now());
        while let Some(block) = blocks.pop_front() {
            let answer = self.read(device, &block).await?;
            let now = Nanos::now();
            match answer {
                Answer::Refused(exception) => {
                    match plan.refused(&block, is_of_an_address(exception), Instant::now()) {
                        Refused::Split(parts) => {
                            parts
                                .into_iter()
                                .rev()
                                .for_each(|part| blocks.push_front(part));
                        }
                        Refused::Tags(tags) => {
                            values.extend(tags.into_iter().map(|tag| (tag, now, Err(exception))));
                        }
                    }
                }
                answer => {
                    plan.accepted(&block);
                    let value = |tag: &usize| (*tag, now, Ok(value(plan, &block, *tag, &answer)));
                    values.extend(block.tags.iter().map(value));
                }
            }
        }
        Ok(values)
    }

    /// Every value is a sample; a reason not to give one is, when it is new.
    fn samples(&mut self, values: Vec<(usize, Nanos, Value)>, link: &Link) -> Vec<Sample> {
        let mut samples = Vec::with_capacity(values.len());
        for (tag, now, value) in values {
            let quality = value.as_ref().map_or_else(quality_of, |_| Quality::GOOD);
            let before = self.told[tag].replace(quality);
            let address = &self.settings.tags[tag];
            match value {
                Ok(value) => {
                    if before.is_some_and(is_of_the_tag) {
                        info!(%address, "the device gives the address again");
                    }
                    let sample = Sample::bad(tag, quality, now);
                    samples.push(Sample { value, ..sample });
                }
                Err(exception) if before != Some(quality) => {
                    warn!(%address, %exception, "the device refuses an address");
                    link.metrics.error();
                    samples.push(Sample::bad(tag, quality, now));
                }
                Err(_) => {}
            }
        }
        let bad = self
            .told
            .iter()
            .flatten()
            .filter(|told| is_of_the_tag(**told));
        link.metrics.bad_tags(bad.count());
        samples
    }

    /// One sample for each tag that had another state: its value is not known any more.
    fn silent(&mut self) -> Vec<Sample> {
        let now = Nanos::now();
        let quality = quality::NO_COMMUNICATION;
        let mut samples = Vec::new();
        for (tag, told) in self.told.iter_mut().enumerate() {
            if told.replace(quality) != Some(quality) {
                samples.push(Sample::bad(tag, quality, now));
            }
        }
        samples
    }

    async fn collect(&mut self, link: &mut Link) -> Result<(), Fault> {
        let mut device = self.connect().await?;
        let mut plan = Plan::new(self.settings.tags.clone());
        let mut ticks = interval(self.settings.every);
        // After a long poll: not all at once what was missed.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut first = true;
        loop {
            ticks.tick().await;
            let values = self.poll(&mut device, &mut plan).await?;
            if std::mem::take(&mut first) {
                self.connections += 1;
                if self.connections > 1 {
                    link.metrics.reconnected();
                }
                link.connected();
            }
            let samples = self.samples(values, link);
            link.deliver(samples).await;
        }
    }
}

impl Protocol for Modbus {
    async fn run(&mut self, link: &mut Link) -> Fault {
        let shutdown = link.shutdown.clone();
        let ended = tokio::select! {
            ended = self.collect(link) => ended,
            () = shutdown.cancelled() => return Fault::Shutdown,
        };
        let samples = self.silent();
        if !samples.is_empty() {
            link.deliver(samples).await;
        }
        ended.err().unwrap_or(Fault::Shutdown)
    }

    async fn read_once(&mut self) -> Result<Vec<Reading>, Fault> {
        let mut device = self.connect().await?;
        let mut plan = Plan::new(self.settings.tags.clone());
        let mut values = self.poll(&mut device, &mut plan).await?;
        // Best effort: what was asked for is here.
        let _ = timeout(
            self.settings.timeout,
            tokio_modbus::client::Client::disconnect(&mut device),
        )
        .await;
        values.sort_by_key(|(tag, ..)| *tag);
        let reading = |(tag, now, value): (usize, Nanos, Value)| {
            let quality = value.as_ref().map_or_else(quality_of, |_| Quality::GOOD);
            let sample = Sample::bad(tag, quality, now);
            let (value, problem) = match value {
                Ok(value) => (value, None),
                Err(exception) => (proto::Value::Null, Some(exception.to_string())),
            };
            Reading {
                kind: kind(&self.settings.tags[tag]),
                sample: Sample { value, ..sample },
                problem,
            }
        };
        Ok(values.into_iter().map(reading).collect())
    }
}

async fn ask(device: &mut Context, block: &Block) -> Result<Answer, tokio_modbus::Error> {
    let (offset, len) = (block.offset, block.len);
    Ok(match block.table {
        Table::Coil => bits(device.read_coils(offset, len).await?),
        Table::Discrete => bits(device.read_discrete_inputs(offset, len).await?),
        Table::Input => registers(device.read_input_registers(offset, len).await?),
        Table::Holding => registers(device.read_holding_registers(offset, len).await?),
    })
}

fn bits(answer: Result<Vec<bool>, ExceptionCode>) -> Answer {
    answer.map_or_else(Answer::Refused, Answer::Bits)
}

fn registers(answer: Result<Vec<u16>, ExceptionCode>) -> Answer {
    answer.map_or_else(Answer::Refused, Answer::Registers)
}

/// The read was checked to be as long as the block.
fn value(plan: &Plan, block: &Block, tag: usize, answer: &Answer) -> proto::Value {
    let address = &plan.addresses()[tag];
    let range = block.range(address);
    let words = match answer {
        Answer::Bits(bits) => bits.get(range).map(Words::Bits),
        Answer::Registers(registers) => registers.get(range).map(Words::Registers),
        Answer::Refused(_) => None,
    };
    words.map_or(proto::Value::Null, |words| decode(address, words))
}

/// A device that has no such address needs another file; one that can't now may later.
fn quality_of(exception: &ExceptionCode) -> Quality {
    match exception {
        ExceptionCode::IllegalFunction
        | ExceptionCode::IllegalDataAddress
        | ExceptionCode::IllegalDataValue => quality::CONFIGURATION,
        _ => quality::DEVICE_FAILURE,
    }
}

/// Whether one address among others may be why a block was refused. Some devices say "failure" to
/// what they don't have.
fn is_of_an_address(exception: ExceptionCode) -> bool {
    matches!(
        exception,
        ExceptionCode::IllegalDataAddress
            | ExceptionCode::IllegalDataValue
            | ExceptionCode::ServerDeviceFailure
    )
}

/// Bad, and not because the whole device is away.
fn is_of_the_tag(quality: Quality) -> bool {
    !quality.is_good() && quality != quality::NO_COMMUNICATION
}

fn kind(address: &Address) -> String {
    match address.array {
        Some(count) => format!("{}[{count}]", address.kind.name()),
        None => address.kind.name().to_owned(),
    }
}
