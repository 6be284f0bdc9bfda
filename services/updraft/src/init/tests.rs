//! Every combination of choices gives a file that the types take, and says what was chosen.

use clap::Parser;
use kit::config::{HistorianBackend, HubConfig, Source};

use super::*;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn args(flags: &str) -> Args {
    Cli::parse_from(std::iter::once("init").chain(flags.split_whitespace())).args
}

fn text(flags: &str) -> Result<String, String> {
    let plan = Plan::of(&args(flags)).map_err(|mistake| mistake.to_string())?;
    Ok(write::hub_yaml(&plan, true))
}

fn config(text: &str) -> HubConfig {
    config::from_str_with(CONFIG, text, |_| Some("x".into()))
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

const ADDRESSES: &str = "n1.acme:7400,n2.acme:7400,10.0.0.3:7400";

#[test]
fn every_combination_is_a_right_file() {
    let nodes = [
        "",
        "--nodes 3 --node-id 3 --tls certs",
        "--nodes 3 --node-id 2 --insecure",
    ];
    let parents = [
        "none",
        "http://127.0.0.1:1",
        "https://a:7443,https://b:7443",
    ];
    let collectors = [
        "",
        "--collector opcua=opc.tcp://plc/x --collector modbus=m:502",
    ];
    for layer in ["edge", "site", "enterprise"] {
        for historian in ["", "sqlite", "postgres", "none"] {
            for nodes in nodes {
                for parent in parents {
                    for collectors in collectors {
                        for console in ["", "--console"] {
                            let historian = match historian {
                                "" => String::new(),
                                given => format!("--historian {given}"),
                            };
                            let addresses = match nodes {
                                "" => String::new(),
                                _ => format!("--addresses {ADDRESSES}"),
                            };
                            let flags = format!(
                                "--layer {layer} --path acme.x {historian} {nodes} {addresses} \
                                 --parent {parent} {collectors} {console}"
                            );
                            assert_chosen(&flags, &config(&text(&flags).unwrap()));
                        }
                    }
                }
            }
        }
    }
}

fn assert_chosen(flags: &str, config: &HubConfig) {
    let chosen = |flag: &str| flags.contains(flag);
    let log = config.log.as_ref().unwrap();
    let nodes = log.nodes.as_ref().map_or(1, |nodes| nodes.len());
    assert_eq!(nodes, if chosen("--nodes 3") { 3 } else { 1 }, "{flags}");
    assert_eq!(log.uplink.is_some(), !chosen("edge"), "{flags}");
    let parents = config
        .parent
        .as_ref()
        .map_or(0, |parent| parent.uplink.0.len());
    let expected = match () {
        () if chosen("https://a") => 2,
        () if chosen("http://") => 1,
        () => 0,
    };
    assert_eq!(parents, expected, "{flags}");
    assert_eq!(
        config.tls.is_some(),
        chosen("https://") || chosen("--tls"),
        "{flags}"
    );
    let backend = config
        .historian
        .as_ref()
        .map(|historian| &historian.backend);
    match () {
        () if chosen("historian none") => assert!(backend.is_none(), "{flags}"),
        () if chosen("historian postgres") || (!chosen("historian") && !chosen("edge")) => {
            assert!(
                matches!(backend, Some(HistorianBackend::Postgres(_))),
                "{flags}"
            );
        }
        () => assert!(
            matches!(backend, Some(HistorianBackend::Sqlite(_))),
            "{flags}"
        ),
    }
    assert_eq!(config.console.is_some(), chosen("--console"), "{flags}");
    let sources: Vec<_> = config
        .collectors
        .iter()
        .filter_map(|one| one.source())
        .collect();
    let both = matches!(&sources[..], [Source::Opcua(_), Source::Modbus(_)]);
    assert_eq!(both, chosen("--collector"), "{flags}");
    assert!(both || sources.is_empty(), "{flags}");
}

/// What stands in comments is as right as what stands beside it.
#[test]
fn what_is_commented_out_is_right_too() {
    let text = text("--layer edge --path acme --parent none --historian none").unwrap();
    let mut used = String::new();
    let mut ends = false;
    for line in text.lines() {
        let bare = line.trim_start();
        let key = |text: &str| {
            let word = text.trim_start().trim_start_matches("- ");
            let end = word.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            text.trim_start().starts_with("- {")
                || end.is_some_and(|end| end > 0 && word[end..].starts_with(':'))
        };
        let commented = bare.strip_prefix("# ").filter(|text| key(text));
        let Some(commented) = commented.filter(|text| !text.starts_with("insecure")) else {
            used += &format!("{line}\n");
            continue;
        };
        // One of the two databases.
        ends |= commented.trim_start().starts_with("sqlite");
        if !commented.trim_start().starts_with("postgres") {
            let indent = &line[..line.len() - bare.len()];
            used += &format!("{indent}{commented}\n");
        }
    }
    assert!(ends, "{text}");
    let hash = "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0$\
                YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY";
    // These three are one node's in a hub of three.
    let used = used
        .replace("$argon2id$…", hash)
        .replace("127.0.0.1:7400", "10.0.0.1:7400");
    let config = config(&used);
    assert!(config.tls.is_some() && config.parent.is_some() && config.historian.is_some());
    assert_eq!(config.rules.lanes.len(), 1, "{used}");
    assert_eq!(config.collectors.len(), 2, "{used}");
    assert_eq!(config.console.unwrap().users.len(), 1, "{used}");
    assert!(config.telemetry.otlp.is_some(), "{used}");
    assert_eq!(config.log.unwrap().nodes.unwrap().len(), 3, "{used}");
}

#[test]
fn three_nodes_on_one_machine_do_not_share_ports() {
    let flags = "--layer site --path acme --parent none --nodes 3 \
                 --addresses 127.0.0.1:7400,127.0.0.1:7401,127.0.0.1:7402 --console --node-id";
    let listens = [1, 2, 3].map(|id| {
        let config = config(&text(&format!("{flags} {id}")).unwrap());
        let log = config.log.unwrap();
        [
            log.listen.port(),
            log.uplink.unwrap().port(),
            config.broker.unwrap().listen.port(),
            config.console.unwrap().listen.port(),
            config.telemetry.listen.unwrap().port(),
        ]
    });
    assert_eq!(listens[0], [7400, 7443, 1883, 8080, 9400]);
    assert_eq!(listens[2], [7402, 7445, 1885, 8082, 9402]);
}

#[test]
fn what_does_not_go_together_is_named_by_its_flag() {
    let least = "--layer edge --path acme --parent none";
    for (flags, expected) in [
        ("", "--layer is missing"),
        ("--layer site", "--path is missing"),
        ("--layer site --path a", "--parent is missing"),
        (&format!("{least} --nodes 3"), "--addresses is missing"),
        (
            &format!("{least} --nodes 2"),
            "--nodes: a hub has 1 or 3 nodes",
        ),
        (
            &format!("{least} --nodes 3 --addresses a:1,b:1"),
            "--addresses: expected three",
        ),
        (
            &format!("{least} --addresses a:1"),
            "--addresses is for a hub of three",
        ),
        (
            &format!("{least} --nodes 3 --addresses a:1,b:1,c:1"),
            "--node-id is missing",
        ),
        (
            &format!("{least} --node-id 2"),
            "--node-id: the node of a hub of one is 1",
        ),
        (
            &format!("{least},http://a"),
            "--parent: \"none\" stands alone",
        ),
        (
            &format!("{least} --postgres-url x"),
            "--postgres-url needs --historian postgres",
        ),
        (
            &format!("{least} --mqtt-listen 0.0.0.0:1"),
            "--mqtt-listen 0.0.0.0:1 accepts clear text",
        ),
        (
            &format!("{least} --console --console-listen 10.0.0.1:1"),
            "--console-listen 10.0.0.1:1 accepts clear text",
        ),
        (
            "--layer edge --path a --parent http://b:1",
            "--parent http://b:1 is reached in clear",
        ),
    ] {
        let mistake = text(flags).unwrap_err();
        assert!(mistake.starts_with(expected), "{flags}: {mistake}");
    }
}

#[test]
fn no_default_lets_a_secret_into_the_file() {
    let plan = Plan::of(&args("--layer site --path a --parent none")).unwrap();
    assert_eq!(plan.before_start(), ["set PGPASSWORD in the environment"]);
}
