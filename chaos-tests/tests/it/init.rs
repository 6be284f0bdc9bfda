//! What `updraft init` writes, `updraft check` accepts and `updraft run` starts: three layers, each
//! with each kind of database, in clear text on one machine and with certificates.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use chaos_tests::postgres::Postgres;
use chaos_tests::wait;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use updraft::pyramid::free_ports;

use super::rig::{LIMIT, NODE};

const TOPIC: &str = "umh/v1/acme/cologne/line-1/_raw/temperature";

/// One node: its directory, and its process once it is started.
struct Node {
    directory: PathBuf,
    mqtt: String,
    child: Option<Child>,
}

impl Node {
    fn new(directory: PathBuf, flags: &[String]) -> Node {
        let mqtt = format!("127.0.0.1:{}", free_ports(1).unwrap()[0]);
        let telemetry = format!("127.0.0.1:{}", free_ports(1).unwrap()[0]);
        let output = Command::new(NODE)
            .args(["init", "--yes", "--dir"])
            .arg(&directory)
            .args(["--mqtt-listen", &mqtt, "--telemetry-listen", &telemetry])
            .args(flags)
            .output()
            .unwrap();
        succeeded(&output);
        let node = Node {
            directory,
            mqtt,
            child: None,
        };
        succeeded(&node.updraft(&["check"]));
        node
    }

    /// A command in the node's directory, as a person gives it.
    fn updraft(&self, arguments: &[&str]) -> Output {
        Command::new(NODE)
            .args(arguments)
            .current_dir(&self.directory)
            .output()
            .unwrap()
    }

    /// Its end is that of this test, however that comes about.
    fn start(&mut self) {
        let errors = std::fs::File::create(self.directory.join("stderr")).unwrap();
        let child = Command::new(NODE)
            .args(["run", "--exit-with-parent"])
            .current_dir(&self.directory)
            .stdin(Stdio::piped())
            .stdout(errors.try_clone().unwrap())
            .stderr(errors)
            .spawn();
        self.child = Some(child.unwrap());
    }

    async fn ready(&mut self) {
        let what = format!("{} is ready", self.directory.display());
        let ready = wait::until(&what, LIMIT, async || {
            let output = self.updraft(&["ready"]);
            match output.status.success() {
                true => Ok(()),
                false => Err(format!("{output:?}")),
            }
        });
        if let Err(error) = ready.await {
            let log = std::fs::read_to_string(self.directory.join("stderr")).unwrap();
            panic!("{error}\n{log}");
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself, which `ready` tells.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

fn flags(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Writes `ca.pem`, `node.pem` and `node.key` for all nodes on this machine.
fn certify(directory: &Path) {
    std::fs::create_dir(directory).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let node = params.signed_by(&key, &ca).unwrap();
    std::fs::write(directory.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(directory.join("node.pem"), node.pem()).unwrap();
    std::fs::write(directory.join("node.key"), key.serialize_pem()).unwrap();
}

/// An enterprise of one node, a site of three and an edge of one.
struct Pyramid {
    root: TempDir,
    scheme: &'static str,
    /// Of each node.
    further: Vec<String>,
    nodes: Vec<Node>,
}

impl Pyramid {
    fn new(scheme: &'static str) -> Pyramid {
        let root = tempfile::tempdir().unwrap();
        let mut further = Vec::new();
        if scheme == "https" {
            let certificates = root.path().join("certificates");
            certify(&certificates);
            further = vec!["--tls".to_owned(), certificates.display().to_string()];
        }
        Pyramid {
            root,
            scheme,
            further,
            nodes: Vec::new(),
        }
    }

    fn add(&mut self, name: &str, flags: Vec<String>) {
        let directory = self.root.path().join(name);
        self.nodes.push(Node::new(
            directory,
            &[flags, self.further.clone()].concat(),
        ));
    }

    /// `database` names what follows `--historian` for each hub.
    fn build(&mut self, database: impl Fn(&str) -> Vec<String>) {
        let ports = free_ports(13).unwrap();
        let at = |index: usize| format!("127.0.0.1:{}", ports[index]);
        let url = |index: usize| format!("{}://{}", self.scheme, at(index));
        let top = flags(&format!(
            "--layer enterprise --path acme --log-listen {} --uplink-listen {} \
             --console --console-listen {}",
            at(0),
            at(1),
            at(2)
        ));
        let mut all = vec![(
            "enterprise".to_owned(),
            [top, database("enterprise")].concat(),
        )];
        for id in 1..=3 {
            let site = flags(&format!(
                "--layer site --path acme.cologne --nodes 3 --node-id {id} \
                 --addresses {},{},{} --parent {} --uplink-listen {}",
                at(3),
                at(4),
                at(5),
                url(1),
                at(5 + id)
            ));
            all.push((format!("site-{id}"), [site, database("site")].concat()));
        }
        // Machines that are away are no reason for a node not to be ready.
        let edge = flags(&format!(
            "--layer edge --path acme.cologne.line-1 --log-listen {} --parent {},{},{} \
             --collector opcua=opc.tcp://{} --collector modbus={} --console --console-listen {}",
            at(9),
            url(6),
            url(7),
            url(8),
            at(10),
            at(11),
            at(12),
        ));
        all.push(("edge".to_owned(), [edge, database("edge")].concat()));
        for (name, flags) in all {
            self.add(&name, flags);
        }
    }

    /// All start and say that they are ready; what the edge takes arrives at the top.
    async fn run(&mut self) {
        for node in &mut self.nodes {
            node.start();
        }
        for node in &mut self.nodes {
            node.ready().await;
        }
        let edge = self.nodes.last().unwrap();
        let published = ["pub", "--broker", &edge.mqtt, "--value", TOPIC, "21.5"];
        succeeded(&edge.updraft(&published));
        let top = &self.nodes[0];
        wait::until("the value is at the top", LIMIT, async || {
            let tail = top.updraft(&["tail", "--from", "0", "--stop", "--json"]);
            let text = String::from_utf8_lossy(&tail.stdout).into_owned();
            match text.contains(TOPIC) {
                true => Ok(()),
                false => Err(format!("{tail:?}")),
            }
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn three_layers_without_a_database() {
    let mut pyramid = Pyramid::new("http");
    pyramid.build(|_| flags("--historian none"));
    pyramid.run().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_layers_with_certificates_and_sqlite() {
    let mut pyramid = Pyramid::new("https");
    pyramid.build(|_| flags("--historian sqlite"));
    pyramid.run().await;
    let file = pyramid.nodes[0].directory.join("data/historian.db");
    assert!(file.is_file(), "{}", file.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn three_layers_with_postgresql() {
    let postgres = Postgres::start().unwrap();
    for hub in ["enterprise", "site", "edge"] {
        postgres.psql(&format!("CREATE DATABASE {hub}")).unwrap();
    }
    let mut pyramid = Pyramid::new("http");
    pyramid.build(|hub| {
        let mut flags = flags("--historian postgres --postgres-url");
        flags.push(postgres.url_of(hub));
        flags
    });
    pyramid.run().await;
}
