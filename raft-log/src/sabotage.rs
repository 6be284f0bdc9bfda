//! Switches that break a promise on purpose, so that the tests that guard it can be seen to go
//! red. Only under the cargo feature `sabotage`, which no release enables.

#[cfg(not(debug_assertions))]
compile_error!("sabotage is for debug builds of the tests alone");

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex, PoisonError};

static SWITCHES: LazyLock<String> =
    LazyLock::new(|| std::env::var("UPDRAFT_SABOTAGE").unwrap_or_default());

static SWITCHED_ON: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Whether `UPDRAFT_SABOTAGE`, a list with commas, names this switch, or a test of this process
/// switched it on.
#[must_use]
pub fn active(name: &str) -> bool {
    let switched_on = SWITCHED_ON.lock().unwrap_or_else(PoisonError::into_inner);
    switched_on.contains(name) || SWITCHES.split(',').any(|switch| switch.trim() == name)
}

/// From now on, in this process.
pub fn switch_on(name: &str) {
    let mut switched_on = SWITCHED_ON.lock().unwrap_or_else(PoisonError::into_inner);
    switched_on.insert(name.to_owned());
}
