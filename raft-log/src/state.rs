//! The replicated state of a hub: everything that follows from the log's entries. Pure and
//! deterministic; every node that has applied the same entries holds the same bytes.
//!
//! It holds counters and positions, not records: those stay in the segment files, and
//! [`Placed`] says where.

mod cursors;
mod origins;
mod producers;
mod retained;
pub(crate) mod retention;
mod sessions;

use proto::envelope::Chain;
use proto::rpc::command::Operation;
use proto::rpc::{self, Command, Refusal, RefusalKind};
use proto::{HubPath, Incarnation, Lane, Nanos, Origin};
use serde::{Deserialize, Serialize};

use crate::refusal::refusal;
use cursors::Cursors;
use origins::Origins;
use producers::Producers;
use retained::Retained;
use retention::Retention;
use sessions::Sessions;

/// Bumped when the serialised form changes.
const FORMAT: u8 = 2;

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
        self.time = self.time.max(Nanos(command.leader_time));
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
            Operation::OpenProducer(_) => Ok(Applied::Producer(self.producers.open())),
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
                let session = self.sessions.open(open, self.time, self.next_offset);
                Ok(Applied::Session(Box::new(session)))
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
        self.producers.committed(&stamp, digest, first_offset);
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
        if envelope.retained {
            self.retained.update(&envelope.batch);
        }
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

    /// The bytes of a checkpoint.
    pub fn to_bytes(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_extend(self, vec![FORMAT])
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<State, String> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => postcard::from_bytes(rest).map_err(|e| e.to_string()),
            Some((format, _)) => Err(format!("state format {format} is not known")),
            None => Err("no state".into()),
        }
    }

    /// BLAKE3 of the state; equal on all nodes that applied the same entries.
    pub fn hash(&self) -> [u8; 32] {
        *blake3::hash(&self.to_bytes().unwrap_or_default()).as_bytes()
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
