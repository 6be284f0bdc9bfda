//! Compiles the `.proto` files with protox: no `protoc` needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "envelope",
        "state",
        "retention",
        "command",
        "log",
        "uplink",
        "raft",
        "cluster",
    ]
    .map(|name| format!("proto/updraft/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
