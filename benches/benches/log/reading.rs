//! Readers: one that was away, and many that are there.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::StreamExt;
use proto::Offset;
use raft_log::client::{LogClient, TailFrom};
use tokio::task::JoinHandle;

use crate::{Args, START, appends, hub, median};

/// Appends, restarts the node so that nothing is in its memory, drops the page cache where that is
/// allowed, and reads everything.
pub(crate) async fn cold(args: &Args, directory: &Path) -> anyhow::Result<()> {
    let mut pyramid = hub(directory, 1)?;
    pyramid.start(START).await?;
    let client = pyramid.hub("bench")?.client().clone();
    let row = appends(args, &client).await?;
    let mut rates = Vec::new();
    let mut cache = "cold";
    for _ in 0..args.rounds {
        let hub = pyramid.hub_mut("bench")?;
        hub.node_mut(0)?.restart()?;
        hub.wait_ready(START).await?;
        if std::fs::write("/proc/sys/vm/drop_caches", "1").is_err() {
            cache = "warm";
        }
        rates.push(read_all(&client).await?);
    }
    pyramid.stop(Duration::from_secs(10)).await?;
    let rate = median(&mut rates);
    println!(
        "reading: {rate:.0} records/s from a {cache} page cache, {:.1} x the append rate of {:.0}",
        rate / row.per_second,
        row.per_second
    );
    Ok(())
}

async fn read_all(client: &LogClient) -> anyhow::Result<f64> {
    let began = Instant::now();
    let from = TailFrom {
        stop_at_end: true,
        ..Default::default()
    };
    let mut tail = std::pin::pin!(client.tail(from));
    let mut records = 0_u64;
    while let Some(response) = tail.next().await {
        let deliveries = response?.deliveries;
        let envelopes = deliveries.iter().filter_map(|d| d.envelope.as_ref());
        records += envelopes.map(|e| u64::from(e.count)).sum::<u64>();
    }
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    let records = records as f64;
    Ok(records / began.elapsed().as_secs_f64())
}

/// The append rate with live readers and without, in turns.
pub(crate) async fn tailers(args: &Args, directory: &Path) -> anyhow::Result<()> {
    let mut pyramid = hub(directory, 1)?;
    pyramid.start(START).await?;
    let client = pyramid.hub("bench")?.client().clone();
    let mut ratios = Vec::new();
    for _ in 0..args.rounds {
        let alone = appends(args, &client).await?.per_second;
        let readers = live(args.tailers, &client).await?;
        let with = appends(args, &client).await?.per_second;
        let read: u64 = finish(readers, &client).await?;
        ratios.push(with / alone);
        println!(
            "tailers: {alone:.0}/s alone, {with:.0}/s with {} ({read} records read)",
            args.tailers
        );
    }
    pyramid.stop(Duration::from_secs(10)).await?;
    println!(
        "tailers: {:.3} of the append rate with {}",
        median(&mut ratios),
        args.tailers
    );
    Ok(())
}

type Reader = (
    tokio::sync::oneshot::Sender<u64>,
    JoinHandle<anyhow::Result<u64>>,
);

async fn live(count: usize, client: &LogClient) -> anyhow::Result<Vec<Reader>> {
    let start = client.status().await?.next_offset;
    let reader = |_| {
        let (end, mut until) = tokio::sync::oneshot::channel();
        let from = TailFrom {
            offset: Offset(start),
            ..Default::default()
        };
        let mut tail = Box::pin(client.tail(from));
        let read = async move {
            let (mut read, mut end) = (start, u64::MAX);
            while read < end {
                tokio::select! {
                    response = tail.next() => {
                        read = response.context("a tail ended")??.next_offset;
                    }
                    told = &mut until, if end == u64::MAX => end = told?,
                }
            }
            Ok(read - start)
        };
        (end, tokio::spawn(read))
    };
    Ok((0..count).map(reader).collect())
}

/// Waits until every reader has everything.
async fn finish(readers: Vec<Reader>, client: &LogClient) -> anyhow::Result<u64> {
    let end = client.status().await?.next_offset;
    let mut read = 0;
    for (told, reader) in readers {
        // One that has failed says so below.
        let _ = told.send(end);
        read += reader.await??;
    }
    Ok(read)
}
