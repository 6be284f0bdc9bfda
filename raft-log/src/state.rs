//! The replicated state of a hub: everything that follows from the log's entries. Pure and
//! deterministic; every node that has applied the same entries holds the same bytes.
//!
//! It holds counters, positions and the newest small value of each topic, not records: those stay in
//! the segment files, and [`Placed`] says where.
//!
//! What applying may depend on: the command and the state. No clock but the leader time, no order of
//! a hash map, no floating point. Replicas compare their hashes (`node::compare`), and one that
//! differs is stopped.

mod hash;
mod cursors;
mod origins;
mod producers;
pub(crate) mod retention;
mod sessions;
mod page;
mod retained;
mod last;

use proto::envelope::Chain;
use proto::rpc::command::Operation;
use proto::rpc::{self, Command, Refusal, RefusalKind};
use proto::{Batch, HubPath, Incarnation, Lane, Nanos, Origin};
use serde::{Deserialize, Serialize};

use crate::refusal::refusal;
use cursors::Cursors;
pub use last::Last;
use last::LastValues;
use origins::Origins;
pub use page::Page;
use producers::Producers;
pub(crate) use producers::RECENT_APPENDS;
use retained::Retained;
use retention::Retention;
use sessions::Sessions;

/// Bumped when the serialised form changes, what is hashed, or what an entry does.
pub(crate) const FORMAT: u8 = 2;
/// How often what is over is looked for, in leader time.
const SWEEP_NANOS: i64 = 10 * 1_000_000_000;
/// How often what changed is hashed; a sample of the hash is taken as often.
const SETTLE_NANOS: i64 = 1_000_000_000;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct State {
    pub hub: Option<Hub>,
    /// The highest leader time applied; never decreases.
    pub time: Nanos,
    /// Offset of the next record.
    pub next_offset: u64,
    pub origins: Origins,
    pub producers: Producers,
    pub cursors: Cursors,
    pub sessions: Sessions,
    pub retained: Retained,
    pub last_values: LastValues,
    pub retention: Retention,
}

/// Who this log belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hub {
    pub path: HubPath,
    pub incarnation: Incarnation,
}

/// Where an envelope of an entry stands among the records of the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    pub offset: u64,
    /// Which envelope of its entry.
    pub part: u32,
    pub count: u32,
    pub lane: Lane,
    pub origin_id: u32,
    pub first_sequence: u64,
    /// Head of the origin's chain after it.
    pub chain: Chain,
    pub leader_time: Nanos,
}

/// What applying an entry answers to whoever proposed it.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    Done { next_offset: u64 },
    Producer(rpc::ProducerStamp),
    Appended(rpc::Appended),
    Relayed(rpc::OriginState),
    Cursor(rpc::CursorState),
    Session(Box<rpc::SessionState>),
    Refused(Refusal),
}

impl State {
    /// Applies one command; says what to answer and which envelopes found their place.
    pub fn apply(&mut self, command: Command) -> (Applied, Vec<Placed>) {
        self.advance(Nanos(command.leader_time));
        let mut placed = Vec::new();
        let result = match command.operation {
            None => Err(refusal(
                RefusalKind::Invalid,
                "a command without an operation",
            )),
            Some(operation) => self.apply_operation(operation, &mut placed),
        };
        (result.unwrap_or_else(Applied::Refused), placed)
    }

    /// Time goes on, and what is over ends.
    fn advance(&mut self, leader_time: Nanos) {
        let before = self.time;
        self.time = self.time.max(leader_time);
        if before != Nanos::default() {
            self.sessions.passed(before, self.time);
        }
        if before.0.div_euclid(SETTLE_NANOS) != self.time.0.div_euclid(SETTLE_NANOS) {
            self.origins.settle();
            self.producers.settle();
            self.sessions.settle();
            self.retained.settle();
            self.last_values.settle();
        }
        if before.0.div_euclid(SWEEP_NANOS) != self.time.0.div_euclid(SWEEP_NANOS) {
            self.producers.expire(self.time);
            self.sessions.expire(self.time);
        }
    }

    fn apply_operation(
        &mut self,
        operation: Operation,
        placed: &mut Vec<Placed>,
    ) -> Result<Applied, Refusal> {
        let done = |state: &State| Applied::Done {
            next_offset: state.next_offset,
        };
        match operation {
            Operation::InitHub(init) => self.init(init).map(|()| done(self)),
            Operation::OpenProducer(_) => Ok(Applied::Producer(self.producers.open(self.time))),
            Operation::Append(append) => self.append(append, placed),
            Operation::Relay(relay) => self.relay(relay, placed),
            Operation::ClaimCursor(claim) => {
                self.cursors.claim(claim, self.time).map(Applied::Cursor)
            }
            Operation::CommitCursors(commit) => {
                self.cursors.commit(&commit, self.next_offset)?;
                Ok(done(self))
            }
            Operation::OpenSession(open) => {
                let session = self.sessions.open(open, self.time, self.next_offset)?;
                Ok(Applied::Session(Box::new(session)))
            }
            Operation::HoldSessions(hold) => {
                self.sessions.hold(hold, self.time);
                Ok(done(self))
            }
            Operation::UpdateSessions(updates) => {
                self.sessions.update(updates, self.time, self.next_offset)?;
                Ok(done(self))
            }
            Operation::Retain(retain) => self.retain(&retain).map(|()| done(self)),
        }
    }

    fn init(&mut self, init: rpc::InitHub) -> Result<(), Refusal> {
        let invalid = |message: String| refusal(RefusalKind::Invalid, message);
        let path: HubPath = init
            .hub
            .parse()
            .map_err(|error| invalid(format!("{error}")))?;
        let incarnation = Incarnation::from_bytes(&init.incarnation)
            .ok_or_else(|| invalid("an incarnation has 16 bytes".into()))?;
        self.hub.get_or_insert(Hub { path, incarnation });
        Ok(())
    }

    /// A producer's batches: taken whole, or refused without a trace.
    fn append(
        &mut self,
        append: rpc::Append,
        placed: &mut Vec<Placed>,
    ) -> Result<Applied, Refusal> {
        let hub = self.hub.clone().ok_or_else(not_initialised)?;
        let stamp = append.producer.unwrap_or_default();
        let digest = producers::digest(&append.envelopes);
        if let Some(first_offset) = self.producers.check(&stamp, digest)? {
            return Ok(Applied::Appended(rpc::Appended {
                first_offset,
                repeat: true,
            }));
        }
        if append.envelopes.is_empty() {
            return Err(refusal(RefusalKind::Invalid, "an append without a batch"));
        }
        for envelope in &append.envelopes {
            envelope.validate().map_err(invalid)?;
        }
        let publishes = append.publishes.iter();
        self.sessions
            .check(publishes.map(|publish| (publish.client_id.as_str(), publish.session_epoch)))?;

        let first_offset = self.next_offset;
        for (part, envelope) in (0..).zip(&append.envelopes) {
            let lane = Lane::from_number(envelope.lane).unwrap_or_default();
            let origin = Origin {
                hub: hub.path.clone(),
                incarnation: hub.incarnation,
                lane,
            };
            let first_sequence = self.origins.next_sequence(&origin);
            self.place(part, &origin, first_sequence, envelope, placed);
        }
        self.producers
            .committed(&stamp, digest, first_offset, self.time);
        self.sessions.committed(append.publishes);
        Ok(Applied::Appended(rpc::Appended {
            first_offset,
            repeat: false,
        }))
    }

    /// An envelope of a hub below: taken when it continues its origin (I4).
    fn relay(&mut self, relay: rpc::Relay, placed: &mut Vec<Placed>) -> Result<Applied, Refusal> {
        let hub = self.hub.clone().ok_or_else(not_initialised)?;
        let envelope = relay.envelope.unwrap_or_default();
        envelope.validate().map_err(invalid)?;
        let origin = Origin::try_from(&envelope.origin.clone().unwrap_or_default());
        let origin = origin.map_err(invalid)?;
        if envelope.lane != u32::from(origin.lane.number()) {
            let message = format!("lane {} in an envelope of origin {origin}", envelope.lane);
            return Err(refusal(RefusalKind::Invalid, message));
        }
        if !hub.path.covers(&origin.hub) || hub.path == origin.hub {
            let message = format!("hub {} is not below {}", origin.hub, hub.path);
            return Err(refusal(RefusalKind::Scope, message));
        }
        if self.origins.check(&origin, &envelope)? == origins::Check::Continues {
            self.place(0, &origin, envelope.first_sequence, &envelope, placed);
        }
        Ok(Applied::Relayed(self.origins.state(&origin)))
    }

    fn place(
        &mut self,
        part: u32,
        origin: &Origin,
        first_sequence: u64,
        envelope: &rpc::Envelope,
        placed: &mut Vec<Placed>,
    ) {
        let (origin_id, chain) =
            self.origins
                .extend(origin, first_sequence, envelope.count, &envelope.digest);
        self.remember(envelope);
        placed.push(Placed {
            offset: self.next_offset,
            part,
            count: envelope.count,
            lane: origin.lane,
            origin_id,
            first_sequence,
            chain,
            leader_time: self.time,
        });
        self.next_offset += u64::from(envelope.count);
    }

    /// What the records of an envelope are the newest of. A batch of a version that this program
    /// does not know changes nothing; nobody may write one before all nodes know it.
    fn remember(&mut self, envelope: &rpc::Envelope) {
        if !envelope.carries_data() {
            return;
        }
        let Ok(records) = Batch::decode(&envelope.batch) else {
            return;
        };
        self.last_values.update(&records, self.next_offset);
        if envelope.retained {
            self.retained.update(&records, self.next_offset);
        }
    }

    /// A control of the tests: a state that no entry makes.
    #[cfg(feature = "sabotage")]
    pub(crate) fn alter_if_switched_on(&mut self, node: u64) {
        if crate::sabotage::active(&format!("alter-state-{node}")) {
            let record = proto::Record::message("sabotage", node.to_string(), Nanos(0));
            self.last_values.update(&[record], 0);
        }
    }

    /// The bytes of a checkpoint.
    pub fn to_bytes(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_extend(self, vec![FORMAT])
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<State, String> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|e| e.to_string()),
            Some((format, _)) => Err(format!(
                "state format {format} is not the one of this program, {FORMAT}"
            )),
            None => Err("no state".into()),
        }
    }

    /// Equal on all nodes that applied the same entries. Costs as much as what changed within a
    /// second, whatever the state holds: see `hash`.
    pub fn hash(&self) -> [u8; 32] {
        let State {
            hub,
            time,
            next_offset,
            origins,
            producers,
            cursors,
            sessions,
            retained,
            last_values,
            retention,
        } = self;
        let counters = (hub, time, next_offset, origins.sum(), producers.sum());
        // Cursors are few, and hashed whole; so is what is said of the beginning.
        let rest = (
            cursors,
            retention,
            sessions.sum(),
            retained.sum(),
            last_values.sum(),
        );
        let bytes = postcard::to_stdvec(&(FORMAT, counters, rest)).unwrap_or_default();
        *blake3::hash(&bytes).as_bytes()
    }
}

fn not_initialised() -> Refusal {
    refusal(RefusalKind::NoQuorum, "the hub is not initialised yet")
}

fn invalid(error: proto::envelope::Invalid) -> Refusal {
    refusal(RefusalKind::Invalid, error.to_string())
}

#[cfg(test)]
mod tests;
