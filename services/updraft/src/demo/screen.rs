//! The live view on a terminal. It has a thread of its own, so that it goes on whatever the demo is
//! busy with; and whatever ends the demo, the terminal is given back as it was.

mod scene;
mod draw;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal, Stdout, stdout};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute};
use tokio::sync::watch;
use tokio::time::Instant;

use super::gauges::Sample;
use super::ledger::Account;
use super::stops::Stops;
use super::story::Story;
use crate::pyramid::Observer;
use draw::{Theme, draw};
use scene::Scene;

const REDRAW: Duration = Duration::from_millis(100);

/// The terminal is ours now. There is only one.
static OPEN: AtomicBool = AtomicBool::new(false);

/// What the view shows, and whom it tells that somebody wants to end.
pub(super) struct Watched {
    /// From the bottom to the top, as samples have them.
    pub(super) hubs: Vec<Observer>,
    pub(super) accounts: Vec<Arc<Account>>,
    pub(super) samples: watch::Receiver<Sample>,
    pub(super) story: Story,
    pub(super) stops: Stops,
}

/// The view. Dropping it leaves the terminal as it was before.
#[derive(Debug)]
pub(super) struct Screen {
    thread: Option<JoinHandle<()>>,
    leaving: Arc<AtomicBool>,
}

/// Whether standard output is a terminal that can show it.
pub(super) fn suits() -> bool {
    let term = std::env::var("TERM");
    let able = match &term {
        Ok(term) => !term.is_empty() && term != "dumb",
        Err(_) => cfg!(windows),
    };
    able && stdout().is_terminal()
}

impl Screen {
    pub(super) fn open(watched: Watched) -> io::Result<Screen> {
        restore_after_panics();
        let terminal = take_over().inspect_err(|_| restore())?;
        watched.story.cover(true);
        let leaving = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("view".into()).spawn({
            let leaving = Arc::clone(&leaving);
            move || show(terminal, &watched, &leaving)
        });
        let thread = thread.inspect_err(|_| restore())?;
        Ok(Screen {
            thread: Some(thread),
            leaving,
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of it was told by the hook.
            let _ = thread.join();
        }
        restore();
    }
}

fn take_over() -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    enable_raw_mode()?;
    OPEN.store(true, Ordering::SeqCst);
    execute!(stdout(), EnterAlternateScreen)?;
    Terminal::new(CrosstermBackend::new(stdout()))
}

/// Gives the terminal back, if it was taken. Also for who ends the process at once.
pub(super) fn restore() {
    if OPEN.swap(false, Ordering::SeqCst) {
        // A terminal that is gone needs nothing.
        let _ = disable_raw_mode();
        let _ = execute!(stdout(), LeaveAlternateScreen, cursor::Show);
    }
}

/// What a panic has to say must not be lost with the view.
fn restore_after_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            before(info);
        }));
    });
}

fn show(mut terminal: Terminal<CrosstermBackend<Stdout>>, watched: &Watched, leaving: &AtomicBool) {
    let _uncovers = Covers(&watched.story);
    let theme = Theme::of_environment();
    let open = || OPEN.load(Ordering::SeqCst) && !leaving.load(Ordering::Relaxed);
    while open() {
        let scene = scene(watched);
        let shown = terminal
            .draw(|frame| draw(frame, &scene, theme))
            .map(|_| ());
        let asked = shown.and_then(|()| take_keys());
        match asked {
            Ok(true) => watched.stops.ask(),
            Ok(false) => {}
            Err(_) => {
                // The terminal is gone, and with it whoever looked at it.
                watched.stops.ask();
                break;
            }
        }
    }
}

/// Lines are told again when the view ends, also when it panics.
struct Covers<'a>(&'a Story);

impl Drop for Covers<'_> {
    fn drop(&mut self) {
        self.0.cover(false);
    }
}

/// Waits for a key until the next drawing is due; whether it asks to end.
fn take_keys() -> io::Result<bool> {
    if !event::poll(REDRAW)? {
        return Ok(false);
    }
    let Event::Key(key) = event::read()? else {
        return Ok(false);
    };
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Ok(key.kind == KeyEventKind::Press
        && match key.code {
            KeyCode::Char('c') => control,
            KeyCode::Char('q' | 'Q') => true,
            _ => false,
        })
}

fn scene(watched: &Watched) -> Scene {
    let lab = watched.story.lab().borrow().clone();
    let sample = watched.samples.borrow().clone();
    let mut scene = Scene::of(
        &watched.story.now(),
        &watched.hubs,
        &sample,
        &lab,
        Instant::now(),
        SystemTime::now(),
    );
    scene.take_machines(&watched.accounts);
    scene.ending = watched.stops.enough.is_cancelled();
    scene
}
