//! The command line: everything a person does with Updraft starts here.
//!
//! [`cli`] lists the commands; each has a module of its own. [`run`] starts a node's services in
//! one process; [`demo`] starts a whole [`pyramid`] of such processes and breaks it.

#![allow(clippy::print_stdout, reason = "a command line prints")]

pub mod cli;
mod init;
mod schema;
pub mod run;
mod check;
mod passwd;
mod ready;
mod collect;
mod cursor;
mod client;
mod publish;
mod subscribe;
mod tail;
mod status;
mod cluster;
mod value;
pub mod pyramid;
pub mod demo;
pub mod audit;
mod log;
