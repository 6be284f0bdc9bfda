//! What is under way to the parent on one lane, and how far the cursor may move. Pure: it takes
//! deliveries and acknowledgements and says what to do.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use proto::Origin;
use proto::envelope::MAX_UNACKNOWLEDGED;
use proto::rpc::{Ack, Delivery, Envelope, OriginState, StatusResponse, TailResponse};
use raft_log::trace::Stage;

use crate::error::Ended;

/// Between a parent's welcome and the end of the connection.
#[derive(Debug)]
pub(crate) struct Window {
    scopes: BTreeSet<String>,
    /// What the parent holds of each origin, and its chain's head there.
    parent: HashMap<Origin, (u64, Vec<u8>)>,
    /// In the order of the log.
    pending: VecDeque<Pending>,
    unacknowledged: usize,
    /// Everything below is accounted for at the parent.
    cursor: u64,
}

/// An envelope the cursor has not passed.
#[derive(Debug)]
struct Pending {
    origin: Origin,
    end_sequence: u64,
    end_offset: u64,
    state: State,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Sent,
    /// The parent has it, if its history is ours: shown when the chains meet.
    Unverified,
    Done,
}

impl Window {
    pub(crate) fn new(
        cursor: u64,
        scopes: BTreeSet<String>,
        parent: &[OriginState],
    ) -> Result<Window, Ended> {
        let mut known = HashMap::new();
        for state in parent {
            let origin = origin(state.origin.as_ref())?;
            known.insert(origin, (state.next_sequence, state.chain.to_vec()));
        }
        Ok(Window {
            scopes,
            parent: known,
            pending: VecDeque::new(),
            unacknowledged: 0,
            cursor,
        })
    }

    pub(crate) fn has_room(&self) -> bool {
        self.unacknowledged < MAX_UNACKNOWLEDGED
    }

    pub(crate) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Takes a delivery of the log; returns the envelope to send, if it is to be sent.
    pub(crate) fn take(
        &mut self,
        delivery: Delivery,
        now: Instant,
    ) -> Result<Option<Envelope>, Ended> {
        let envelope = delivery.envelope.unwrap_or_default();
        let stage = Stage::began(&envelope.digest, now);
        let origin = origin(envelope.origin.as_ref())?;
        let (first, end) = (envelope.first_sequence, envelope.end_sequence());
        let end_offset = delivery.offset + u64::from(envelope.count);
        let (held, chain) = self
            .parent
            .get(&origin)
            .map_or((0, &[][..]), |(next, chain)| (*next, &chain[..]));
        let fork = |what: String| Ended::Forked {
            origin: origin.to_string(),
            what,
        };
        if first >= held {
            self.push(origin, end, end_offset, sent(), stage);
            return Ok(Some(self.in_scope(envelope)));
        }
        if end > held {
            return Err(fork(format!(
                "the parent's history ends at {held}, within a batch"
            )));
        }
        let meets = end == held;
        if meets && delivery.chain[..] != *chain {
            return Err(fork(format!("the hash chains differ before {held}")));
        }
        self.push(origin.clone(), end, end_offset, State::Unverified, stage);
        if meets {
            self.verified(&origin);
        }
        Ok(None)
    }

    /// A batch whose scope does not leave the hub goes up without its records (I4).
    fn in_scope(&self, envelope: Envelope) -> Envelope {
        if envelope.carries_data() && !self.scopes.contains(&envelope.scope) {
            envelope.withheld()
        } else {
            envelope
        }
    }

    fn push(
        &mut self,
        origin: Origin,
        end_sequence: u64,
        end_offset: u64,
        state: State,
        stage: Stage,
    ) {
        self.unacknowledged += usize::from(state == State::Sent);
        self.pending.push_back(Pending {
            origin,
            end_sequence,
            end_offset,
            state,
            stage,
        });
        #[cfg(feature = "sabotage")]
        self.advance();
    }

    fn verified(&mut self, origin: &Origin) {
        for pending in &mut self.pending {
            if pending.state == State::Unverified && pending.origin == *origin {
                pending.state = State::Done;
            }
        }
        self.advance();
    }

    /// Takes the parent's acknowledgement; returns the envelopes that it covers.
    pub(crate) fn acknowledged(&mut self, ack: &Ack) -> Result<Vec<Stage>, Ended> {
        let origin = origin(ack.origin.as_ref())?;
        let mut covered = Vec::new();
        for pending in &mut self.pending {
            if pending.state == State::Sent
                && pending.origin == origin
                && pending.end_sequence <= ack.next_sequence
            {
                pending.state = State::Done;
                covered.push(pending.stage.clone());
            }
        }
        self.unacknowledged -= covered.len();
        self.advance();
        Ok(covered)
    }

    fn advance(&mut self) {
        while self
            .pending
            .front()
            .is_some_and(|pending| pending.state == State::Done)
        {
            if let Some(done) = self.pending.pop_front() {
                self.cursor = self.cursor.max(done.end_offset);
            }
        }
    }

    /// The log was read up to here; what was passed over is of other lanes.
    pub(crate) fn read_to(&mut self, response: &TailResponse) {
        if self.pending.is_empty() {
            self.cursor = self.cursor.max(response.next_offset);
        }
    }
}

/// What an envelope is once it is on its way. A control of the tests takes it for acknowledged, as
/// it must never be.
fn sent() -> State {
    #[cfg(feature = "sabotage")]
    if raft_log::sabotage::active("cursor-before-ack") {
        return State::Done;
    }
    State::Sent
}

/// The fork that shows when the parent holds more of what this hub gave birth to than the hub does
/// itself. An earlier incarnation of the hub, and hubs below, may rightly be unknown here.
pub(crate) fn ahead(parent: &[OriginState], own: &StatusResponse) -> Result<Option<Ended>, Ended> {
    for held in parent {
        let origin = origin(held.origin.as_ref())?;
        if origin.hub.as_str() != own.hub || origin.incarnation.to_bytes() != own.incarnation {
            continue;
        }
        let known = own.origins.iter().find(|state| state.origin == held.origin);
        let known = known.map_or(0, |state| state.next_sequence);
        if held.next_sequence > known {
            let what = format!(
                "the parent holds {} records, this hub {known}",
                held.next_sequence
            );
            return Ok(Some(Ended::Forked {
                origin: origin.to_string(),
                what,
            }));
        }
    }
    Ok(None)
}

fn origin(message: Option<&proto::rpc::Origin>) -> Result<Origin, Ended> {
    let missing = proto::rpc::Origin::default();
    Origin::try_from(message.unwrap_or(&missing))
        .map_err(|error| Ended::Unreachable(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proto::envelope::Chain;
    use proto::{Batch, Incarnation, Lane, Nanos, Record, Scope};

    use super::*;

    fn own() -> Origin {
        Origin {
            hub: "acme.edge".parse().unwrap(),
            incarnation: Incarnation(1),
            lane: Lane::Normal,
        }
    }

    /// Two records each, of one origin, at dense offsets.
    fn deliveries(count: u64, scope: &str) -> Vec<Delivery> {
        let mut chain = Chain::default();
        (0..count)
            .map(|number| {
                let record = |n: i64| Record::message("a", format!("{number}"), Nanos(n));
                let batch = Batch::encode(&[record(1), record(2)]).unwrap();
                let mut envelope =
                    Envelope::birth(&batch, Lane::Normal, &Scope(scope.into()), false);
                envelope.origin = Some((&own()).into());
                envelope.first_sequence = 2 * number;
                chain = chain.next(2 * number, 2, &envelope.digest);
                Delivery {
                    offset: 10 + 2 * number,
                    leader_time: 0,
                    chain: chain.to_bytes(),
                    envelope: Some(envelope),
                }
            })
            .collect()
    }

    fn parent(next_sequence: u64, chain: &[u8]) -> Vec<OriginState> {
        let chain = chain.to_vec().into();
        vec![OriginState {
            origin: Some((&own()).into()),
            next_sequence,
            chain,
        }]
    }

    fn window(parent: &[OriginState]) -> Window {
        Window::new(10, BTreeSet::from(["up".to_owned()]), parent).unwrap()
    }

    fn ack(next_sequence: u64) -> Ack {
        Ack {
            origin: Some((&own()).into()),
            next_sequence,
        }
    }

    /// I2: the cursor waits for the parent's acknowledgement.
    #[test]
    fn the_cursor_moves_with_the_acknowledgements() {
        let mut window = window(&[]);
        for delivery in deliveries(3, "up") {
            assert!(window.take(delivery, Instant::now()).unwrap().is_some());
        }
        assert_eq!(window.cursor(), 10);
        assert_eq!(window.acknowledged(&ack(2)).unwrap().len(), 1);
        assert_eq!(window.cursor(), 12);
        assert_eq!(window.acknowledged(&ack(6)).unwrap().len(), 2);
        assert_eq!(window.cursor(), 16);
        window.read_to(&TailResponse {
            end_offset: 40,
            deliveries: vec![],
            next_offset: 40,
            first_offset: 0,
        });
        assert_eq!(window.cursor(), 40);
    }

    #[test]
    fn the_window_is_bounded() {
        let mut window = window(&[]);
        let all = deliveries(MAX_UNACKNOWLEDGED as u64, "up");
        for delivery in all {
            assert!(window.has_room());
            window.take(delivery, Instant::now()).unwrap();
        }
        assert!(!window.has_room());
        window.acknowledged(&ack(2)).unwrap();
        assert!(window.has_room());
    }

    #[test]
    fn what_the_parent_has_is_not_sent_again() {
        let all = deliveries(3, "up");
        let mut window = window(&parent(4, &all[1].chain));
        assert!(
            window
                .take(all[0].clone(), Instant::now())
                .unwrap()
                .is_none()
        );
        assert_eq!(
            window.cursor(),
            10,
            "not before the chains were seen to meet"
        );
        assert!(
            window
                .take(all[1].clone(), Instant::now())
                .unwrap()
                .is_none()
        );
        assert_eq!(window.cursor(), 14);
        assert!(
            window
                .take(all[2].clone(), Instant::now())
                .unwrap()
                .is_some()
        );
        assert_eq!(window.cursor(), 14);
    }

    #[test]
    fn another_history_is_a_fork() {
        let all = deliveries(2, "up");
        for parent in [parent(2, &[7; 32]), parent(1, &all[0].chain)] {
            let mut window = window(&parent);
            let error = window.take(all[0].clone(), Instant::now()).unwrap_err();
            assert!(matches!(error, Ended::Forked { .. }), "{error}");
            assert_eq!(window.cursor(), 10);
        }
    }

    fn status(incarnation: Incarnation, origins: Vec<OriginState>) -> StatusResponse {
        StatusResponse {
            hub: own().hub.to_string(),
            incarnation: incarnation.to_bytes(),
            origins,
            ..Default::default()
        }
    }

    #[test]
    fn a_parent_that_holds_more_shows_that_data_was_lost_here() {
        let all = deliveries(3, "up");
        let held = parent(6, &all[2].chain);
        let hub = status(own().incarnation, held.clone());
        assert!(ahead(&parent(4, &all[1].chain), &hub).unwrap().is_none());
        assert!(ahead(&held, &hub).unwrap().is_none());
        let fork = ahead(&parent(8, &[7; 32]), &hub).unwrap().unwrap();
        assert!(fork.to_string().contains("8 records, this hub 6"), "{fork}");
        assert!(
            ahead(&held, &status(own().incarnation, vec![]))
                .unwrap()
                .is_some()
        );
    }

    /// A hub that was formed anew, after its disk was lost, goes on under a new incarnation.
    #[test]
    fn what_the_parent_holds_of_an_earlier_incarnation_is_no_fork() {
        let held = parent(6, &[7; 32]);
        assert!(
            ahead(&held, &status(Incarnation(99), vec![]))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn another_scope_is_withheld_and_accounted_for() {
        let mut window = window(&[]);
        let delivery = deliveries(1, "local").remove(0);
        let sent = window
            .take(delivery.clone(), Instant::now())
            .unwrap()
            .unwrap();
        assert!(!sent.carries_data() && sent.batch.is_empty());
        assert_eq!(sent.digest, delivery.envelope.unwrap().digest);
    }
}
