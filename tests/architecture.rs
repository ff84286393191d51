//! Holds every layer to what it may import: data flows one way, and nobody looks back up.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Layer, the modules of this crate that it may name, the foreign crates that it may name.
#[rustfmt::skip]
const LAYERS: &[(&str, &[&str], &[&str])] = &[
    ("evidence", &["evidence"],                         &["std", "core", "ipnet", "schemars", "serde", "serde_json", "base64"]),
    ("diagnose", &["evidence", "diagnose"],             &["std", "core", "serde"]),
    ("decide",   &["evidence", "diagnose", "decide"],   &["std", "core", "serde", "schemars"]),
    ("judge",    &["evidence", "diagnose", "decide", "judge"],    &["std", "core", "serde"]),
    ("simulate", &["evidence", "observe", "diagnose", "decide", "judge", "simulate"], &["std", "core", "ipnet"]),
    ("journal",  &["evidence", "diagnose", "decide", "judge", "journal"],  &["std", "core", "serde", "serde_json", "thiserror"]),
    ("net",      &["net"],                              &["std", "core", "tokio", "futures", "rtnetlink", "netlink_packet_route", "netlink_packet_core", "nix", "thiserror", "ipnet", "libc"]),
    ("cluster",  &["cluster", "evidence", "decide", "telemetry"],    &["std", "core", "kube", "k8s_openapi", "serde", "serde_json", "schemars", "tokio", "tokio_util", "futures", "backon", "jiff", "thiserror", "tracing", "json_patch", "sha2", "http", "getrandom"]),
    ("observe",  &["observe", "evidence", "net", "sys", "telemetry"], &["std", "core", "tokio", "tokio_util", "futures", "socket2", "nix", "rustix", "libc", "hmac", "sha2", "subtle", "zeroize", "base64", "getrandom", "thiserror", "tracing", "wireguard_control", "serde", "ipnet"]),
    ("operator", &["operator", "act", "cluster", "decide", "evidence", "telemetry"], &["std", "core", "kube", "k8s_openapi", "serde", "serde_json", "json_patch", "jiff", "thiserror", "futures", "tokio", "comfy_table"]),
    ("act",      &["act", "cluster", "decide", "evidence", "net", "telemetry"], &["std", "core", "tokio", "tokio_util", "futures", "kube", "k8s_openapi", "serde", "serde_json", "json_patch", "thiserror", "tracing", "jiff", "backon", "http", "tower", "rtnetlink"]),
];

#[test]
fn every_layer_imports_only_what_is_below_it() {
    let mut strays = Vec::new();
    for (layer, modules, crates) in LAYERS {
        let files = files_of(layer);
        assert!(!files.is_empty(), "layer {layer} has no files: was it renamed?");
        for file in files {
            strays.extend(strays_in(&file, modules, crates));
        }
    }
    assert!(strays.is_empty(), "imports against the flow:\n{}", strays.join("\n"));
}

/// The pure layers must also hold no lock on the outer world by its full name.
#[test]
fn pure_layers_neither_read_a_clock_nor_block() {
    const WORDS: &[&str] = &["Instant", "SystemTime", "tokio::", "std::fs", "std::net::Udp"];
    let mut strays = Vec::new();
    for layer in ["evidence", "diagnose", "decide", "judge"] {
        for file in files_of(layer) {
            for (number, line) in code_of(&file) {
                for word in WORDS.iter().filter(|word| line.contains(**word)) {
                    strays.push(format!("{}:{number}: {word}", file.display()));
                }
            }
        }
    }
    assert!(strays.is_empty(), "the pure layers took time or IO in:\n{}", strays.join("\n"));
}

/// Anything but the command line reports typed errors.
#[test]
fn anyhow_lives_in_the_command_line_only() {
    for file in rust_files(&source()) {
        let path = file.strip_prefix(source()).expect("under src").to_path_buf();
        if path.starts_with("cli") || path == Path::new("cli.rs") {
            continue;
        }
        for (number, line) in code_of(&file) {
            assert!(!line.contains("anyhow"), "{}:{number} names anyhow", file.display());
        }
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Returns a layer's own file and the folder beside it, tests left out.
fn files_of(layer: &str) -> Vec<PathBuf> {
    let mut files = rust_files(&source().join(layer));
    files.push(source().join(format!("{layer}.rs")));
    files.retain(|file| file.exists() && file.file_name().is_some_and(|name| name != "tests.rs"));
    files.retain(|file| !file.components().any(|part| part.as_os_str() == "tests"));
    files
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Returns a file's lines of code with their numbers: no comments, nothing behind `cfg(test)`.
fn code_of(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).expect("a readable source file");
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.contains("#[cfg(test)]"))
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or("").to_owned()))
        .collect()
}

fn strays_in(file: &Path, modules: &[&str], crates: &[&str]) -> Vec<String> {
    let mut strays = Vec::new();
    for (number, line) in code_of(file) {
        for module in named_after(&line, "crate::") {
            if !modules.contains(&module.as_str()) {
                strays.push(format!("{}:{number}: crate::{module}", file.display()));
            }
        }
        if let Some(root) = line.trim().trim_start_matches("pub ").strip_prefix("use ") {
            let root: String =
                root.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let local = ["crate", "super", "self"].contains(&root.as_str());
            // A `use` may name a child module of its own file, or a type of it.
            let child = file.with_extension("").join(format!("{root}.rs")).exists();
            let kind = root.starts_with(|c: char| c.is_uppercase());
            if !local && !child && !kind && !crates.contains(&root.as_str()) {
                strays.push(format!("{}:{number}: {root}", file.display()));
            }
        }
    }
    strays
}

/// Returns the identifiers that follow `mark` in a line.
fn named_after(line: &str, mark: &str) -> Vec<String> {
    line.match_indices(mark)
        .map(|(at, _)| {
            line[at + mark.len()..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect::<String>()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

/// The checker itself sees a stray import.
#[test]
fn a_stray_import_is_seen() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("stray.rs");
    fs::write(&file, "use tokio::sync::mpsc;\nuse crate::act::Mover;\nuse std::fmt;\n")
        .expect("written");
    let strays = strays_in(&file, &["evidence"], &["std"]);
    let named: BTreeMap<usize, &str> =
        strays.iter().map(|s| s.rsplit(' ').next().unwrap_or("")).enumerate().collect();
    assert_eq!(
        named.values().copied().collect::<Vec<_>>(),
        ["tokio", "crate::act"].map(|s| s.trim_start())
    );
}
