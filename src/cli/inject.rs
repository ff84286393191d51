//! `tanist inject`: puts our container into the operator's own Kilo manifest.

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::inject::{Wish, inject};

/// Reads a Kilo manifest from standard input and writes it with the sidecar in Kilo's DaemonSets.
///
/// Nothing else changes, comments included, and doing it again changes nothing. What is not
/// understood is refused, with the document and the line. The sidecar's account and its token are
/// applied apart: deploy/components/sidecar/account.yaml.
#[derive(Debug, Args)]
pub(super) struct Inject {
    /// The image of the container
    #[arg(long, value_name = "IMAGE", value_parser = image,
          default_value = concat!("tanist:", env!("CARGO_PKG_VERSION")))]
    image: String,
    /// What to do with a verdict: observe, suggest or act
    #[arg(long, value_name = "MODE", default_value = "observe",
          value_parser = ["observe", "suggest", "act"])]
    mode: String,
}

/// Takes what can be the name of an image, and so stands in YAML as it is.
fn image(text: &str) -> Result<String, String> {
    let is_part = |it: char| it.is_ascii_alphanumeric() || "._-/:@".contains(it);
    let is_name = text.starts_with(|it: char| it.is_ascii_alphanumeric())
        && text.ends_with(|it: char| it.is_ascii_alphanumeric())
        && text.chars().all(is_part);
    if is_name { Ok(text.to_owned()) } else { Err(format!("`{text}` is no name of an image")) }
}

impl Inject {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut manifest = String::new();
        std::io::stdin()
            .read_to_string(&mut manifest)
            .context("cannot read the manifest from standard input")?;
        let wish = Wish { image: self.image, mode: self.mode };
        let written = inject(&manifest, &wish).context("the manifest is left as it is")?;
        std::io::stdout()
            .write_all(written.as_bytes())
            .context("cannot write the manifest to standard output")?;
        Ok(ExitCode::SUCCESS)
    }
}
