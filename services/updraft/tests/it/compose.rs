//! What `compose/` says of the workspace, held against it. `compose/test` starts the stack.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The executables of the packages in `services/`.
fn executables() -> BTreeSet<String> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let services = packages.filter(|package| {
        let path = package["manifest_path"].as_str().unwrap();
        path.contains("/services/")
    });
    let targets = services.flat_map(|package| package["targets"].as_array().unwrap());
    targets
        .filter(|target| target["kind"][0] == "bin")
        .map(|target| target["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_image_has_every_executable() {
    let dockerfile = read("compose/Dockerfile");
    let words: Vec<&str> = dockerfile.split_whitespace().collect();
    let built: BTreeSet<String> = words
        .windows(2)
        .filter(|pair| pair[0] == "-p")
        .map(|pair| pair[1].to_owned())
        .collect();
    assert_eq!(built, executables());
    let copied = dockerfile.split("for name in ").nth(1).unwrap();
    let copied = copied.split("; do").next().unwrap().replace('\\', " ");
    let copied: BTreeSet<String> = copied.split_whitespace().map(str::to_owned).collect();
    assert_eq!(copied, executables());
}

#[test]
fn the_image_is_built_with_the_oldest_compiler_that_we_support() {
    let metadata = metadata();
    let version = metadata["packages"][0]["rust_version"].as_str().unwrap();
    let dockerfile = read("compose/Dockerfile");
    assert!(
        dockerfile.contains(&format!("RUST_IMAGE=rust:{version}.")),
        "rust-version is {version}"
    );
}

#[test]
fn the_images_context_holds_every_crate() {
    let ignore = read(".dockerignore");
    let metadata = metadata();
    let workspace = metadata["workspace_root"].as_str().unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let path = package["manifest_path"].as_str().unwrap();
        let inside = path.strip_prefix(workspace).unwrap();
        let top = inside.trim_start_matches('/').split('/').next().unwrap();
        assert!(
            ignore.lines().any(|line| line == format!("!{top}")),
            "{top}"
        );
    }
}

#[test]
fn every_image_is_pinned() {
    for (file, key) in [
        ("compose/docker-compose.yml", "image: "),
        ("compose/Dockerfile", "_IMAGE="),
        ("compose/machine/Dockerfile", "_IMAGE="),
    ] {
        let text = read(file);
        let images: Vec<&str> = text
            .lines()
            .filter_map(|line| line.split(key).nth(1))
            .collect();
        assert!(!images.is_empty(), "{file}");
        for image in images {
            let tag = image.split_once(':').map_or("", |(_, tag)| tag);
            assert!(
                tag.contains(|c: char| c.is_ascii_digit()),
                "{file}: {image}"
            );
        }
    }
}
