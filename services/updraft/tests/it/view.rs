//! The demo on a terminal: a real pseudo-terminal, and a terminal emulator that reads what it draws.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![cfg(target_os = "linux")]

use std::fs::File;
use std::io::Read;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

const LIMIT: Duration = Duration::from_secs(120);

/// A demo on a terminal of its own.
struct OnTerminal {
    child: Child,
    keyboard: OwnedFd,
    /// Kept open, so that the terminal outlives the demo.
    terminal: OwnedFd,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl OnTerminal {
    fn demo(directory: &Path, arguments: &[&str]) -> OnTerminal {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let keyboard = openpt(flags).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        let terminal = ioctl_tiocgptpeer(&keyboard, flags).unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(cells(24), cells(80), 200)));
        read(keyboard.try_clone().unwrap().into(), Arc::clone(&screen));
        tcsetwinsize(&keyboard, size(80, 24)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_updraft"))
            .arg("demo")
            .args(arguments)
            .env("TMPDIR", directory)
            .env("TERM", "xterm-256color")
            .stdin(terminal.try_clone().unwrap())
            .stdout(terminal.try_clone().unwrap())
            .stderr(terminal.try_clone().unwrap())
            .spawn()
            .unwrap();
        OnTerminal {
            child,
            keyboard,
            terminal,
            screen,
        }
    }

    /// All that is to be seen now.
    fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Whether programs that draw over the whole screen have it now.
    fn is_covered(&self) -> bool {
        self.screen.lock().unwrap().screen().alternate_screen()
    }

    fn wait_for(&self, what: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.text().contains(what) {
            assert!(Instant::now() < deadline, "no {what:?} in\n{}", self.text());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&self, key: &[u8]) {
        assert_eq!(rustix::io::write(&self.keyboard, key).unwrap(), key.len());
    }

    fn resize(&self, columns: u16, rows: u16) {
        self.screen
            .lock()
            .unwrap()
            .screen_mut()
            .set_size(cells(rows), cells(columns));
        tcsetwinsize(&self.keyboard, size(columns, rows)).unwrap();
        // The kernel tells only whom the terminal controls.
        self.signal(Signal::WINCH);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Whether lines are edited and characters echoed: what a shell expects of a terminal.
    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.terminal).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Waits for the end of the demo and for its last words; returns its exit code.
    fn ended(mut self, last_words: &str) -> Option<i32> {
        let code = self.child.wait().unwrap().code();
        self.wait_for(last_words);
        assert!(!self.is_covered(), "{}", self.text());
        assert!(self.is_cooked(), "the terminal was not restored");
        let screen = self.screen.lock().unwrap();
        assert!(!screen.screen().hide_cursor(), "the cursor stays hidden");
        code
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // When a test fails; the nodes end with it.
        let _ = self.child.kill();
    }
}

fn cells(count: u16) -> NonZero<u16> {
    NonZero::new(count).unwrap()
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn read(mut from: File, screen: Arc<Mutex<vt100::Parser>>) {
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            screen.lock().unwrap().process(&buffer[..read]);
        }
    });
}

#[test]
fn the_view_is_drawn_at_every_size_and_leaves_the_report_behind() {
    let directory = tempfile::tempdir().unwrap();
    let demo = OnTerminal::demo(directory.path(), &["--keep", "--no-faults"]);
    demo.wait_for("look around");
    assert!(demo.is_covered() && !demo.is_cooked());
    demo.wait_for("acknowledged");
    demo.wait_for("1 leader");
    demo.wait_for("q: end with an audit");
    demo.resize(150, 45);
    // At this size events stand at the side of the hubs.
    demo.wait_for("─ events ─");
    demo.resize(80, 24);
    demo.press(b"q");
    assert_eq!(demo.ended("OK: nothing is missing"), Some(0));
}

#[test]
fn the_terminal_is_given_back_when_the_demo_is_told_to_end() {
    let endings: [fn(&OnTerminal); 2] =
        [|demo| demo.signal(Signal::TERM), |demo| demo.press(b"\x03")];
    for end in endings {
        let directory = tempfile::tempdir().unwrap();
        let demo = OnTerminal::demo(directory.path(), &["--for", "1h"]);
        demo.wait_for("1 leader");
        assert!(demo.is_covered() && !demo.is_cooked());
        end(&demo);
        let last_words = "interrupted: all processes are stopped";
        assert_eq!(demo.ended(last_words), Some(130));
    }
}
