//! What happens in a simulation: all of it follows from the seed.

use std::io::ErrorKind;
use std::time::Duration;

use raft_log::node::RetentionConfig;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng};

/// The size of the world, and what goes wrong in it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// That form the hub.
    pub nodes: u64,
    /// That may join it later.
    pub spares: u64,
    pub producers: u32,
    pub tails: u32,
    pub consumers: u32,
    pub segment_bytes: u64,
    pub keeping: Keeping,
    /// How long things go wrong, counted from when the hub was formed.
    pub chaos: Duration,
    pub actions: Vec<(Duration, Action)>,
}

/// What the log may keep, and what it must.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keeping {
    pub retention: RetentionConfig,
    /// Bytes that a node's files may take.
    pub budget: Option<u64>,
}

/// How a node dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The process: what it has written stays, its connections are reset.
    Process,
    /// The machine: what was not synced may be lost or torn, its connections fall silent.
    Machine,
}

/// One thing that goes wrong, most for a while.
///
/// This is the place for what the log learns to do while all else fails. A variant here, a line in [`draw`], an arm in
/// `World::act`.
#[derive(Clone, Debug)]
pub enum Action {
    Crash {
        nodes: Vec<u64>,
        death: Death,
        away: Duration,
    },
    /// The machine dies in the middle of a change of its disk.
    CrashInWrite {
        node: u64,
        changes: u64,
    },
    /// The node is told to end, in order.
    Stop {
        node: u64,
    },
    /// Nothing passes between these nodes and all others, clients included if so.
    Partition {
        nodes: Vec<u64>,
        with_clients: bool,
        lasting: Duration,
    },
    OneWay {
        from: u64,
        to: u64,
        lasting: Duration,
    },
    /// Messages wait and come all at once.
    Stall {
        one: u64,
        other: u64,
        lasting: Duration,
    },
    /// One node and a client lose each other.
    CutClient {
        node: u64,
        client: u32,
        lasting: Duration,
    },
    SlowNetwork {
        up_to: Duration,
        lasting: Duration,
    },
    SlowDisk {
        node: u64,
        up_to: Duration,
        lasting: Duration,
    },
    DiskError {
        node: u64,
        changes: u64,
        kind: ErrorKind,
    },
    DiskFull {
        node: u64,
        room: usize,
        lasting: Duration,
    },
    ClockJump {
        node: u64,
        nanos: i64,
    },
    /// It joins the hub, if it is none of its nodes.
    Add {
        node: u64,
    },
    /// It leaves for good, and may join again as another one.
    Remove {
        node: u64,
    },
    /// It loses its disk and joins again.
    Replace {
        node: u64,
    },
}

impl Plan {
    /// Every node that there may be.
    #[must_use]
    pub fn hosts(&self) -> u64 {
        self.nodes + self.spares
    }

    #[must_use]
    pub fn of(seed: u64) -> Plan {
        let mut rng = StdRng::seed_from_u64(seed);
        let nodes = *[1, 3, 3, 3, 5].choose(&mut rng).unwrap_or(&3);
        let chaos = Duration::from_secs(rng.random_range(15..40));
        let producers = rng.random_range(1..4);
        let segment_bytes = *[8 << 10, 16 << 10, 64 << 10].choose(&mut rng).unwrap_or(&0);
        let spares = rng.random_range(0..=2).min(5 - nodes);
        let hosts = nodes + spares;
        let mut plan = Plan {
            keeping: keeping(&mut rng, segment_bytes),
            nodes,
            spares,
            producers,
            tails: rng.random_range(1..3),
            consumers: rng.random_range(1..4),
            segment_bytes,
            chaos,
            actions: Vec::new(),
        };
        let pause = rng.random_range(500..4000);
        let mut at = Duration::ZERO;
        while at < chaos {
            plan.actions.push((at, draw(&mut rng, hosts, producers)));
            at += Duration::from_millis(rng.random_range(50..pause));
        }
        plan
    }
}

/// Most hubs delete: by age, by bytes, or because their disks are small.
fn keeping(rng: &mut StdRng, segment_bytes: u64) -> Keeping {
    let seconds = |rng: &mut StdRng, from: u64, to: u64| {
        let millis = rng.random_range(from * 1000..to * 1000);
        Duration::from_millis(millis)
    };
    if rng.random_ratio(1, 5) {
        return Keeping::default();
    }
    let is_by_age = rng.random_ratio(1, 3);
    let is_by_bytes = rng.random_ratio(1, 3);
    let is_small = rng.random_ratio(2, 3);
    Keeping {
        retention: RetentionConfig {
            min_age: seconds(rng, 0, 6),
            max_age: is_by_age.then(|| seconds(rng, 3, 20)),
            max_bytes: is_by_bytes.then(|| rng.random_range(2..10) * segment_bytes),
            session_age: seconds(rng, 1, 10),
        },
        budget: is_small.then(|| rng.random_range(7..20) * (segment_bytes + 8192)),
    }
}

fn draw(rng: &mut StdRng, nodes: u64, producers: u32) -> Action {
    let node = rng.random_range(1..=nodes);
    let other = (node + rng.random_range(0..nodes)) % nodes + 1;
    let lasting = Duration::from_millis(rng.random_range(100..6000));
    let death = if rng.random_ratio(1, 3) {
        Death::Process
    } else {
        Death::Machine
    };
    let changes = rng.random_range(0..60);
    match rng.random_range(0..33) {
        0..5 => Action::Crash {
            nodes: some(rng, nodes),
            death,
            away: lasting,
        },
        5 => Action::Crash {
            nodes: (1..=nodes).collect(),
            death: Death::Machine,
            away: lasting,
        },
        change @ 27..33 => membership(change, node),
        24..27 => absence(rng, node, death),
        6..9 => Action::CrashInWrite { node, changes },
        9 => Action::Stop { node },
        10..13 => Action::Partition {
            nodes: some(rng, nodes),
            with_clients: rng.random(),
            lasting,
        },
        13..15 if node != other => Action::OneWay {
            from: node,
            to: other,
            lasting,
        },
        15..17 if node != other => Action::Stall {
            one: node,
            other,
            lasting,
        },
        17 => Action::SlowNetwork {
            up_to: Duration::from_millis(rng.random_range(20..300)),
            lasting,
        },
        18..20 => Action::SlowDisk {
            node,
            up_to: Duration::from_millis(rng.random_range(10..800)),
            lasting,
        },
        20 => Action::DiskError {
            node,
            changes,
            kind: ErrorKind::Other,
        },
        21 => Action::DiskFull {
            node,
            room: rng.random_range(0..80_000),
            lasting,
        },
        22 => Action::ClockJump {
            node,
            nanos: rng.random_range(-3600..3600) * 1_000_000_000,
        },
        _ => Action::CutClient {
            node,
            client: rng.random_range(1..=producers),
            lasting,
        },
    }
}

/// For so long that the others delete what the node lacks.
fn absence(rng: &mut StdRng, node: u64, death: Death) -> Action {
    Action::Crash {
        nodes: vec![node],
        death,
        away: Duration::from_millis(rng.random_range(6000..25_000)),
    }
}

fn membership(change: i32, node: u64) -> Action {
    match change % 3 {
        0 => Action::Add { node },
        1 => Action::Remove { node },
        _ => Action::Replace { node },
    }
}

/// One node or more.
fn some(rng: &mut StdRng, nodes: u64) -> Vec<u64> {
    let first = rng.random_range(1..=nodes);
    let more = rng.random_ratio(1, 3);
    (1..=nodes)
        .filter(|node| *node == first || more && rng.random())
        .collect()
}
