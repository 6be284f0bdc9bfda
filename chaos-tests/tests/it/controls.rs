//! The same scenarios with their guard broken: each must be seen to find it.

use std::path::Path;

use anyhow::Result;
use chaos_tests::check::Differences;
use chaos_tests::sabotage;

use crate::guards::{a_node_is_killed, answers_are_lost, the_uplink_is_cut};
use crate::rig::NODE;

/// What a scenario finds when the nodes run with this switch.
async fn found(
    switch: &str,
    scenario: impl AsyncFnOnce(&Path) -> Result<Differences>,
) -> Result<Differences> {
    let directory = tempfile::tempdir()?;
    let executable = sabotage::executable(Path::new(NODE), directory.path(), switch)?;
    let found = scenario(&executable).await?;
    eprintln!("{switch}: {found}");
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn control_acknowledging_before_the_fsync_loses_readings() -> Result<()> {
    let found = found("ack-before-fsync", a_node_is_killed).await?;
    assert!(found.missing > 0, "{found}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn control_no_dedupe_doubles_readings() -> Result<()> {
    let found = found("dedupe-off", answers_are_lost).await?;
    assert!(found.doubled > 0, "{found}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_cursor_before_the_ack_loses_readings() -> Result<()> {
    let found = found("cursor-before-ack", the_uplink_is_cut).await?;
    assert!(found.missing > 0, "{found}");
    Ok(())
}
