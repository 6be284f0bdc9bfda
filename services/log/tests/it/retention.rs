//! Deletion, full disks and what is left of the log then (I2, I5).

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use proto::rpc::{CursorPosition, CursorState, OpenSession, RetentionStatus, StatusResponse};
use proto::{Offset, Record};
use raft_log::client::{ClientError, LogClient, Producer, TailFrom};

use crate::rig::{Hub, deliveries, payloads, record};

/// As eager as it can be: whatever is not pinned goes.
const EAGER: &str = "  retention: { min_age: 0s, max_bytes: 32KiB }\n";
const LEASE: Duration = Duration::from_secs(600);

/// Takes about a kilobyte.
fn filler(number: u64) -> Record {
    noisy(number, 400)
}

/// Takes about two kilobytes, compressed too.
fn large(number: u64) -> Record {
    noisy(number, 2000)
}

fn noisy(number: u64, bytes: usize) -> Record {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&number.to_le_bytes());
    let mut noise = vec![0; bytes];
    hasher.finalize_xof().fill(&mut noise);
    let noise: String = noise.iter().map(|byte| format!("{byte:02x}")).collect();
    record("press/1", format!("{number} {noise}"))
}

fn number(payload: &str) -> u64 {
    payload.split(' ').next().unwrap().parse().unwrap()
}

/// Each in an append of its own.
async fn append(producer: &Producer, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let pending = producer.append(filler(number), None).await.unwrap();
        pending.await.unwrap();
    }
}

async fn retention(client: &LogClient) -> (StatusResponse, RetentionStatus) {
    let status = client.status().await.unwrap();
    let retention = status.retention.clone().unwrap();
    (status, retention)
}

/// Waits until `is` holds of a node's status.
async fn until(
    client: &LogClient,
    what: &str,
    is: impl Fn(&StatusResponse, &RetentionStatus) -> bool,
) -> (StatusResponse, RetentionStatus) {
    let mut last = None;
    for _ in 0..600 {
        let (status, retention) = retention(client).await;
        if is(&status, &retention) {
            return (status, retention);
        }
        last = Some((status.segments, status.next_offset, retention));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: {last:?}");
}

async fn claim(client: &LogClient, name: &str) -> CursorState {
    client
        .claim_cursor(name, "test", LEASE, true)
        .await
        .unwrap()
}

async fn commit(client: &LogClient, claim: &CursorState, next_offset: u64) {
    let position = CursorPosition {
        name: claim.name.clone(),
        epoch: claim.epoch,
        next_offset,
    };
    client.commit_cursors(vec![position]).await.unwrap();
}

/// Everything from `from` on is there, once and in order.
async fn assert_whole(client: &LogClient, from: u64, end: u64) {
    let found = payloads(client, from).await;
    let offsets: Vec<u64> = found.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, (from..end).collect::<Vec<_>>());
    for (offset, payload) in found {
        assert_eq!(number(&payload), offset, "a record stands elsewhere");
    }
}

/// I2: nothing goes before the pinning cursor has passed it, and then whole segments do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pinning_cursor_keeps_what_it_has_not_passed() {
    let hub = Hub::start_with("acme", 1, EAGER).await;
    let client = hub.client();
    let writer = claim(&client, "writer/sqlite").await;
    let producer = hub.producer();
    append(&producer, 0..150).await;
    let (status, _) = until(&client, "segments", |status, _| status.segments > 8).await;
    // Two more looks of the leader: it has had the chance to be wrong.
    let pinned = |_: &StatusResponse, it: &RetentionStatus| {
        it.lowest_pin
            .as_ref()
            .is_some_and(|pin| pin.name == "cursor/writer/sqlite")
    };
    let (_, at) = until(&client, "the pin is told", pinned).await;
    assert_eq!(at.first_offset, 0);
    assert_whole(&client, 0, 150).await;

    commit(&client, &writer, 70).await;
    let (after, at) = until(&client, "segments go", |it, _| {
        it.segments < status.segments
    })
    .await;
    assert!(0 < at.first_offset && at.first_offset <= 70, "{at:?}");
    assert_whole(&client, at.first_offset, 150).await;
    // What is gone is proven from where it ends.
    let [head] = &at.heads[..] else {
        panic!("{at:?}")
    };
    assert_eq!(head.first_sequence, at.first_offset);
    let first = deliveries(&client, at.first_offset).await.remove(0);
    let envelope = first.envelope.unwrap();
    let chain = proto::envelope::Chain::from_bytes(&head.chain).unwrap();
    let next = chain.next(envelope.first_sequence, envelope.count, &envelope.digest);
    assert_eq!(next.to_bytes(), first.chain);

    commit(&client, &writer, 150).await;
    append(&producer, 150..200).await;
    until(&client, "more go", |it, at| {
        at.first_offset > 70 && it.segments < after.segments
    })
    .await;
}

/// A tail from what is deleted goes on where the log begins and says so; who must have all gets an
/// error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_reads_what_is_deleted_is_told() {
    use futures::StreamExt;

    let hub = Hub::start_with("acme", 1, EAGER).await;
    let client = hub.client();
    append(&hub.producer(), 0..100).await;
    let (_, at) = until(&client, "deletion", |_, at| at.first_offset > 20).await;
    let from = |whole| TailFrom {
        offset: Offset(3),
        stop_at_end: true,
        whole,
        ..TailFrom::default()
    };
    let responses: Vec<_> = client.tail(from(false)).collect().await;
    let first = responses[0].as_ref().unwrap();
    assert!(first.first_offset >= at.first_offset);
    assert!(first.deliveries.is_empty() && first.next_offset == first.first_offset);
    let delivered = responses
        .iter()
        .flat_map(|it| &it.as_ref().unwrap().deliveries);
    assert_eq!(delivered.clone().next().unwrap().offset, first.first_offset);
    assert_eq!(delivered.count() as u64, 100 - first.first_offset);

    let mut responses: Vec<_> = client.tail(from(true)).collect().await;
    match responses.remove(0) {
        Err(ClientError::Deleted { from: 3, first }) => assert!(first >= at.first_offset),
        other => panic!("{other:?}"),
    }
    assert!(responses.is_empty(), "the tail has ended: {responses:?}");
}

/// Sessions hold records back up to their limit; what they lose then is told exactly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_beyond_its_limit_is_moved_on_and_its_loss_recorded() {
    let log = "  retention: { min_age: 0s, max_bytes: 32KiB, session_age: 0s }\n  \
               disk: { budget: 640KiB, reserve: 32KiB }\n";
    let hub = Hub::start_with("acme", 1, log).await;
    let client = hub.client();
    let producer = hub.producer();
    append(&producer, 0..10).await;
    let open = OpenSession {
        client_id: "press-1".into(),
        expiry_seconds: u32::MAX,
        ..OpenSession::default()
    };
    client.open_session(open).await.unwrap();
    append(&producer, 10..200).await;
    let (_, at) = until(&client, "a loss", |_, at| !at.lost.is_empty()).await;
    let lost = &at.lost[0];
    assert_eq!(lost.name, "session/press-1");
    assert_eq!((lost.from_offset, lost.to_offset), (10, at.first_offset));
    let session = client.session("press-1").await.unwrap().unwrap();
    assert!(session.acknowledged_offset >= at.first_offset);
}

/// A follower that was away beyond the retention point ends with every retained record: a snapshot
/// that holds no records, then replication from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_ends_with_every_retained_record() {
    // Several segments stay.
    let log = "  retention: { min_age: 0s, max_bytes: 160KiB }\n";
    let mut hub = Hub::start_with("acme", 3, log).await;
    let producer = hub.producer();
    append(&producer, 0..20).await;
    let status = hub.converged().await;
    let away = (1..=3).find(|id| Some(*id) != status.leader_id).unwrap();
    hub.stop_node(away).await;
    append(&producer, 20..300).await;
    let client = hub.client_of_node(hub.leader().await);
    let held = status.last_index;
    let (_, at) = until(&client, "deletion beyond what it holds", |_, at| {
        at.first_offset > 60
    })
    .await;
    // Its place in the log is gone on both others.
    for id in (1..=3).filter(|id| *id != away) {
        let first = first_segment_index(&hub.data_dir(id));
        let gone = || first_segment_index(&hub.data_dir(id)) > held;
        wait_for(&format!("node {id} begins at {first}"), gone).await;
    }
    hub.start_node(away).await;
    let status = hub.converged().await;
    // What is retained is the same on all: nobody begins later than the others.
    let first = same_beginning(&hub).await;
    assert!(first >= at.first_offset && first + 40 < status.next_offset);
    for id in 1..=3 {
        assert_whole(&hub.client_of_node(id), first, status.next_offset).await;
    }
    // And it can lead: what it holds is what the others need.
    for id in (1..=3).filter(|id| *id != away).take(1) {
        hub.stop_node(id).await;
    }
    append(&hub.producer(), 300..310).await;
    let status = hub.converged().await;
    assert_eq!(status.next_offset, 310);
}

/// The first offset that all three nodes retain, once it is the same and stays so.
async fn same_beginning(hub: &Hub) -> u64 {
    let mut before = None;
    for _ in 0..600 {
        let mut firsts = Vec::new();
        for id in 1..=3 {
            firsts.push(retention(&hub.client_of_node(id)).await.1.first_offset);
        }
        if firsts.iter().all(|first| *first == firsts[0]) && before.as_ref() == Some(&firsts) {
            return firsts[0];
        }
        before = Some(firsts);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a node begins elsewhere: {before:?}");
}

async fn wait_for(what: &str, is: impl Fn() -> bool) {
    for _ in 0..1200 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}");
}

/// From the name of the oldest file.
fn first_segment_index(data_dir: &Path) -> u64 {
    let entries = std::fs::read_dir(data_dir.join("log/segments")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let indexes = names.filter_map(|name| {
        let rest = name.strip_prefix("segment-")?;
        rest.split('-').next()?.parse::<u64>().ok()
    });
    indexes.min().unwrap()
}

fn checkpoints(data_dir: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(data_dir.join("log/checkpoints")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|it| it == "ckpt"));
    paths.sort();
    paths
}

fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let last = bytes.last_mut().unwrap();
    *last ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Whichever checkpoint is damaged: the log is whole, so the node starts and has everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_checkpoint_stops_no_start() {
    let mut hub = Hub::start_with("acme", 1, EAGER).await;
    append(&hub.producer(), 0..120).await;
    until(&hub.client(), "deletion", |it, at| {
        at.first_offset > 20 && it.segments < 5
    })
    .await;
    let data_dir = hub.data_dir(1);
    wait_for("old ones are removed", || checkpoints(&data_dir).len() < 6).await;
    for oldest in [false, true] {
        hub.stop_node(1).await;
        let known = checkpoints(&hub.data_dir(1));
        assert!(known.len() >= 2, "{known:?}");
        let path = if oldest { known.first() } else { known.last() };
        damage(path.unwrap());
        hub.start_node(1).await;
        hub.leader().await;
        let (status, at) = until(&hub.client(), "started", |it, _| it.next_offset == 120).await;
        assert_whole(&hub.client(), at.first_offset, status.next_offset).await;
    }
}

/// A directory on a file system of its own that holds so many MiB, or none where that is not
/// allowed.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(mebibytes: u64) -> Option<SmallDisk> {
        let directory = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "updraft-test"])
            .arg(directory.path())
            .output();
        mounted
            .is_ok_and(|it| it.status.success())
            .then_some(SmallDisk(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// A full disk refuses with a reason, keeps all it acknowledged, and takes data again by itself
/// when the cursor has moved (I1, I2, I5). A real file system where the test may mount one,
/// otherwise the same with a budget.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_recovers_without_a_restart() {
    let disk = SmallDisk::mount(8);
    let (directory, log) = match &disk {
        Some(disk) => {
            let directory = tempfile::tempdir_in(disk.0.path()).unwrap();
            (
                directory,
                "  retention: { min_age: 0s }\n  disk: { reserve: 1MiB }\n",
            )
        }
        None => {
            eprintln!("not allowed to mount a tmpfs: a budget of 8 MiB stands for the disk");
            let log = "  retention: { min_age: 0s }\n  disk: { budget: 8MiB, reserve: 1MiB }\n";
            (tempfile::tempdir().unwrap(), log)
        }
    };
    let hub = Hub::start_in(directory, "acme", 1, log).await;
    let client = hub.client();
    let writer = claim(&client, "writer/sqlite").await;
    let producer = hub.producer();
    // More than fits: what does not waits.
    let appending = tokio::spawn(append_in_portions(producer, TOO_MANY));
    let full = |_: &StatusResponse, at: &RetentionStatus| {
        at.space
            .as_ref()
            .is_some_and(|space| !space.refused.is_empty())
    };
    let (status, at) = until(&client, "the disk is full", full).await;
    let reason = at.space.unwrap().refused;
    assert!(
        reason.contains("cursor/writer/sqlite keeps everything from offset 0"),
        "{reason}"
    );
    assert!(status.next_offset < TOO_MANY, "nothing was refused");
    assert_eq!(at.first_offset, 0, "the cursor pins it");
    assert_whole(&client, 0, status.next_offset).await;

    // The consumer gets on, and with it everything: control entries go in while data does not.
    let mut passed = 0;
    while passed < TOO_MANY {
        assert!(!appending.is_finished() || retention(&client).await.0.next_offset == TOO_MANY);
        let (status, _) = retention(&client).await;
        if status.next_offset > passed {
            passed = status.next_offset;
            commit(&client, &writer, passed).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        appending.await.unwrap(),
        (0..TOO_MANY).map(Offset).collect::<Vec<_>>()
    );
    let (status, at) = until(&client, "deletion", |_, at| at.first_offset > 0).await;
    assert_eq!(status.next_offset, TOO_MANY);
    assert_whole(&client, at.first_offset, TOO_MANY).await;
}

/// Of 2 KiB each: half as much again as the small disk holds.
const TOO_MANY: u64 = 6000;

/// A few in an append, so that segments stay small.
async fn append_in_portions(producer: Producer, count: u64) -> Vec<Offset> {
    let mut offsets = Vec::new();
    for first in (0..count).step_by(20) {
        let mut pending = Vec::new();
        for number in first..first + 20 {
            pending.push(producer.append(large(number), None).await.unwrap());
        }
        for pending in pending {
            offsets.push(pending.await.unwrap());
        }
    }
    offsets
}

/// The leader refuses before a majority of the disks is full, though its own has room (I5).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_refuses_when_a_majority_has_no_room() {
    let mut hub = Hub::start("acme", 3).await;
    append(&hub.producer(), 0..5).await;
    let leader = hub.leader().await;
    hub.set_log("  disk: { budget: 320KiB, reserve: 128KiB }\n");
    for id in (1..=3).filter(|id| *id != leader) {
        hub.stop_node(id).await;
        hub.start_node(id).await;
        hub.converged().await;
    }
    let appending = tokio::spawn(append_in_portions(hub.producer(), 400));
    let leader = hub.client_of_node(hub.leader().await);
    let full = |_: &StatusResponse, at: &RetentionStatus| {
        at.space
            .as_ref()
            .is_some_and(|space| !space.refused.is_empty())
    };
    let (status, at) = until(&leader, "both others are full", full).await;
    let space = at.space.unwrap();
    assert!(
        space.refused.contains("of the nodes ["),
        "{}",
        space.refused
    );
    assert!(
        space.left > 1 << 20,
        "the leader itself has room: {space:?}"
    );
    assert!(status.next_offset < 400 && !appending.is_finished());
    appending.abort();
    // Nobody has stopped: what frees space still goes in.
    claim(&hub.client(), "writer/sqlite").await;
    hub.converged().await;
}

/// A producer that is over its quota waits, loses nothing and keeps nobody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_producer_over_its_quota_waits() {
    let hub = Hub::start_with("acme", 1, "  quota: { bytes_per_second: 20KiB }\n").await;
    let greedy = hub.producer();
    let began = std::time::Instant::now();
    // Three seconds' worth, an append at a time.
    let appending = tokio::spawn(async move { append(&greedy, 0..120).await });
    let client = hub.client();
    until(&client, "it has begun", |status, _| status.next_offset > 20).await;
    let modest = hub.producer();
    modest
        .append(record("b", "at once"), None)
        .await
        .unwrap()
        .await
        .unwrap();
    assert!(!appending.is_finished(), "the greedy one has not waited");
    appending.await.unwrap();
    assert!(
        began.elapsed() > Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    let found = payloads(&client, 0).await;
    let found = found
        .iter()
        .map(|(_, payload)| payload)
        .filter(|it| *it != "at once");
    let numbers: Vec<u64> = found.map(|payload| number(payload)).collect();
    assert_eq!(numbers, (0..120).collect::<Vec<_>>());
}
