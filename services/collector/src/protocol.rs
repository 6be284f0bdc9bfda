//! What a collector speaks to its machine.

use crate::error::Fault;
use crate::link::Link;
use crate::sample::Sample;

pub(crate) trait Protocol: Send {
    /// Connects and delivers to `link` until the connection is lost, can't be had, or the shutdown.
    /// Called again after a pause; what is to outlive a connection stays in `self`.
    fn run(&mut self, link: &mut Link) -> impl Future<Output = Fault> + Send;

    /// Connects, reads every tag once, and disconnects: one reading for each tag, in their order.
    fn read_once(&mut self) -> impl Future<Output = Result<Vec<Reading>, Fault>> + Send;
}

/// What one tag was when it was read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub sample: Sample,
    /// As the machine calls it: `Double`, `FLOAT32`.
    pub kind: String,
    /// Why there is no value.
    pub problem: Option<String>,
}
