//! Nodes with a guard broken on purpose. What each switch breaks stands beside its name in the
//! sources of the guard.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A script in `directory` that starts `executable` with the switch on.
pub fn executable(executable: &Path, directory: &Path, switch: &str) -> Result<PathBuf> {
    let script = directory.join(switch);
    let text = format!(
        "#!/bin/sh\nexec env UPDRAFT_SABOTAGE={switch} '{}' \"$@\"\n",
        executable.display()
    );
    std::fs::write(&script, text).with_context(|| format!("write {}", script.display()))?;
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o700))?;
    Ok(script)
}
