//! openraft's own conformance suite over our store and state machine.

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};

use crate::checkpoint::Checkpoints;
use crate::index::Index;
use crate::raft::machine::Machine;
use crate::raft::store::Store;
use crate::raft::types::TypeConfig;
use crate::segment::{Options, Segments};

struct Builder;

impl StoreBuilder<TypeConfig, Store, Machine, tempfile::TempDir> for Builder {
    async fn build(&self) -> Result<(tempfile::TempDir, Store, Machine), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().unwrap();
        let options = Options::new(directory.path().join("segments"), 1, 1);
        let (segments, recovered) = Segments::open(options).unwrap();
        let store = Store::new(segments.clone(), &recovered).unwrap();
        let checkpoints = Checkpoints::open(directory.path().join("checkpoints")).unwrap();
        let index = Index::open(&directory.path().join("index")).unwrap();
        let machine = Machine::open(checkpoints, index, segments, 1 << 20).unwrap();
        Ok((directory, store, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openraft_storage_suite() {
    Suite::test_all(Builder).await.unwrap();
}
