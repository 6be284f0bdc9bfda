//! Free ports on loopback.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use anyhow::bail;
use rand::Rng;

/// Below the ports that systems give to outgoing connections: a killed node must find its port
/// free when it comes back, and no client may have been given it meanwhile.
const RANGE: std::ops::Range<u16> = 10_000..32_000;
const ATTEMPTS: usize = 1000;

/// What this process has handed out before.
static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// Distinct ports that nobody listens on now.
pub fn free_ports(count: usize) -> anyhow::Result<Vec<u16>> {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ports = Vec::with_capacity(count);
    for _ in 0..ATTEMPTS + count {
        if ports.len() == count {
            return Ok(ports);
        }
        let port = rand::rng().random_range(RANGE);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && taken.insert(port) {
            ports.push(port);
        }
    }
    bail!(
        "no {count} free ports between {} and {}",
        RANGE.start,
        RANGE.end
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_never_handed_out_twice() {
        let ports: Vec<u16> = (0..20).flat_map(|_| free_ports(5).unwrap()).collect();
        let distinct: BTreeSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), 100);
    }
}
