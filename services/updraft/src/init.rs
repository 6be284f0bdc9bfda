//! `updraft init`: a commented `hub.yaml` for a new node, from flags and answers.
//!
//! [`ask`] asks on a terminal for what the flags leave open, [`plan`] decides what that amounts to,
//! and [`write`] words the file. Nothing is written that `updraft check` would refuse.

mod args;
mod ask;
mod plan;
mod write;

pub(crate) use self::args::Args;

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use kit::config;

use self::plan::Plan;

const CONFIG: &str = "hub.yaml";
const SCHEMA: &str = "hub.schema.json";

pub(crate) fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    let file = args.dir.join(CONFIG);
    if !args.force && file.exists() {
        bail!("{} is there already; --force overwrites it", file.display());
    }
    let asks = !args.yes && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if asks && !ask::complete(&mut args)? {
        eprintln!("nothing was written");
        return Ok(ExitCode::FAILURE);
    }
    let plan = match Plan::of(&args) {
        Ok(plan) => plan,
        Err(mistake) => {
            eprintln!("updraft: {mistake}");
            return Ok(ExitCode::from(kit::service::EXIT_CONFIG));
        }
    };
    let text = write::hub_yaml(&plan, !args.no_schema);
    // Variables are set where the node runs, which need not be here.
    config::from_str_with(CONFIG, &text, |_| Some("set-later".to_owned()))?;
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("create the directory {}", args.dir.display()))?;
    put(&file, &text, args.force)?;
    if !args.no_schema {
        put(&args.dir.join(SCHEMA), &config::schema_text(), true)?;
    }
    conclude(&args.dir, &plan);
    Ok(ExitCode::SUCCESS)
}

/// A file that came into being since [`run`] looked is not overwritten either.
fn put(path: &Path, text: &str, overwrite: bool) -> anyhow::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).truncate(true);
    options.create(true).create_new(!overwrite);
    let write = |mut file: std::fs::File| std::io::Write::write_all(&mut file, text.as_bytes());
    options
        .open(path)
        .and_then(write)
        .with_context(|| format!("write {}", path.display()))
}

/// What to do next; the last two lines are commands.
fn conclude(directory: &Path, plan: &Plan) {
    println!("wrote {}", directory.join(CONFIG).display());
    for step in plan.before_start() {
        println!("first, {step}");
    }
    let at = match directory {
        path if path == Path::new(".") => String::new(),
        path => format!("cd {} && ", quoted(path)),
    };
    println!("then:");
    println!("  {at}updraft check");
    println!("  {at}updraft run");
}

/// For a shell, if it needs that.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests;
