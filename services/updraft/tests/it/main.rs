//! The executable as a person uses it: real processes, real sockets.

mod tidy;
mod cli;
mod demo;
mod audit;
