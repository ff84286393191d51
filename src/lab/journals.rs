//! The journals that the arbiters of a run kept: each is replayed by the program that wrote it, and
//! every plan has to come out as it did then.

use std::path::{Path, PathBuf};

use tokio::process::Command;

/// What went wrong with journals.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The folder.
    #[error("could not look for journals in {folder}", folder = folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The program.
    #[error("could not replay {journal}", journal = journal.display())]
    Replay {
        /// Which journal.
        journal: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// One could not be kept.
    #[error("could not keep {journal} as {file}", journal = journal.display(), file = file.display())]
    Keep {
        /// Which journal.
        journal: PathBuf,
        /// Where.
        file: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
}

/// What came of replaying one journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The journal's name.
    pub name: String,
    /// The last line that the replay said.
    pub said: String,
    /// Whether every plan came out as it did then.
    pub same: bool,
}

/// Returns the file in which the arbiter of a node keeps its journal.
#[must_use]
pub fn file(logs: &Path, node: &str) -> PathBuf {
    logs.join(format!("{node}.journal"))
}

/// Finds all journals, those that were turned over too.
pub fn all(logs: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Folder { folder: logs.to_owned(), source };
    let mut journals = Vec::new();
    for entry in std::fs::read_dir(logs).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".journal") || name.ends_with(".journal.1") {
            journals.push(path);
        }
    }
    journals.sort();

    Ok(journals)
}

/// Replays one journal with `tanist replay`.
pub async fn replay(program: &Path, journal: &Path) -> Result<Replayed, Error> {
    let output = Command::new(program).arg("replay").arg(journal).output().await;
    let output = output.map_err(|source| Error::Replay { journal: journal.to_owned(), source })?;

    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let last = said.lines().chain(complained.lines()).last().unwrap_or_default().to_owned();
    let name = journal.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Replayed { name, said: last, same: output.status.success() })
}

/// Keeps the largest of the journals: that of the arbiter which saw most.
pub fn keep(journals: &[PathBuf], file: &Path) -> Result<(), Error> {
    let size = |path: &&PathBuf| std::fs::metadata(path).map_or(0, |data| data.len());
    let Some(journal) = journals.iter().max_by_key(size) else { return Ok(()) };

    let failed = |source| Error::Keep { journal: journal.clone(), file: file.to_owned(), source };
    std::fs::copy(journal, file).map(|_| ()).map_err(failed)
}
