//! What a process says of itself, whatever services it runs: who it is, what it takes of the
//! machine, and how much room its disk has.

use std::path::Path;

use opentelemetry::KeyValue;

use super::metrics::{Metrics, MetricsError};
use crate::config::HubConfig;

/// Registers these metrics; the meter keeps them.
///
/// Those named `process_…` are the ones that Prometheus recommends for every program; they are
/// scraped and not exported.
pub(super) fn register(
    metrics: &Metrics,
    version: &'static str,
    config: &HubConfig,
) -> Result<(), MetricsError> {
    let meter = metrics.meter("updraft");
    let node = i64::try_from(config.node.id.0).unwrap_or(i64::MAX);
    let labels = [
        KeyValue::new("hub", config.hub.path.to_string()),
        KeyValue::new("node", node),
        KeyValue::new("version", version),
    ];
    meter
        .u64_observable_gauge("updraft_node_info")
        .with_description("Always 1; its labels say which node this is and what it runs")
        .with_callback(move |observer| observer.observe(1, &labels))
        .build();
    let (size_of, free_of) = (config.data_dir.to_path_buf(), config.data_dir.to_path_buf());
    meter
        .u64_observable_gauge("updraft_disk_size_bytes")
        .with_description("Size of the file system that data_dir is on")
        .with_unit("By")
        .with_callback(move |observer| {
            if let Some(disk) = disk(&size_of) {
                observer.observe(disk.size, &[]);
            }
        })
        .build();
    meter
        .u64_observable_gauge("updraft_disk_free_bytes")
        .with_description("What this process may still write to the file system of data_dir")
        .with_unit("By")
        .with_callback(move |observer| {
            if let Some(disk) = disk(&free_of) {
                observer.observe(disk.free, &[]);
            }
        })
        .build();
    #[cfg(target_os = "linux")]
    metrics.register(prometheus::process_collector::ProcessCollector::for_self())?;
    Ok(())
}

struct Disk {
    size: u64,
    free: u64,
}

/// `None` where there is no telling. The directory is made later than the metrics: until then it
/// is where its nearest ancestor is.
#[cfg(unix)]
fn disk(directory: &Path) -> Option<Disk> {
    let directory = std::path::absolute(directory).ok()?;
    let there = directory.ancestors().find(|ancestor| ancestor.exists())?;
    let disk = rustix::fs::statvfs(there).ok()?;
    Some(Disk {
        size: disk.f_blocks.saturating_mul(disk.f_frsize),
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
    })
}

#[cfg(not(unix))]
fn disk(_directory: &Path) -> Option<Disk> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_says_who_it_is_and_what_it_takes() {
        let text = "hub: { path: acme.edge }\nnode: { id: 3 }\ndata_dir: not/there/yet\n";
        let config = crate::config::from_str("hub.yaml", text).unwrap();
        let metrics = Metrics::new().unwrap();
        register(&metrics, "1.2.3", &config).unwrap();
        let text = String::from_utf8(metrics.text().unwrap()).unwrap();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{name} is missing in\n{text}"))
                .trim()
                .parse()
                .unwrap()
        };
        let info = r#"updraft_node_info{hub="acme.edge",node="3",version="1.2.3"}"#;
        assert!((value(info) - 1.0).abs() < f64::EPSILON);
        let (size, free) = (
            value("updraft_disk_size_bytes "),
            value("updraft_disk_free_bytes "),
        );
        assert!(size > 0.0 && free <= size, "{free} of {size}");
        assert!(value("process_resident_memory_bytes ") > 1e6);
        assert!(value("process_cpu_seconds_total ") >= 0.0);
    }
}
