//! Who keeps its data in this directory: a random number made with it. The hub's membership knows
//! it, so that a node that lost its data is not taken for the one that had it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use proto::ids::NodeIdentity;

use super::NodeError;

pub(super) fn load_or_create(data_dir: &Path) -> Result<NodeIdentity, NodeError> {
    let path = data_dir.join("identity");
    let problem = |problem: String| NodeError::Identity {
        path: path.clone(),
        problem,
    };
    match fs::read_to_string(&path) {
        Ok(text) => u128::from_str_radix(text.trim(), 16)
            .map(NodeIdentity)
            .map_err(|_| problem("not 32 hexadecimal digits".into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let identity = NodeIdentity::random();
            create(data_dir, &path, identity).map_err(|error| problem(error.to_string()))?;
            Ok(identity)
        }
        Err(error) => Err(problem(error.to_string())),
    }
}

/// Durable before anything else is in the directory.
fn create(data_dir: &Path, path: &Path, identity: NodeIdentity) -> io::Result<()> {
    fs::create_dir_all(data_dir)?;
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{identity}")?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(data_dir)?.sync_all()
}
