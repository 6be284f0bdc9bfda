//! A look at the whole hub at one moment: what every running node says, and what every disk would
//! have after a power cut.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hasher};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use proto::ids::NodeIdentity;
use proto::rpc::command::Operation;
use proto::rpc::{self, Command, CursorState, RaftVote};
use raft_log::segment::{Frame, LogPosition, Recovered, Segments};

use crate::disk::Storage;
use crate::history::{Event, RecordId};
use crate::host::Host;
use crate::machine::Bench;

/// The last log index that each record was ever seen at.
pub type Places = HashMap<RecordId, u64>;

/// Sets of nodes, each of which must have a majority.
pub type Voters = Vec<BTreeSet<u64>>;

/// Whether a majority of all sets has what these nodes have.
#[must_use]
pub fn is_quorum(voters: &Voters, nodes: &BTreeSet<u64>) -> bool {
    let has_majority = |set: &BTreeSet<u64>| set.intersection(nodes).count() > set.len() / 2;
    voters.iter().all(has_majority)
}

/// Disks that were lost, and not by the log's fault.
#[derive(Debug, Default)]
pub struct Wiped {
    pub times: u64,
    /// How far the log went then, by node.
    pub up_to: BTreeMap<u64, u64>,
}

/// What the invariants are asked about.
#[derive(Debug)]
pub struct Look<'a> {
    pub at: Duration,
    pub nodes: Vec<NodeLook>,
    pub places: &'a Places,
    pub wiped: &'a Wiped,
    /// What clients saw since the last look.
    pub events: &'a [Event],
}

impl Look<'_> {
    /// All nodes there are, should nothing be known of who votes.
    #[must_use]
    pub fn everybody(&self) -> Voters {
        vec![self.nodes.iter().map(|node| node.id).collect()]
    }

    /// Whether a disk has a record, or had it and may have deleted it since.
    #[must_use]
    pub fn has(&self, node: &NodeLook, id: RecordId) -> bool {
        let place = self.places.get(&id);
        let lost = self.wiped.up_to.get(&node.id).copied().unwrap_or_default();
        let gone = lost.max(node.durable.purged);
        node.durable.has(id) || place.is_some_and(|index| *index <= gone)
    }

    /// Nodes with these properties.
    pub fn those(&self, has: impl Fn(&NodeLook) -> bool) -> BTreeSet<u64> {
        let nodes = self.nodes.iter().filter(|node| has(node));
        nodes.map(|node| node.id).collect()
    }
}

#[derive(Debug)]
pub struct NodeLook {
    pub id: u64,
    pub running: Option<Running>,
    pub durable: Rc<Durable>,
}

/// What a node says of itself.
#[derive(Debug)]
pub struct Running {
    pub leads: bool,
    pub term: u64,
    pub applied_index: u64,
    pub cursors: Vec<CursorState>,
    /// Everything below is deleted.
    pub first_offset: u64,
    /// It takes no data, for want of room.
    pub refuses: bool,
}

/// What a node's disk holds for certain.
#[derive(Clone, Debug, Default)]
pub struct Durable {
    /// Term and node that the node last voted for.
    pub vote: Option<(u64, u64)>,
    /// All entries, in order.
    pub entries: Vec<Rc<Entry>>,
    /// Log index up to which they were dropped.
    pub purged: u64,
    /// Who votes from an entry on, in order; what comes before the log has no entry.
    pub memberships: Vec<(Option<LogPosition>, Voters)>,
    /// Digests of its checkpoints, by log index.
    pub checkpoints: BTreeMap<u64, u64>,
    /// Why it could not be read; the disk of a node that never ran is empty.
    pub unreadable: Option<String>,
}

impl Durable {
    #[must_use]
    pub fn entry(&self, index: u64) -> Option<&Entry> {
        let first = self.entries.first()?.position.index;
        let at = usize::try_from(index.checked_sub(first)?).ok()?;
        self.entries.get(at).map(|entry| &**entry)
    }

    #[must_use]
    pub fn has(&self, id: RecordId) -> bool {
        // What is asked for is new.
        let mut newest_first = self.entries.iter().rev();
        newest_first.any(|entry| entry.records.contains(&id))
    }
}

#[derive(Debug)]
pub struct Entry {
    pub position: LogPosition,
    pub digest: u64,
    pub records: Vec<RecordId>,
    /// If it changes who votes.
    pub voters: Option<Voters>,
}

/// Reads disks; remembers what it has read.
#[derive(Debug, Default)]
pub(crate) struct Eye {
    entries: HashMap<(LogPosition, u64), Rc<Entry>>,
    /// The version of each disk that was read last.
    disks: BTreeMap<u64, (u64, Rc<Durable>)>,
    pub(crate) places: Places,
    pub(crate) wiped: Wiped,
}

/// Entries that are read again at once, when those after them have become others.
const STEP_BACK: usize = 16;

impl Eye {
    /// A disk is lost.
    pub(crate) fn lose(&mut self, node: u64) {
        let last = self.places.values().max().copied().unwrap_or_default();
        self.wiped.times += 1;
        self.wiped.up_to.insert(node, last);
    }

    pub(crate) fn node(&mut self, host: &Host) -> NodeLook {
        let running = host.node().map(|node| {
            let gauges = node.gauges();
            Running {
                leads: gauges.leads,
                term: gauges.term,
                applied_index: gauges.applied_index,
                cursors: node.cursors(),
                first_offset: gauges.first_offset,
                refuses: node.refuses_data().is_some(),
            }
        });
        let version = host.machine.storage.version();
        let known = self.disks.get(&host.id).filter(|(at, _)| *at == version);
        let durable = match known {
            Some((_, durable)) => durable.clone(),
            None => {
                let durable = Rc::new(self.read(host));
                self.disks.insert(host.id, (version, durable.clone()));
                durable
            }
        };
        NodeLook {
            id: host.id,
            running,
            durable,
        }
    }

    fn read(&mut self, host: &Host) -> Durable {
        let storage = host.machine.storage.durable();
        match self.try_read(host, &storage) {
            Ok(durable) => durable,
            Err(error) => Durable {
                unreadable: Some(format!("{error:#}")),
                ..Durable::default()
            },
        }
    }

    fn try_read(&mut self, host: &Host, storage: &Storage) -> anyhow::Result<Durable> {
        let home = storage.directory(&host.config.data_dir);
        if !home.list()?.iter().any(|name| name == "identity") {
            return Ok(Durable::default());
        }
        let text = content(&*home, "identity")?;
        let identity = u128::from_str_radix(String::from_utf8(text)?.trim(), 16)?;
        let known = self.disks.get(&host.id).map(|(_, durable)| durable.clone());
        let known = known.as_ref().map_or(&[][..], |durable| &durable.entries);
        let (recovered, purged, entries) =
            self.entries(host, storage, NodeIdentity(identity), known)?;
        let vote = recovered
            .vote
            .map(|bytes| RaftVote::decode(&*bytes))
            .transpose()?;
        let folder = storage.directory(&host.config.data_dir.join("checkpoints"));
        let mut checkpoints = BTreeMap::new();
        let mut before = None;
        for name in folder.list()? {
            let index = name
                .strip_suffix(".ckpt")
                .and_then(|stem| stem.parse().ok());
            if let Some(index) = index {
                let bytes = content(&*folder, &name)?;
                checkpoints.insert(index, digest(&bytes));
                // The first one, if the log is not whole.
                if before.is_none() && index >= purged && purged > 0 {
                    before = voters_of_checkpoint(&bytes);
                }
            }
        }
        let before = before.map(|voters| (None, voters));
        let changes = entries
            .iter()
            .filter_map(|entry: &Rc<Entry>| Some((Some(entry.position), entry.voters.clone()?)));
        let memberships = before.into_iter().chain(changes).collect();
        Ok(Durable {
            memberships,
            vote: vote.map(|vote| (vote.term, vote.node_id)),
            entries,
            purged,
            checkpoints,
            unreadable: None,
        })
    }

    /// By the log's own recovery, on a copy. What lies before an entry that is known is known.
    fn entries(
        &mut self,
        host: &Host,
        storage: &Storage,
        identity: NodeIdentity,
        known: &[Rc<Entry>],
    ) -> anyhow::Result<(Recovered, u64, Vec<Rc<Entry>>)> {
        let mut options = host.config.segment_options(identity);
        options.environment = Arc::new(Bench(storage.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let _entered = runtime.enter();
        let (segments, recovered) = Segments::open(options)?;
        let bounds = segments.bounds();
        let purged = bounds.purged.map_or(0, |position| position.index);
        let mut entries: Vec<Rc<Entry>> = known.to_vec();
        entries.retain(|entry| entry.position.index >= bounds.first);
        while let Some(last) = entries.last() {
            let index = last.position.index;
            let frame = segments.read(index..index + 1, usize::MAX)?;
            if frame.first().map(Frame::position) == Some(last.position) {
                break;
            }
            entries.truncate(entries.len().saturating_sub(STEP_BACK));
        }
        let from = entries.last().map(|last| last.position.index + 1);
        let from = from.unwrap_or(bounds.first);
        for frame in segments.read(from..u64::MAX, usize::MAX)? {
            entries.push(self.entry(&frame));
        }
        Ok((recovered, purged, entries))
    }

    fn entry(&mut self, frame: &Frame) -> Rc<Entry> {
        let (position, digest) = (frame.position(), digest(&frame.body));
        let places = &mut self.places;
        let entry = self.entries.entry((position, digest)).or_insert_with(|| {
            let records = records(frame);
            for id in &records {
                let place = places.entry(*id).or_default();
                *place = position.index.max(*place);
            }
            Rc::new(Entry {
                position,
                digest,
                records,
                voters: voters(frame),
            })
        });
        entry.clone()
    }
}

fn content(disk: &dyn raft_log::segment::Disk, name: &str) -> anyhow::Result<Vec<u8>> {
    let file = disk.open(name)?;
    let mut content = vec![0; usize::try_from(file.len()?)?];
    file.read_at(&mut content, 0)?;
    Ok(content)
}

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// The kind of frame that says who the hub's nodes are.
const MEMBERSHIP: u8 = 2;

fn voters(frame: &Frame) -> Option<Voters> {
    let membership = rpc::Membership::decode(frame.body.clone());
    (frame.kind == MEMBERSHIP).then(|| sets(&membership.unwrap_or_default()))
}

/// Behind magic, version and checksum of the file.
fn voters_of_checkpoint(file: &[u8]) -> Option<Voters> {
    let checkpoint = rpc::Checkpoint::decode(file.get(12..)?).ok()?;
    Some(sets(&checkpoint.meta?.membership?))
}

fn sets(membership: &rpc::Membership) -> Voters {
    let sets = membership.configs.iter();
    sets.map(|set| set.node_ids.iter().copied().collect())
        .collect()
}

fn records(frame: &Frame) -> Vec<RecordId> {
    let operation = Command::decode(frame.body.clone()).ok();
    match operation.and_then(|command| command.operation) {
        Some(Operation::Append(append)) => {
            let batches = append.envelopes.iter().map(|envelope| &envelope.batch);
            batches.flat_map(|batch| RecordId::all_of(batch)).collect()
        }
        _ => Vec::new(),
    }
}
