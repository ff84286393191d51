//! `tanist crds`: prints the custom resource definitions as YAML.

use std::process::ExitCode;

use anyhow::Context as _;

use super::say;
use crate::cluster::objects;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    for crd in objects::crds() {
        let yaml = serde_saphyr::to_string(&crd).context("cannot write a definition as YAML")?;
        say(&format!("---\n{}", yaml.trim_end()));
    }
    Ok(ExitCode::SUCCESS)
}
