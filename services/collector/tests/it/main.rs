//! Collectors on a hub of one log node, against servers that others wrote: asyncua and pymodbus.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod machine;
mod wire;
mod rig;
mod opcua;
mod faults;
mod security;
mod modbus;
