//! The console: what a hub shows to people in a browser.

pub mod lab;
