//! How a scene is drawn: what matters most is there on a small terminal, and a large one shows more
//! of the same.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, LineGauge, Paragraph, Sparkline};

use super::scene::{Hub, Machine, Node, Scene};
use crate::demo::story::Phase;

/// Below it, only the state and the keys are shown.
const LEAST: (u16, u16) = (40, 10);
/// From here on, hubs have two rows, and machines are shown.
const ROOMY_ROWS: u16 = 20;
/// From here on, events stand at the side.
const WIDE_COLUMNS: u16 = 130;
/// The widest name of a hub with its place in the tree.
const NAME: usize = 13;
/// What stands left and right of a hub's sparkline.
const COUNTS: u16 = 33;
const LAGS: u16 = 30;

/// How things look that mean something. Nothing is told by colour alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    pub(super) colours: bool,
}

impl Theme {
    /// <https://no-color.org>
    pub(super) fn of_environment() -> Theme {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Theme { colours: !refused }
    }

    fn good(self) -> Style {
        self.colour(Color::Green)
    }

    fn waiting(self) -> Style {
        self.colour(Color::Yellow)
    }

    fn bad(self) -> Style {
        self.colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    fn alarm(self) -> Style {
        self.bad().add_modifier(Modifier::REVERSED)
    }

    fn title(self) -> Style {
        self.colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    fn aside(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn colour(self, colour: Color) -> Style {
        if self.colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, scene: &Scene, theme: Theme) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let lines = vec![
            headline(scene, theme),
            banner(scene, theme),
            keys(scene, theme),
        ];
        return frame.render_widget(Paragraph::new(lines), area);
    }
    let footer = footer(scene, theme, area.width);
    let rows = u16::try_from(footer.len()).unwrap_or(1);
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(0),
        Constraint::Length(rows),
    ])
    .areas(area);
    draw_head(frame, head, scene, theme);
    draw_body(frame, body, scene, theme, area.height >= ROOMY_ROWS);
    frame.render_widget(Paragraph::new(footer), foot);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, scene: &Scene, theme: Theme) {
    let [first, second] = Layout::vertical([Constraint::Length(1); 2]).areas(area);
    let headline = headline(scene, theme);
    let width = u16::try_from(headline.width() + 2).unwrap_or(u16::MAX);
    let [text, gauge] =
        Layout::horizontal([Constraint::Length(width), Constraint::Min(0)]).areas(first);
    frame.render_widget(headline, text);
    if let Some(progress) = scene.progress().filter(|_| gauge.width > 12) {
        let gauge_line = LineGauge::default()
            .ratio(progress)
            .filled_style(theme.good());
        frame.render_widget(gauge_line, gauge);
    }
    frame.render_widget(banner(scene, theme), second);
}

fn draw_body(frame: &mut Frame<'_>, area: Rect, scene: &Scene, theme: Theme, roomy: bool) {
    let (left, right) = if area.width >= WIDE_COLUMNS {
        let [left, right] =
            Layout::horizontal([Constraint::Percentage(58), Constraint::Min(0)]).areas(area);
        (left, Some(right))
    } else {
        (area, None)
    };
    let count = |rows: usize| u16::try_from(rows).unwrap_or(u16::MAX);
    let per_hub = if roomy { 2 } else { 1 };
    let machines = if roomy {
        count(scene.machines.len()) + 1
    } else {
        0
    };
    let [hubs, machines, rest] = Layout::vertical([
        Constraint::Length(per_hub * count(scene.hubs.len()) + 1),
        Constraint::Length(machines),
        Constraint::Min(0),
    ])
    .areas(left);
    draw_hubs(frame, hubs, scene, theme, roomy);
    draw_machines(frame, machines, scene, theme);
    draw_events(frame, right.unwrap_or(rest), scene, theme);
}

/// A rule with a title; returns what is below it.
fn section(frame: &mut Frame<'_>, area: Rect, title: &'static str, theme: Theme) -> Rect {
    let title = Span::styled(format!(" {title} "), theme.title());
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(theme.aside())
        .title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    inner
}

fn headline(scene: &Scene, theme: Theme) -> Line<'static> {
    let elapsed = seconds(scene.elapsed);
    let doing = match scene.phase {
        Phase::Starting => "starting".to_owned(),
        Phase::Running(total) => format!("{elapsed} of {}", humantime::format_duration(total)),
        Phase::LookingAround => format!("{elapsed}, look around"),
        Phase::Draining => format!("{elapsed}, the machines are stopped: all that is left arrives"),
        Phase::Auditing => format!("{elapsed}, auditing"),
    };
    Line::from(vec![
        Span::styled(" Updraft demo ", theme.title()),
        Span::raw(format!(" {doing}")),
    ])
}

fn banner(scene: &Scene, theme: Theme) -> Line<'static> {
    match &scene.fault {
        Some((what, since)) => Line::styled(
            format!(" FAULT  {what}  for {} ", seconds(*since)),
            theme.alarm(),
        ),
        None => Line::styled(" all nodes run, all links are up", theme.good()),
    }
}

fn footer(scene: &Scene, theme: Theme, width: u16) -> Vec<Line<'static>> {
    let Some((url, users)) = &scene.web else {
        return vec![keys(scene, theme)];
    };
    let mut first = Line::from(Span::styled(format!(" {url}"), theme.title()));
    let keys = keys(scene, theme);
    let gap = usize::from(width).saturating_sub(first.width() + keys.width() + 1);
    first.push_span(" ".repeat(gap.max(1)));
    first.extend(keys);
    let users = Line::styled(format!(" {users}"), theme.aside());
    vec![first, users]
}

fn keys(scene: &Scene, theme: Theme) -> Line<'static> {
    let text = match (scene.ending, scene.phase) {
        (true, _) => " ending; q again: at once",
        (false, Phase::LookingAround) => " q: end with an audit",
        (false, _) => " q: end",
    };
    Line::styled(text, theme.aside())
}

fn draw_hubs(frame: &mut Frame<'_>, area: Rect, scene: &Scene, theme: Theme, roomy: bool) {
    let area = section(frame, area, "hubs", theme);
    let per_hub = if roomy { 2 } else { 1 };
    let rows = Layout::vertical(vec![Constraint::Length(per_hub); scene.hubs.len()]).split(area);
    for (hub, area) in scene.hubs.iter().zip(rows.iter()) {
        if roomy {
            let [first, second] = Layout::vertical([Constraint::Length(1); 2]).areas(*area);
            frame.render_widget(nodes(hub, theme), first);
            draw_counts(frame, second, hub, theme);
        } else {
            frame.render_widget(one_row(hub, theme), *area);
        }
    }
}

/// `  └ line-2     link up  1 leader  2 follower  3 KILLED`
fn nodes(hub: &Hub, theme: Theme) -> Line<'static> {
    let mut line = name(hub);
    line.push_span(match hub.cut {
        None => Span::raw("          "),
        Some(false) => Span::styled("link up   ", theme.aside()),
        Some(true) => Span::styled("link CUT  ", theme.alarm()),
    });
    for (id, node) in &hub.nodes {
        line.push_span(Span::raw(format!("{id} ")));
        let (text, style) = node_text(*node, theme);
        line.push_span(Span::styled(text, style));
        line.push_span("  ");
    }
    line
}

fn name(hub: &Hub) -> Line<'static> {
    let name = &hub.name;
    let bold = Style::new().add_modifier(Modifier::BOLD);
    Line::from(Span::styled(format!(" {name:NAME$} "), bold))
}

fn node_text(node: Node, theme: Theme) -> (&'static str, Style) {
    match node {
        Node::Leader => ("leader", theme.good().add_modifier(Modifier::BOLD)),
        Node::Follower => ("follower", theme.good()),
        Node::Candidate => ("candidate", theme.waiting()),
        Node::Learner => ("learner", theme.waiting()),
        Node::Starting => ("starting", theme.waiting()),
        Node::Silent => ("no answer", theme.bad()),
        Node::Killed => ("KILLED", theme.alarm()),
    }
}

/// `      12345 records     710/s  ▁▂▃▄▅▆▇  lag 0  historian lag 0`
fn draw_counts(frame: &mut Frame<'_>, area: Rect, hub: &Hub, theme: Theme) {
    let lags_width = LAGS.min(area.width.saturating_sub(COUNTS));
    let [left, middle, right] = Layout::horizontal([
        Constraint::Length(COUNTS),
        Constraint::Min(0),
        Constraint::Length(lags_width),
    ])
    .areas(area);
    frame.render_widget(
        Line::raw(format!("{:>20}{}", records(hub), rate(hub))),
        left,
    );
    let shown = hub.rates.len().saturating_sub(middle.width.into());
    let bars = Sparkline::default()
        .data(hub.rates[shown..].iter().copied())
        .style(theme.colour(Color::Cyan));
    frame.render_widget(bars, middle);
    frame.render_widget(lags(hub, theme), right);
}

fn records(hub: &Hub) -> String {
    match hub.records {
        Some(records) => format!("{records} records"),
        None => "no answer".to_owned(),
    }
}

fn rate(hub: &Hub) -> String {
    match hub.rates.last() {
        Some(Some(rate)) => format!("{rate:>8}/s  "),
        _ => format!("{:>12}", ""),
    }
}

fn lags(hub: &Hub, theme: Theme) -> Line<'static> {
    let mut line = Line::default();
    let known = [("lag", hub.lag), ("historian lag", hub.unwritten)];
    for (what, lag) in known {
        if let Some(lag) = lag {
            let style = if lag == 0 {
                theme.aside()
            } else {
                theme.waiting()
            };
            line.push_span(Span::styled(format!("  {what} {lag}"), style));
        }
    }
    line
}

fn one_row(hub: &Hub, theme: Theme) -> Line<'static> {
    let mut line = nodes(hub, theme);
    line.push_span(format!("{} ", records(hub)));
    line.extend(lags(hub, theme));
    line
}

fn draw_machines(frame: &mut Frame<'_>, area: Rect, scene: &Scene, theme: Theme) {
    if area.height > 0 {
        let area = section(frame, area, "machines", theme);
        let lines: Vec<Line<'_>> = scene.machines.iter().map(machine).collect();
        frame.render_widget(Paragraph::new(lines), area);
    }
}

fn machine(machine: &Machine) -> Line<'_> {
    let Machine {
        name,
        at: (hub, node),
        acknowledged,
        under_way,
    } = machine;
    let at = format!("at {hub} node {node}");
    Line::raw(format!(
        " {name:11} {at:16} {acknowledged:>11} acknowledged {under_way:>5} under way"
    ))
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, scene: &Scene, theme: Theme) {
    let area = section(frame, area, "events", theme);
    let room = usize::from(area.height);
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (at, text) in scene.events.iter().rev() {
        let mut event = event(*at, text, area.width.into());
        event.extend(lines);
        lines = event;
        if lines.len() >= room {
            break;
        }
    }
    let surplus = lines.len().saturating_sub(room);
    frame.render_widget(Paragraph::new(lines.split_off(surplus)), area);
}

/// With as many lines as it takes.
fn event(at: Duration, text: &str, width: usize) -> Vec<Line<'static>> {
    let mut at = format!("{:>8} ", seconds(at));
    let room = width.saturating_sub(at.len()).max(1);
    let lines = wrapped(text, room).into_iter().map(|text| {
        let line = Line::raw(format!("{at}{text}"));
        at = " ".repeat(at.len());
        line
    });
    lines.collect()
}

/// In lines of so many characters at most, unless a word is longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
