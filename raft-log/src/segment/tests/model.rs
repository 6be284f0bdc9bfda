//! Random work, power cuts and failing disks, against a model that is a vector.
//!
//! Requests are carried out in order, so what a start finds must be the log after some number
//! of them, at least those that were acknowledged; of the append that follows there may be a
//! beginning. That rules out holes, altered frames and forgotten votes at once.

use std::collections::BTreeSet;
use std::fmt;
use std::io::ErrorKind;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use futures::executor::block_on;
use proptest::prelude::*;

use super::super::{Error, Frame, LogPosition, Options, Recovered, Segments};
use super::faulty::FaultyDisk;
use super::{frames, open, options, read_all, try_open};

#[derive(Debug, Clone)]
enum Step {
    Append {
        count: u64,
        bytes: usize,
    },
    Vote(u8),
    /// Cut this many frames off.
    Truncate(u64),
    /// Keep this many frames; a negative number purges beyond the end.
    Purge(i64),
    /// Wait for all answers.
    Settle,
    /// So many bytes more fit on the disk.
    Full(usize),
    /// The disk is no longer full.
    Space,
    /// Long enough for the writer to find itself idle.
    Idle,
    Check,
}

#[derive(Debug, Clone)]
enum End {
    Close,
    /// The power goes off after so many changes of the disk.
    Crash(u64),
    /// A change of the disk fails and the process restarts.
    Fault(u64, bool),
}

#[derive(Clone, Default, PartialEq)]
struct Model {
    frames: Vec<Frame>,
    purged: Option<LogPosition>,
    vote: Option<Vec<u8>>,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frames = brief(&self.frames);
        write!(f, "{frames} purged {:?} vote {:?}", self.purged, self.vote)
    }
}

fn brief(frames: &[Frame]) -> String {
    frames
        .iter()
        .map(|f| format!("{}t{}+{} ", f.index, f.term, f.body.len()))
        .collect()
}

impl Model {
    fn end(&self) -> u64 {
        let purged = self.purged.map_or(0, |p| p.index + 1);
        self.frames.last().map_or(purged, |frame| frame.index + 1)
    }

    fn last(&self) -> Option<LogPosition> {
        self.frames.last().map(Frame::position).or(self.purged)
    }
}

/// Number of the request, and what became of it.
type Answer = (usize, Result<(), Error>);

struct Run {
    disk: FaultyDisk,
    options: Options,
    log: Segments,
    /// The log after each request since it was opened.
    history: Vec<Model>,
    answers: (Sender<Answer>, Receiver<Answer>),
    acknowledged: usize,
    /// Purges that were acknowledged before what was asked for earlier, by number.
    ahead: BTreeSet<usize>,
    answered: usize,
    /// The disk was full or failed, so that a file could not be made.
    was_full: bool,
    term: u64,
}

impl Run {
    fn new(segment_bytes: u64, cache_bytes: usize) -> Self {
        let disk = FaultyDisk::default();
        let options = Options {
            cache_bytes,
            idle: Duration::from_millis(1),
            ..options(segment_bytes)
        };
        let (log, _) = open(&disk, &options);
        let history = vec![Model::default()];
        Self {
            disk,
            options,
            log,
            history,
            answers: channel(),
            acknowledged: 0,
            ahead: BTreeSet::new(),
            answered: 0,
            was_full: false,
            term: 1,
        }
    }

    fn now(&self) -> Model {
        self.history.last().unwrap().clone()
    }

    fn step(&mut self, step: &Step) {
        let mut next = self.now();
        let (id, sender) = (self.history.len(), self.answers.0.clone());
        // A run that failed no longer listens.
        let done = move |result| drop(sender.send((id, result)));
        let started = match *step {
            Step::Append { count, bytes } => {
                let new = frames(next.end()..next.end() + count, self.term, bytes);
                next.frames.extend(new.clone());
                block_on(self.log.append(new, done))
            }
            Step::Vote(vote) => {
                next.vote = Some(vec![vote; 9]);
                self.log.save_vote(vec![vote; 9], done)
            }
            Step::Truncate(count) => {
                self.term += 1;
                let keep = next
                    .frames
                    .len()
                    .saturating_sub(usize::try_from(count).unwrap());
                next.frames.truncate(keep);
                self.log
                    .truncate_after(next.last().map(|last| last.index), done)
            }
            Step::Purge(keep) => {
                let Some(to) = purge_to(&next, keep) else {
                    return;
                };
                next.frames.retain(|frame| frame.index > to.index);
                next.purged = Some(to);
                self.log.purge(to, done)
            }
            Step::Settle => return self.settle(),
            Step::Full(bytes) => {
                self.was_full = true;
                return self.disk.limit(Some(bytes));
            }
            Step::Space => return self.disk.limit(None),
            Step::Idle => return std::thread::sleep(Duration::from_millis(3)),
            Step::Check => return self.check(&next),
        };
        if started.is_ok() {
            self.history.push(next);
        }
    }

    /// Takes the answers that came, and checks that they come in order.
    fn collect(&mut self) {
        while let Ok(answer) = self.answers.1.try_recv() {
            self.note(answer);
        }
    }

    fn note(&mut self, (id, result): Answer) {
        match result {
            Ok(()) if id == self.acknowledged + 1 => {
                self.acknowledged = id;
                while self.ahead.remove(&(self.acknowledged + 1)) {
                    self.acknowledged += 1;
                }
            }
            Ok(()) => {
                let purges = self.history[id].purged != self.history[id - 1].purged;
                assert!(purges && self.was_full, "answers out of order");
                self.ahead.insert(id);
            }
            Err(_) => assert!(id > self.acknowledged),
        }
        self.answered += 1;
    }

    /// What waits for space goes on by itself when there is some.
    fn settle(&mut self) {
        self.disk.limit(None);
        while self.answered + 1 < self.history.len() {
            let answer = self.answers.1.recv().unwrap();
            self.note(answer);
        }
    }

    fn check(&self, expected: &Model) {
        match read_all(&self.log) {
            Ok(frames) => {
                assert!(
                    frames == expected.frames,
                    "{} but {expected:?}",
                    brief(&frames)
                );
            }
            Err(Error::Io { .. } | Error::DiskFull { .. }) => return,
            Err(error) => panic!("{error}"),
        }
        let bounds = self.log.bounds();
        assert_eq!(
            (bounds.purged, bounds.last),
            (expected.purged, expected.last())
        );
        assert_eq!(bounds.end, expected.end());
    }

    fn end(&mut self, end: &End, steps: &[Step], seed: u64) {
        match *end {
            End::Close => {}
            End::Crash(changes) => self.disk.power_off_after(changes),
            End::Fault(changes, full) => {
                let kind = if full {
                    ErrorKind::StorageFull
                } else {
                    ErrorKind::Other
                };
                self.was_full = true;
                self.disk.fail_after(changes, kind);
            }
        }
        for step in steps {
            self.step(step);
        }
        match end {
            End::Close => self.settle(),
            End::Crash(_) => self.disk.power_off(),
            End::Fault(..) => {}
        }
        self.log.close();
        self.collect();
        match end {
            End::Crash(_) => self.disk.restart(seed),
            End::Close | End::Fault(..) => self.disk.heal(),
        }
        self.reopen();
    }

    fn reopen(&mut self) {
        let (log, recovered) = match try_open(&self.disk, &self.options) {
            // Without a spare file and without space no segment can be begun.
            Err(Error::DiskFull { .. }) => {
                self.disk.limit(None);
                open(&self.disk, &self.options)
            }
            opened => opened.unwrap(),
        };
        self.disk.limit(None);
        self.log = log;
        let found = found(&self.log, &recovered);
        assert!(
            self.expects(&found),
            "found {found:?}\nwanted one of {:?}",
            &self.history[self.acknowledged..]
        );
        self.history = vec![found];
        (self.acknowledged, self.answered, self.answers) = (0, 0, channel());
        self.ahead.clear();
        self.term += 1;
    }

    /// Whether it is the log after some number of requests, not fewer than were acknowledged. If
    /// the disk was full, a later purge may have been carried out before.
    fn expects(&self, found: &Model) -> bool {
        let from = &self.history[self.acknowledged..];
        let ahead = |model: &&Model| self.was_full && model.purged == found.purged;
        let purged = from.iter().find(ahead).and_then(|model| model.purged);
        let after_purge = |model: &Model| {
            let mut model = model.clone();
            if purged.is_some() {
                model
                    .frames
                    .retain(|f| Some(f.index) > purged.map(|to| to.index));
                model.purged = model.purged.max(purged);
            }
            model
        };
        let last_ahead = self.ahead.last().and_then(|id| self.history[*id].purged);
        let from: Vec<Model> = from.iter().map(after_purge).collect();
        found.purged >= last_ahead
            && (from.contains(found) || from.windows(2).any(|w| begun(w, found)))
    }
}

fn purge_to(model: &Model, keep: i64) -> Option<LogPosition> {
    let len = i64::try_from(model.frames.len()).unwrap();
    if keep < 0 {
        let last = model.last()?;
        return Some(LogPosition {
            index: last.index + keep.unsigned_abs(),
            ..last
        });
    }
    let at = usize::try_from(len - keep - 1).ok()?;
    Some(model.frames[at].position())
}

fn found(log: &Segments, recovered: &Recovered) -> Model {
    let frames = read_all(log).unwrap();
    let model = Model {
        frames,
        purged: recovered.purged,
        vote: recovered.vote.clone(),
    };
    assert_eq!(recovered.last, model.last());
    model
}

/// Whether `found` is the first of two models and a beginning of the append that leads to the
/// second.
fn begun(models: &[Model], found: &Model) -> bool {
    let [before, after] = models else {
        return false;
    };
    before.purged == found.purged
        && before.purged == after.purged
        && before.vote == found.vote
        && found.frames.starts_with(&before.frames)
        && after.frames.starts_with(&found.frames)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..6u64, prop_oneof![8..200usize, 8..3000usize])
            .prop_map(|(count, bytes)| Step::Append { count, bytes }),
        2 => any::<u8>().prop_map(Step::Vote),
        2 => (0..8u64).prop_map(Step::Truncate),
        2 => (-2..12i64).prop_map(Step::Purge),
        2 => Just(Step::Settle),
        2 => prop_oneof![Just(0usize), 0..40_000usize].prop_map(Step::Full),
        1 => Just(Step::Space),
        1 => Just(Step::Idle),
        2 => Just(Step::Check),
    ];
    proptest::collection::vec(step, 0..14)
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![
        1 => Just(End::Close),
        4 => (0..30u64).prop_map(End::Crash),
        2 => (0..30u64, any::<bool>()).prop_map(|(n, full)| End::Fault(n, full)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_start_finds_what_was_acknowledged(
        segment_bytes in prop_oneof![Just(4096u64), Just(6000), Just(16 << 10)],
        cache_bytes in prop_oneof![Just(0usize), Just(1000), Just(1 << 20)],
        lives in proptest::collection::vec((steps(), ends(), any::<u64>()), 1..6),
    ) {
        let mut run = Run::new(segment_bytes, cache_bytes);
        for (steps, end, seed) in &lives {
            run.end(end, steps, *seed);
            run.check(&run.now());
        }
        run.log.close();
    }
}
