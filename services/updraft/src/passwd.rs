//! `updraft passwd`: the line for `console.users[].password` in hub.yaml.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use anyhow::{Context, bail};

/// Longer input is no password that somebody typed or piped on purpose.
const MAX_LINE_BYTES: u64 = 4096;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
The hash goes into hub.yaml, in quotes:
  console:
    users:
      - { name: anna, role: operator, password: \"$argon2id$…\" }")]
pub(crate) struct Args {
    /// Read the password from the first line of standard input instead of the terminal
    #[arg(long)]
    stdin: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let password = match args.stdin {
        true => from_input(&mut std::io::stdin().lock())?,
        false => from_terminal()?,
    };
    let hash = console::hash_password(&password).map_err(anyhow::Error::msg)?;
    println!("{hash}");
    Ok(ExitCode::SUCCESS)
}

fn from_terminal() -> anyhow::Result<String> {
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask on: pipe the password in and give --stdin");
    }
    let password = rpassword::prompt_password("Password: ").context("read the password")?;
    let again = rpassword::prompt_password("Once more: ").context("read the password")?;
    if password != again {
        bail!("the two passwords differ");
    }
    Ok(password)
}

/// The first line, without its end.
fn from_input(input: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    let mut input = std::io::Read::take(input, MAX_LINE_BYTES);
    input.read_line(&mut line).context("read the password")?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        bail!("standard input begins with an empty line instead of a password");
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password() {
        for (input, password) in [
            ("secret", "secret"),
            ("secret\n", "secret"),
            ("secret\r\nmore\n", "secret"),
            (" se cret \n", " se cret "),
        ] {
            assert_eq!(from_input(&mut input.as_bytes()).unwrap(), password);
        }
        for empty in ["", "\n", "\r\nsecret"] {
            assert!(from_input(&mut empty.as_bytes()).is_err(), "{empty:?}");
        }
    }
}
