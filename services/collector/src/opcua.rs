//! OPC UA: a server tells what has changed, and keeps it until it hears that we have it.
//!
//! ```text
//! Connection ── Publish ─▶ Tracker: next? again? a gap? ── samples ─▶ Link ─▶ log
//!      ▲                       │                                        │
//!      └── acknowledgements ───┴──────────── durable ◀──────────────────┘
//! ```
//!
//! The library's own subscriptions acknowledge what they have received, never ask again for what
//! was lost on the way, and deliver nothing after some reconnects. So they are not used: the loop
//! in [`collect`] sends Publish requests itself, acknowledges a notification when its records are
//! durable (I1), asks again for missing ones (Republish, Part 4 §5.14.6), and does not trust a
//! connection that says nothing.

mod address;
mod value;
mod tracker;
mod items;

mod trust;
mod connection;
mod services;
mod collect;
mod read;

pub(crate) use address::Address;
pub(crate) use collect::Opcua;

use std::path::PathBuf;
use std::time::Duration;

use kit::config::{Fingerprint, OpcUrl, OpcuaConfig, Secret, Security};

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) endpoint: OpcUrl,
    pub(crate) security: Security,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) user: Option<(String, Secret)>,
    pub(crate) publish_interval: Duration,
    pub(crate) sampling_interval: Duration,
    pub(crate) queue: u32,
    pub(crate) pki: PathBuf,
    /// Names this collector to the server; stands in its certificate.
    pub(crate) application_uri: String,
    pub(crate) tags: Vec<Address>,
}

impl Settings {
    /// Without tags.
    pub(crate) fn new(section: &OpcuaConfig, pki: PathBuf, application_uri: String) -> Settings {
        let user = section.user.as_ref().zip(section.password.as_ref());
        Settings {
            endpoint: section.endpoint.value.clone(),
            security: section.security(),
            fingerprint: section
                .fingerprint
                .as_ref()
                .map(|given| given.value.clone()),
            user: user.map(|(user, password)| (user.value.clone(), password.value.clone())),
            publish_interval: *section.publish_interval,
            sampling_interval: *section.sampling_interval,
            queue: u32::try_from(*section.queue).unwrap_or(u32::MAX),
            pki,
            application_uri,
            tags: Vec::new(),
        }
    }
}
