//! The executable as a person uses it: real processes, real sockets.

mod tidy;
mod demo;
mod audit;
