//! A simulated machine as a process: `chaos-tests/clients/…_machine.py`.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../chaos-tests/clients");
const PYTHON: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../target/python/bin/python"
);

/// Killed when it is dropped.
pub(crate) struct Machine {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Machine {
    pub(crate) fn opcua(options: &[&str]) -> Machine {
        Machine::opcua_at(free_port(), options)
    }

    pub(crate) fn opcua_at(port: u16, options: &[&str]) -> Machine {
        Machine::start("opcua_machine.py", port, options)
    }

    pub(crate) fn modbus() -> Machine {
        Machine::modbus_at(free_port())
    }

    pub(crate) fn modbus_at(port: u16) -> Machine {
        Machine::start("modbus_machine.py", port, &[])
    }

    fn start(script: &str, port: u16, options: &[&str]) -> Machine {
        assert!(
            Path::new(PYTHON).exists(),
            "{PYTHON} is missing; run .ci/setup"
        );
        let mut child = Command::new(PYTHON)
            .arg(format!("{CLIENTS}/{script}"))
            .args(["--commands", "--port", &port.to_string()])
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut machine = Machine {
            child,
            commands,
            answers,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
        };
        assert_eq!(machine.line(), "ready");
        machine
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn command(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").unwrap();
        self.line()
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
