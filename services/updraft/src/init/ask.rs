//! The questions on a terminal: only for what no flag has said.

use std::fmt;
use std::net::SocketAddr;

use inquire::validator::Validation;
use inquire::{Confirm, InquireError, Select, Text};
use kit::config::{HostPort, Scalar};
use kit::tls::is_loopback;
use proto::HubPath;

use super::args::{self, Args, Historian, Layer, Parent};
use super::plan::POSTGRES_URL;

/// Fills in what is missing. `false`: the person has had enough.
pub(super) fn complete(args: &mut Args) -> anyhow::Result<bool> {
    match ask(args) {
        Ok(write) => Ok(write),
        Err(InquireError::OperationCanceled | InquireError::OperationInterrupted) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn ask(args: &mut Args) -> Result<bool, InquireError> {
    let layer = match args.layer {
        Some(layer) => layer,
        None => choose("Which layer is this hub on?", &LAYERS, Layer::Edge)?,
    };
    args.layer = Some(layer);
    if args.path.is_none() {
        let help = "enterprise.site.area…, beginning with the path of the hub above";
        args.path = Some(text::<HubPath>("Where is it?", "", help)?);
    }
    if args.parent.is_empty() && layer.has_parent() {
        args.parent = parent()?;
    }
    historian(args, layer)?;
    nodes(args)?;
    if args.collector.is_empty() {
        collectors(args)?;
    }
    if args.mqtt_listen.is_none() {
        let help = "0.0.0.0:1883 for clients on other machines";
        let port = 1882 + u16::from(args.node_id.unwrap_or(1));
        let default = format!("127.0.0.1:{port}");
        args.mqtt_listen = Some(text::<SocketAddr>(
            "Where do MQTT clients connect?",
            &default,
            help,
        )?);
    }
    if !args.console {
        args.console = Confirm::new("Serve the web console?")
            .with_default(true)
            .prompt()?;
    }
    insecure(args)?;
    let file = args.dir.join(super::CONFIG);
    Confirm::new(&format!("Write {}?", file.display()))
        .with_default(true)
        .prompt()
}

fn parent() -> Result<Vec<Parent>, InquireError> {
    let check = |text: &str| {
        let problem = text
            .split(',')
            .find_map(|url| args::parent(url.trim()).err());
        Ok(problem.map_or(Validation::Valid, |why| Validation::Invalid(why.into())))
    };
    let answer = Text::new("Where is the uplink of the hub above?")
        .with_default("none")
        .with_help_message("https://site.acme:7443, with commas between its nodes, or none")
        .with_validator(check)
        .prompt()?;
    let urls = answer
        .split(',')
        .filter_map(|url| args::parent(url.trim()).ok());
    Ok(urls.collect())
}

fn historian(args: &mut Args, layer: Layer) -> Result<(), InquireError> {
    if args.historian.is_none() {
        let question = "Which database do the values go into?";
        args.historian = Some(choose(question, &HISTORIANS, layer.historian())?);
    }
    if args.historian == Some(Historian::Postgres) && args.postgres_url.is_none() {
        let help = "${NAME} is taken from the environment: passwords stay out of the file";
        args.postgres_url = Some(text::<String>("Where is it?", POSTGRES_URL, help)?);
    }
    Ok(())
}

fn nodes(args: &mut Args) -> Result<(), InquireError> {
    let given = args.addresses.len();
    let nodes = match args.nodes {
        Some(nodes) => nodes,
        None if given > 0 => 3,
        None => choose("How many nodes has it?", &NODES, 1)?,
    };
    args.nodes = Some(nodes);
    if nodes == 1 {
        return Ok(());
    }
    for id in given + 1..=usize::from(nodes) {
        let question = format!("Where is the log of node {id}?");
        let help = "host and port, as the other nodes reach it";
        let default = format!("127.0.0.1:{}", 7399 + id);
        args.addresses
            .push(text::<HostPort>(&question, &default, help)?);
    }
    if args.node_id.is_none() {
        let ids = ["1", "2", "3"].map(|id| Choice(id, id.parse().unwrap_or(1)));
        args.node_id = Some(choose("Which of them is this?", &ids, 1)?);
    }
    Ok(())
}

fn collectors(args: &mut Args) -> Result<(), InquireError> {
    loop {
        let check = |text: &str| {
            let valid = text.is_empty() || args::collector(text).is_ok();
            let why = args::collector(text).err().unwrap_or_default();
            Ok(match valid {
                true => Validation::Valid,
                false => Validation::Invalid(why.into()),
            })
        };
        let answer = Text::new("A machine to read?")
            .with_help_message("opcua=opc.tcp://host:4840 or modbus=host:502; empty for no more")
            .with_validator(check)
            .prompt()?;
        match args::collector(&answer) {
            Ok(collector) => args.collector.push(collector),
            Err(_) => return Ok(()),
        }
    }
}

/// Clear text is accepted only by who was told of it.
fn insecure(args: &mut Args) -> Result<(), InquireError> {
    let open = args
        .mqtt_listen
        .is_some_and(|address| !is_loopback(&address));
    if open && !args.insecure {
        args.insecure =
            Confirm::new("Accept clear text and anonymous clients from other machines?")
                .with_default(false)
                .with_help_message(
                    "MQTT has neither TLS nor users yet: only in a network of its own",
                )
                .prompt()?;
    }
    Ok(())
}

/// What is offered, and what it stands for.
#[derive(Clone, Copy)]
struct Choice<T>(&'static str, T);

impl<T> fmt::Display for Choice<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

const LAYERS: [Choice<Layer>; 3] = [
    Choice("edge: beside the machines", Layer::Edge),
    Choice("site: a plant", Layer::Site),
    Choice("enterprise: the top", Layer::Enterprise),
];

const HISTORIANS: [Choice<Historian>; 3] = [
    Choice("sqlite: a file on this machine", Historian::Sqlite),
    Choice(
        "postgres: a server, with TimescaleDB or without",
        Historian::Postgres,
    ),
    Choice("none", Historian::None),
];

const NODES: [Choice<u8>; 2] = [
    Choice("1: acknowledged means on this one disk", 1),
    Choice("3: any one of them may fail", 3),
];

fn choose<T: Copy + PartialEq>(
    question: &str,
    choices: &[Choice<T>],
    default: T,
) -> Result<T, InquireError> {
    let start = choices.iter().position(|choice| choice.1 == default);
    let chosen = Select::new(question, choices.to_vec())
        .with_starting_cursor(start.unwrap_or_default())
        .prompt()?;
    Ok(chosen.1)
}

/// Asked again until it is what the file takes.
fn text<T: Scalar>(question: &str, default: &str, help: &str) -> Result<T, InquireError> {
    let check = |text: &str| {
        Ok(match T::parse(text) {
            Some(_) => Validation::Valid,
            None => Validation::Invalid(format!("expected {}", T::EXPECTED).into()),
        })
    };
    let mut prompt = Text::new(question)
        .with_help_message(help)
        .with_validator(check);
    if !default.is_empty() {
        prompt = prompt.with_default(default);
    }
    let answer = prompt.prompt()?;
    T::parse(&answer).ok_or_else(|| InquireError::InvalidConfiguration(T::EXPECTED.to_owned()))
}
