//! openraft's own conformance suite over our store and state machine.

use std::sync::Arc;

use openraft::StorageError;
use openraft::storage::RaftStateMachine as _;
use openraft::testing::log::{StoreBuilder, Suite};

use prost::Message as _;
use proto::rpc::Checkpoint;

use crate::checkpoint::Checkpoints;
use crate::index::Index;
use crate::raft::machine::Machine;
use crate::raft::store::Store;
use crate::raft::types::TypeConfig;
use crate::segment::{Directory, Options, Segments};
use crate::state::State;

struct Builder;

fn checkpoints(directory: &tempfile::TempDir) -> Checkpoints {
    let directory = Directory::open(&directory.path().join("checkpoints")).unwrap();
    Checkpoints::new(Arc::new(directory))
}

impl StoreBuilder<TypeConfig, Store, Machine, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, Store, Machine), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(directory.path().join("segments"), 1, 1);
        let (segments, recovered) = Segments::open(options).unwrap();
        let store = Store::new(segments.clone(), &recovered).unwrap();
        let checkpoints = checkpoints(&directory);
        let index = Index::open(&directory.path().join("index"), 1 << 20).unwrap();
        let machine = Machine::open(checkpoints, index, segments, 1 << 20).unwrap();
        Ok((directory, store, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openraft_storage_suite() {
    Suite::test_all(Builder).await.unwrap();
}

/// Entries can be applied before they are on this disk; a checkpoint of such a state must not make a
/// start throw away the log that did reach it.
#[tokio::test]
async fn a_checkpoint_beyond_the_log_is_not_started_from() {
    let (directory, _, mut machine) = Builder.build().await.unwrap();
    let checkpoints = checkpoints(&directory);
    let last_log_id = Some(proto::rpc::LogId {
        term: 1,
        node_id: 1,
        index: 50,
    });
    let meta = proto::rpc::SnapshotMeta {
        last_log_id,
        ..Default::default()
    };
    let state = State::default().to_bytes().unwrap().into();
    checkpoints
        .save(&Checkpoint {
            meta: Some(meta),
            state,
            state_hash: State::default().hash().to_vec().into(),
        })
        .unwrap();
    let shared = machine.shared();
    shared.index.record(50, &[]).unwrap();
    let segments = shared.segments.clone();
    let machine_again = Machine::open(checkpoints, shared.index.clone(), segments, 1 << 20);
    assert_eq!(
        machine_again.unwrap().applied_state().await.unwrap().0,
        None
    );
    assert_eq!(machine.applied_state().await.unwrap().0, None);
}

/// A state that was altered in memory before its checkpoint was written, checksum and all.
#[tokio::test]
async fn a_checkpoint_of_another_state_than_its_hash_says_is_refused() {
    let (_directory, _, mut machine) = Builder.build().await.unwrap();
    let altered = State {
        next_offset: 1,
        ..State::default()
    };
    for (state_hash, taken) in [(State::default().hash(), false), (altered.hash(), true)] {
        let checkpoint = Checkpoint {
            meta: Some(proto::rpc::SnapshotMeta::default()),
            state: altered.to_bytes().unwrap().into(),
            state_hash: state_hash.to_vec().into(),
        };
        let data = checkpoint.encode_to_vec().into();
        let installed = machine.install_snapshot(&Default::default(), data).await;
        assert_eq!(installed.is_ok(), taken, "{installed:?}");
        assert_eq!(machine.shared().state().next_offset, u64::from(taken));
        if let Err(error) = installed {
            assert!(error.to_string().contains("cluster replace"), "{error}");
        }
    }
}
