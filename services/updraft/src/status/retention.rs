//! What a log keeps, what holds it back from deleting more, and how full its disk is.

use std::time::Duration;

use comfy_table::Table;
use proto::rpc::{Pin, RetentionStatus};
use serde_json::{Value as Json, json};

use super::{mebibytes, table};

pub(super) fn print(retention: &RetentionStatus, node_id: u64) {
    println!("retention: {}", kept(retention));
    let Some(space) = &retention.space else {
        return;
    };
    println!(
        "disk of node {node_id}: {:.1} of {:.1} MiB used, {:.1} MiB left, {:.1} MiB of them in reserve",
        mebibytes(space.used),
        mebibytes(space.total),
        mebibytes(space.left),
        mebibytes(space.reserve),
    );
    if !space.refused.is_empty() {
        println!("FULL, data is refused: {}", space.refused);
    }
}

fn kept(retention: &RetentionStatus) -> String {
    let begin = match retention.first_offset {
        0 => "everything is there".to_owned(),
        first => format!("records from offset {first} on are there"),
    };
    match &retention.lowest_pin {
        Some(pin) => format!("{begin}; {}", pinned(pin)),
        None => format!("{begin}; nothing has to be kept"),
    }
}

fn pinned(pin: &Pin) -> String {
    let age = Duration::from_secs(pin.age.unsigned_abs() / 1_000_000_000);
    let age = humantime::format_duration(age);
    let limit = if pin.without_limit {
        ""
    } else {
        ", up to a limit"
    };
    format!(
        "{} keeps what is from offset {} on ({age} old){limit}",
        pin.name, pin.offset
    )
}

/// What consumers lost; empty as it should be.
pub(super) fn lost_table(retention: &RetentionStatus) -> Table {
    let mut lost = table(&["lost to retention", "from offset", "to offset"]);
    for range in &retention.lost {
        lost.add_row([
            range.name.clone(),
            range.from_offset.to_string(),
            (range.to_offset.saturating_sub(1)).to_string(),
        ]);
    }
    lost
}

pub(super) fn json(retention: &RetentionStatus) -> Json {
    let pin = retention.lowest_pin.as_ref().map(|pin| {
        json!({
            "name": pin.name,
            "offset": pin.offset,
            "age_ns": pin.age,
            "without_limit": pin.without_limit,
        })
    });
    let lost = retention.lost.iter().map(|range| {
        json!({
            "name": range.name,
            "from_offset": range.from_offset,
            "to_offset": range.to_offset,
            "time_ns": range.time,
        })
    });
    let space = retention.space.as_ref().map(|space| {
        json!({
            "used": space.used,
            "total": space.total,
            "left": space.left,
            "reserve": space.reserve,
            "refused": (!space.refused.is_empty()).then_some(&space.refused),
        })
    });
    json!({
        "first_offset": retention.first_offset,
        "first_time_ns": retention.first_time,
        "lowest_pin": pin,
        "lost": lost.collect::<Vec<_>>(),
        "lost_ranges": retention.lost_ranges,
        "space": space,
    })
}
