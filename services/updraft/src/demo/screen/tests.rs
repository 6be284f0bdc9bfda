//! The view at several sizes, character by character: `tests/<columns>x<rows>.txt`. After a wanted
//! change, write them anew with `UPDATE_SNAPSHOTS=1 cargo test -p updraft snapshot`.

use std::path::PathBuf;
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier};

use super::draw::{Theme, draw};
use super::scene::{Hub, Machine, Node, Scene};
use crate::demo::story::Phase;

const COLOURS: Theme = Theme { colours: true };
const NO_COLOURS: Theme = Theme { colours: false };

fn hub(name: &str, nodes: &[Node], cut: Option<bool>) -> Hub {
    Hub {
        name: name.to_owned(),
        nodes: (1..).zip(nodes.iter().copied()).collect(),
        cut,
        records: Some(12_345),
        rates: (0..100)
            .map(|n| (n % 7 != 6).then_some(100 * (n % 7)))
            .collect(),
        lag: Some(0),
        unwritten: None,
    }
}

fn machine(name: &str, hub: &str, node: usize) -> Machine {
    Machine {
        name: name.to_owned(),
        at: (hub.to_owned(), node),
        acknowledged: 4321,
        under_way: 35,
    }
}

fn scene() -> Scene {
    use Node::{Candidate, Follower, Killed, Leader, Silent, Starting};
    let enterprise = Hub {
        records: None,
        rates: vec![Some(5), None],
        unwritten: Some(17),
        ..hub("acme", &[Killed], None)
    };
    let site = Hub {
        lag: Some(420),
        unwritten: Some(3),
        ..hub("└ cologne", &[Leader, Follower, Starting], Some(false))
    };
    Scene {
        phase: Phase::Running(Duration::from_secs(30)),
        elapsed: Duration::from_millis(17_450),
        fault: Some(("kill acme".to_owned(), Duration::from_millis(1_234))),
        hubs: vec![
            enterprise,
            site,
            hub("  ├ line-1", &[Leader], Some(true)),
            hub("  └ line-2", &[Silent, Candidate, Follower], Some(false)),
        ],
        machines: vec![
            machine("fridge-01", "line-1", 1),
            machine("fridge-02", "line-2", 1),
            machine("spindle-01", "line-2", 2),
        ],
        events: (1..=30).map(event).collect(),
        web: Some((
            "http://127.0.0.1:43210".to_owned(),
            "viewer / abc, operator / def, admin / ghi".to_owned(),
        )),
        ending: false,
    }
}

fn event(number: u64) -> (Duration, String) {
    let text = match number {
        30 => {
            "acme.cologne node 2: back and level with the others, in more words than one line of \
               a small terminal can take"
                .to_owned()
        }
        number => format!("event {number}"),
    };
    (Duration::from_millis(number * 500), text)
}

fn drawn(scene: &Scene, theme: Theme, (width, height): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, scene, theme)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let rows = buffer.content().chunks(buffer.area.width.into());
    let rows = rows.map(|row| {
        let row: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        row.trim_end().to_owned() + "\n"
    });
    rows.collect()
}

#[test]
fn the_view_is_its_snapshot_at_every_size() {
    for size in [(200, 50), (120, 40), (80, 24), (60, 16), (30, 5)] {
        let found = text(&drawn(&scene(), COLOURS, size));
        let name = format!("{}x{}.txt", size.0, size.1);
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("src/demo/screen/tests")
            .join(&name);
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(&file, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            found == expected,
            "{name} is\n{expected}\nand was drawn as\n{found}"
        );
    }
}

#[test]
fn no_size_is_too_small_to_be_drawn() {
    for width in 1..100 {
        for height in 1..30 {
            drawn(&scene(), COLOURS, (width, height));
        }
    }
}

#[test]
fn without_colours_a_killed_node_still_stands_out() {
    let with = drawn(&scene(), COLOURS, (80, 24));
    let without = drawn(&scene(), NO_COLOURS, (80, 24));
    assert_eq!(text(&with), text(&without));
    let is_coloured = |buffer: &Buffer| {
        let mut cells = buffer.content().iter();
        cells.any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    assert!(is_coloured(&with) && !is_coloured(&without));
    let alarms = |buffer: &Buffer| {
        let cells = buffer.content().iter();
        let alarms = cells.filter(|cell| cell.modifier.contains(Modifier::REVERSED));
        alarms
            .map(ratatui::buffer::Cell::symbol)
            .collect::<String>()
    };
    assert!(alarms(&without).contains("KILLED"), "{}", alarms(&without));
    assert!(
        alarms(&without).contains("link CUT"),
        "{}",
        alarms(&without)
    );
}

#[test]
fn when_all_is_well_it_says_so() {
    let scene = Scene {
        fault: None,
        phase: Phase::LookingAround,
        ..scene()
    };
    let text = text(&drawn(&scene, COLOURS, (80, 24)));
    assert!(text.contains("all nodes run, all links are up"), "{text}");
    assert!(text.contains("q: end with an audit"), "{text}");
}
