//! Whatever happens, replicas that applied the same commands are equal: in bytes, in hash and in
//! what they answer, also when one of them was restored from a checkpoint in between.

use proptest::prelude::*;
use proto::record::Flags;
use proto::{Quality, Value};

use super::*;

/// A step of a run, in numbers; [`Run::command`] makes a command of it.
#[derive(Clone, Debug)]
struct Step {
    nanos: i64,
    what: u8,
    who: u8,
    number: u64,
    records: Vec<(u8, u8, u8)>,
    /// The second replica is restored from its own bytes first.
    restore: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let second = 1_000_000_000_i64;
    let nanos = prop_oneof![
        6 => 0..second,
        2 => second..60 * second,
        1 => -5 * second..0,
        1 => Just(producers::IDLE_NANOS),
    ];
    let records = prop::collection::vec((0u8..12, 0u8..10, 0u8..4), 0..6);
    let step = (
        nanos,
        0u8..10,
        0u8..4,
        0u64..80,
        records,
        prop::bool::weighted(0.1),
    );
    let step = step.prop_map(|(nanos, what, who, number, records, restore)| Step {
        nanos,
        what,
        who,
        number,
        records,
        restore,
    });
    prop::collection::vec(step, 1..120)
}

fn record((topic, value, flags): (u8, u8, u8)) -> Record {
    let value = match value {
        0 => Value::Null,
        1 => Value::Bool(true),
        2 => Value::I64(-7),
        3 => Value::U64(u64::MAX),
        4 => Value::F64(f64::NAN),
        5 => Value::F64(-0.0),
        6 => Value::Text("text".into()),
        7 => Value::Payload(vec![3; 2000].into()),
        8 => Value::Payload(Default::default()),
        _ => Value::Payload("small".into()),
    };
    Record {
        topic: format!("t/{topic}"),
        source_time: (flags > 1).then_some(Nanos(9)),
        receive_time: Nanos(i64::from(topic)),
        value,
        quality: Quality(u32::from(flags)),
        flags: Flags::new(flags % 2 == 1, 1),
        headers: Vec::new(),
    }
}

#[derive(Default)]
struct Run {
    time: i64,
    /// Next sequence of each producer that was opened.
    sequences: Vec<u64>,
    relayed: u64,
    epoch: u64,
}

impl Run {
    fn command(&mut self, step: &Step) -> Command {
        self.time = (self.time + step.nanos).max(1);
        Command {
            leader_time: self.time,
            operation: Some(self.operation(step)),
        }
    }

    fn operation(&mut self, step: &Step) -> Operation {
        let client_id = format!("client-{}", step.who);
        let holder = format!("node {}", step.who % 2);
        match step.what {
            0 => {
                self.sequences.push(0);
                Operation::OpenProducer(Default::default())
            }
            1..=3 => self.append(step, client_id),
            4 => self.relay(step),
            5 => Operation::ClaimCursor(rpc::ClaimCursor {
                name: format!("cursor-{}", step.who),
                holder,
                lease_nanos: 10_000_000_000,
                pinning: step.number.is_multiple_of(2),
            }),
            6 => {
                let position = rpc::CursorPosition {
                    name: format!("cursor-{}", step.who),
                    epoch: 1 + step.number % 2,
                    next_offset: step.number,
                };
                let cursors = vec![position];
                Operation::CommitCursors(rpc::CommitCursors { cursors })
            }
            7 => {
                self.epoch += 1;
                Operation::OpenSession(OpenSession {
                    client_id,
                    holder,
                    clean: step.number.is_multiple_of(3),
                    expiry_seconds: u32::try_from(step.number).unwrap(),
                    lease_nanos: 20_000_000_000,
                    expected_epoch: step.number.is_multiple_of(5).then_some(step.number % 7),
                    attempt: step.number,
                })
            }
            8 => Operation::HoldSessions(rpc::HoldSessions {
                holder,
                lease_nanos: 20_000_000_000,
            }),
            _ => self.update(step, client_id),
        }
    }

    fn append(&mut self, step: &Step, client_id: String) -> Operation {
        let producer = (step.number % 5) as usize;
        let next = self.sequences.get_mut(producer);
        let sequence = match (next, step.number % 8) {
            (Some(next), 0) => next.saturating_sub(1),
            (Some(next), 1) => next.saturating_sub(70),
            (Some(next), 2) => *next + 1,
            (Some(next), _) => {
                *next += 1;
                *next - 1
            }
            (None, _) => 0,
        };
        let records: Vec<Record> = step.records.iter().copied().map(record).collect();
        let retained = records.iter().any(|record| record.flags.retain());
        let batch = Batch::encode(&records).ok();
        let envelope =
            batch.map(|batch| Envelope::birth(&batch, Lane::Normal, &Scope::up(), retained));
        let publish = SessionPublish {
            client_id,
            session_epoch: self.epoch,
            packet_id: 1 + u32::from(step.who),
            digest: step.number,
        };
        Operation::Append(Append {
            producer: Some(ProducerStamp {
                producer_id: proto::ProducerId(producer as u128 + 1).to_bytes(),
                epoch: 0,
                sequence,
            }),
            envelopes: envelope.into_iter().collect(),
            publishes: (step.number % 4 == 3)
                .then_some(publish)
                .into_iter()
                .collect(),
        })
    }

    fn relay(&mut self, step: &Step) -> Operation {
        let text = step.number.to_string();
        let relayed = relayed(
            envelope(&text, Lane::Normal),
            "acme.cologne.press",
            self.relayed,
        );
        if !step.number.is_multiple_of(4) {
            self.relayed += 2;
        }
        relayed
    }

    fn update(&mut self, step: &Step, client_id: String) -> Operation {
        let subscription = rpc::Subscription {
            filter: format!("f/{}", step.number % 3),
            ..Default::default()
        };
        let update = rpc::SessionUpdate {
            client_id,
            session_epoch: self.epoch,
            subscribe: vec![subscription],
            unsubscribe: vec!["f/1".into()],
            acknowledged_offset: Some(step.number),
            closed: step.number.is_multiple_of(2),
            end: step.number.is_multiple_of(11),
        };
        let sessions = vec![update];
        Operation::UpdateSessions(rpc::UpdateSessions { sessions })
    }
}

fn restored(state: &State) -> State {
    State::from_bytes(&state.to_bytes().unwrap()).unwrap()
}

proptest! {
    #[test]
    fn replicas_are_equal(steps in steps()) {
        let (mut one, mut other, mut run) = (hub(), hub(), Run::default());
        for step in &steps {
            if step.restore {
                other = restored(&other);
            }
            let command = run.command(step);
            let answers = (one.apply(command.clone()), other.apply(command));
            prop_assert_eq!(&answers.0, &answers.1);
            prop_assert_eq!(one.hash(), other.hash());
        }
        let bytes = one.to_bytes().unwrap();
        prop_assert_eq!(&bytes, &other.to_bytes().unwrap());
        // What was kept up to date is what the contents come to.
        prop_assert_eq!(restored(&one).hash(), one.hash());
        let page = |state: &State| state.last_values.page(&[], None, usize::MAX);
        prop_assert_eq!(format!("{:?}", page(&one)), format!("{:?}", page(&other)));
    }

    /// A command that changes what is stored changes the hash.
    #[test]
    fn no_change_is_without_its_hash(steps in steps()) {
        let (mut state, mut run) = (hub(), Run::default());
        let mut before = (state.to_bytes().unwrap(), state.hash());
        for step in &steps {
            state.apply(run.command(step));
            let after = (state.to_bytes().unwrap(), state.hash());
            prop_assert_eq!(before.0 == after.0, before.1 == after.1);
            before = after;
        }
    }
}
