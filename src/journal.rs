//! The journal: what came in and what followed, one JSON object per line.
//!
//! ```text
//! {"journal":1,"version":…,"epoch":…,"policy":…,"thresholds":…}  first line: the wall time of moment 0
//! {"at":1250000,"in":{"report":{…}}}                        an input, microseconds after moment 0
//! {"at":1251000,"round":{"cloud":{"health":"dark",…}}}      what a round came to, where it changed
//! ```
//!
//! Replaying the inputs through the same [`Judge`](crate::judge::Judge) gives the same rounds. The
//! file is bounded: at its limit it is renamed to `<name>.1` and a new one begins with all inputs
//! that still stand, so that either file can be replayed alone.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::decide::{LocationPlan, Plan, Policy};
use crate::diagnose::Thresholds;
use crate::evidence::{Epoch, Location, Moment, UnixTime};
use crate::judge::Input;

/// The format that this version writes and reads.
const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The format.
    pub journal: u32,
    /// Who wrote it.
    pub version: String,
    /// The wall time of [`Moment::START`].
    pub epoch: UnixTime,
    /// The numbers that decisions were made by.
    pub policy: Policy,
    /// The figures that evidence was judged by.
    pub thresholds: Thresholds,
}

impl Header {
    /// Describes a journal that begins now.
    #[must_use]
    pub fn new(epoch: Epoch, policy: Policy, thresholds: Thresholds) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { journal: FORMAT, version, epoch: epoch.0, policy, thresholds }
    }
}

/// Any other line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Moment,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What a line tells.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Something came in.
    In(Input),
    /// A round was held; the plans that changed by it.
    Round(BTreeMap<Location, LocationPlan>),
}

/// Writes a journal.
#[derive(Debug)]
pub struct Journal {
    file: PathBuf,
    writer: BufWriter<File>,
    header: Header,
    written: u64,
    most: u64,
    last: Plan,
}

impl Journal {
    /// Begins a journal; one that is there already is kept as `<name>.1`.
    ///
    /// # Errors
    /// If the file cannot be renamed or created.
    pub fn begin(file: &Path, most: u64, header: Header) -> Result<Self, Error> {
        let writer = turn_over(file)?;
        let file = file.to_owned();
        let mut journal =
            Self { file, writer, header: header.clone(), written: 0, most, last: Plan::default() };
        journal.line(&header)?;
        Ok(journal)
    }

    /// Writes an input.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn input(&mut self, at: Moment, input: &Input) -> Result<(), Error> {
        self.line(&Entry { at, what: What::In(input.clone()) })
    }

    /// Writes a round: the plans that changed by it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn round(&mut self, at: Moment, plan: &Plan) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.last, plan.clone());
        let differs = |(location, plan): &(&Location, &LocationPlan)| {
            before.locations.get(*location) != Some(*plan)
        };
        let changed: BTreeMap<_, _> = plan
            .locations
            .iter()
            .filter(differs)
            .map(|(location, plan)| (location.clone(), plan.clone()))
            .collect();
        self.line(&Entry { at, what: What::Round(changed) })?;
        self.writer.flush().map_err(|source| self.cannot_write(source))
    }

    /// Tells whether the file has reached its limit and should begin anew.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.written >= self.most
    }

    /// Keeps the full file as `<name>.1` and begins anew with the inputs that still stand.
    ///
    /// # Errors
    /// If the file cannot be renamed, created or written.
    pub fn begin_anew(&mut self, at: Moment, standing: &[Input]) -> Result<(), Error> {
        self.writer.flush().map_err(|source| self.cannot_write(source))?;
        self.writer = turn_over(&self.file)?;
        self.written = 0;
        self.last = Plan::default();
        let header = self.header.clone();
        self.line(&header)?;
        standing.iter().try_for_each(|input| self.input(at, input))
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let mut line = serde_json::to_vec(value)
            .map_err(io::Error::other)
            .map_err(|source| Error::Write { file: self.file.clone(), source })?;
        line.push(b'\n');
        self.written += line.len() as u64;
        self.writer.write_all(&line).map_err(|source| self.cannot_write(source))
    }

    fn cannot_write(&self, source: io::Error) -> Error {
        Error::Write { file: self.file.clone(), source }
    }
}

fn turn_over(file: &Path) -> Result<BufWriter<File>, Error> {
    let create = |source| Error::Create { file: file.to_owned(), source };
    if file.exists() {
        let mut kept = file.as_os_str().to_owned();
        kept.push(".1");
        std::fs::rename(file, kept).map_err(create)?;
    }
    let opened = OpenOptions::new().write(true).create_new(true).open(file).map_err(create)?;
    Ok(BufWriter::new(opened))
}

/// Reads a journal: its header, then entries until the end.
///
/// # Errors
/// If the file cannot be read, is no journal, or is of another format. A last line that was cut
/// short by a crash is left out.
pub fn read(file: &Path) -> Result<(Header, Vec<Entry>), Error> {
    let opened =
        File::open(file).map_err(|source| Error::Read { file: file.to_owned(), source })?;
    let mut lines = Vec::new();
    for line in BufReader::new(opened).lines() {
        lines.push(line.map_err(|source| Error::Read { file: file.to_owned(), source })?);
    }
    let malformed = |line: usize| move |source| Error::Line { file: file.to_owned(), line, source };
    let Some((first, rest)) = lines.split_first() else {
        return Err(Error::Empty { file: file.to_owned() });
    };
    let header: Header = serde_json::from_str(first).map_err(malformed(1))?;
    if header.journal != FORMAT {
        return Err(Error::Format { file: file.to_owned(), found: header.journal });
    }
    let mut entries = Vec::with_capacity(rest.len());
    for (index, line) in rest.iter().enumerate() {
        match serde_json::from_str(line) {
            Ok(entry) => entries.push(entry),
            Err(error) if error.is_eof() && index + 1 == rest.len() => break,
            Err(error) => return Err(malformed(index + 2)(error)),
        }
    }
    Ok((header, entries))
}

/// What can go wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be begun.
    #[error("cannot begin the journal {}", file.display())]
    Create {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the journal {}", file.display())]
    Write {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read the journal {}", file.display())]
    Read {
        /// Which file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It holds nothing.
    #[error("the journal {} is empty: it lacks even its first line", file.display())]
    Empty {
        /// Which file.
        file: PathBuf,
    },
    /// It is of another format.
    #[error("the journal {} has format {found}; this version reads format {FORMAT}", file.display())]
    Format {
        /// Which file.
        file: PathBuf,
        /// Its format.
        found: u32,
    },
    /// One line is not what it should be.
    #[error("line {line} of the journal {} is not what it should be", file.display())]
    Line {
        /// Which file.
        file: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

#[cfg(test)]
mod tests;
