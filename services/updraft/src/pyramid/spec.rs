//! What a hub is to be, and the `hub.yaml` of each of its nodes.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// A hub that is to be started.
#[derive(Clone, Debug)]
pub struct HubSpec {
    pub path: String,
    /// 1, 3 or 5.
    pub nodes: usize,
    /// URLs of the parent's uplink; empty at the top.
    pub parent: Vec<String>,
    /// Node 1 writes an SQLite historian.
    pub historian: bool,
    pub heartbeat: Duration,
    pub election_timeout: Duration,
    /// More YAML for each file, such as `rules:`.
    pub further: String,
}

/// Where one node listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) log: SocketAddr,
    pub(super) uplink: SocketAddr,
    pub(super) mqtt: SocketAddr,
}

impl HubSpec {
    /// One node, no parent, no historian, and timers that suit one machine.
    pub fn new(path: &str) -> HubSpec {
        HubSpec {
            path: path.to_owned(),
            nodes: 1,
            parent: Vec::new(),
            historian: false,
            heartbeat: Duration::from_millis(100),
            election_timeout: Duration::from_millis(500),
            further: String::new(),
        }
    }

    /// The file of the node at `index`, whose folder is `directory`.
    pub(super) fn yaml(&self, index: usize, all: &[Addresses], directory: &Path) -> String {
        let own = all[index];
        let nodes: Vec<String> = (1..)
            .zip(all)
            .map(|(id, addresses)| format!("{id}: {}", quoted(&addresses.log)))
            .collect();
        let mut yaml = format!(
            "hub: {{ path: {} }}\nnode: {{ id: {} }}\ndata_dir: {}\n",
            self.path,
            index + 1,
            quoted(&directory.join("data").display())
        );
        let mut section = |text: String| {
            // Writing into a string can't fail.
            let _ = writeln!(yaml, "{text}");
        };
        section(format!(
            "log:\n  listen: {}\n  nodes: {{ {} }}\n  uplink: {}\n  heartbeat: {}ms\n  \
             election_timeout: {}ms",
            own.log,
            nodes.join(", "),
            own.uplink,
            self.heartbeat.as_millis(),
            self.election_timeout.as_millis(),
        ));
        section(format!("broker:\n  listen: {}", own.mqtt));
        if !self.parent.is_empty() {
            let urls: Vec<String> = self.parent.iter().map(quoted).collect();
            section(format!("parent:\n  uplink: [ {} ]", urls.join(", ")));
        }
        if self.historian && index == 0 {
            let path = historian_path(directory);
            section(format!("historian:\n  sqlite: {}", quoted(&path.display())));
        }
        section(self.further.clone());
        yaml
    }
}

/// Where node 1 of a hub keeps its historian.
pub(super) fn historian_path(directory: &Path) -> std::path::PathBuf {
    directory.join("historian.sqlite")
}

/// As a YAML string; `${` would begin a variable.
pub(crate) fn quoted(text: &(impl std::fmt::Display + ?Sized)) -> String {
    serde_json::Value::from(text.to_string().replace("${", "$${")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(port: u16) -> Addresses {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Addresses {
            log: at(port),
            uplink: at(port + 1),
            mqtt: at(port + 2),
        }
    }

    #[test]
    fn the_files_are_read_as_they_are_meant() {
        let mut spec = HubSpec::new("acme.cologne");
        spec.nodes = 3;
        spec.parent = vec!["http://127.0.0.1:1".into(), "http://127.0.0.1:2".into()];
        spec.historian = true;
        let all = [addresses(100), addresses(200), addresses(300)];
        let directory = Path::new("/tmp/a b${c}$d");
        for (index, own) in all.iter().enumerate() {
            let text = spec.yaml(index, &all, directory);
            let config = kit::config::from_str("hub.yaml", &text).unwrap();
            assert_eq!(config.hub.path.as_str(), "acme.cologne");
            assert_eq!(config.node.id.0, index as u64 + 1);
            assert_eq!(*config.data_dir, directory.join("data"));
            let nodes = config.log_nodes("test").unwrap();
            let nodes: Vec<String> = nodes.values().map(ToString::to_string).collect();
            assert_eq!(nodes, ["127.0.0.1:100", "127.0.0.1:200", "127.0.0.1:300"]);
            let log = config.log.unwrap();
            assert_eq!((*log.listen, *log.uplink.unwrap()), (own.log, own.uplink));
            assert_eq!(*log.election_timeout, Duration::from_millis(500));
            assert_eq!(*config.broker.unwrap().listen, own.mqtt);
            assert_eq!(config.parent.unwrap().uplink.0.len(), 2);
            assert_eq!(config.historian.is_some(), index == 0);
        }
    }
}
