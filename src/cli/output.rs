//! How commands show what they found: tables for people, JSON or YAML for machines, colours and
//! progress on terminals only.

use std::future::Future;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{complain, say};

/// How a command ended, for scripts; `doctor` and `replay` have codes of their own, and clap ends
/// with 2 if it does not understand the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// It is done.
    Done = 0,
    /// It was refused: by us, by the arbiter, or by the person who was asked.
    Refused = 3,
    /// A move was made, but the new leader did not prove itself.
    NotProven = 4,
    /// Nobody answered in time; nothing will be done any more.
    Unanswered = 5,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What `--help` says of exit codes, where only these two can be.
pub(super) const EXITS: &str = "Exit codes: 0 done; 1 failed for the reason that is told, such as no \
     access or no such location; 2 the command line was not understood.";

/// What `--help` says of exit codes, where something can be refused.
pub(super) const EXITS_REFUSED: &str = "Exit codes: 0 done; 1 failed for the reason that is told, \
     such as no access or no such location; 2 the command line was not understood; 3 refused, for the \
     reason that is told.";

/// In which form to show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    /// For people
    #[default]
    Table,
    /// For machines
    Json,
    /// For machines and people
    Yaml,
}

/// In which form to show what was found.
#[derive(Debug, Clone, Args)]
pub(super) struct Output {
    /// In which form to show it
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: Format,
}

impl Output {
    /// Shows a value, or as text what `text` makes of it in the width there is.
    pub(super) fn show<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(u16) -> String,
    ) -> anyhow::Result<()> {
        match self.output {
            Format::Table => {
                let text = text(width());
                say(&if colours() { paint(&text) } else { text });
            }
            Format::Json => say(&serde_json::to_string_pretty(value).context("write JSON")?),
            Format::Yaml => {
                say(serde_saphyr::to_string(value).context("write YAML")?.trim_end());
            }
        }
        Ok(())
    }
}

/// Wide enough for anything: what is not a terminal wraps nothing.
const UNBOUND: u16 = 4000;

/// Returns how wide the output may be.
fn width() -> u16 {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return UNBOUND;
    }
    let columns = rustix::termios::tcgetwinsize(&stdout).map(|size| size.ws_col);
    columns.ok().filter(|columns| *columns > 0).unwrap_or(100)
}

/// Colours are for terminals, and for those who have not said no (<https://no-color.org>).
fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !refused
}

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";

/// Words that say how something stands.
const WORDS: [(&str, &str); 14] = [
    ("forwards", GREEN),
    ("fine", GREEN),
    ("verified", GREEN),
    ("healed", GREEN),
    ("warning", YELLOW),
    ("impaired", YELLOW),
    ("unclear", YELLOW),
    ("unknown", YELLOW),
    ("paused", YELLOW),
    ("abandoned", YELLOW),
    ("dark", RED),
    ("broken", RED),
    ("reverted", RED),
    ("lasts", RED),
];

/// Colours the first word of each line that says how something stands. Done last, so that no width
/// is counted wrongly.
fn paint(text: &str) -> String {
    text.lines().map(paint_line).collect::<Vec<_>>().join("\n")
}

fn paint_line(line: &str) -> String {
    let known = |word: &str| WORDS.iter().find(|(known, _)| *known == word);
    let mut at = 0;
    for word in line.split(|character: char| !character.is_alphanumeric() && character != '-') {
        if let Some((word, colour)) = known(word) {
            let (before, rest) = line.split_at(at);
            let after = &rest[word.len()..];
            return format!("{before}{colour}{word}\x1b[0m{after}");
        }
        at += word.len() + line[at + word.len()..].chars().next().map_or(0, char::len_utf8);
    }
    line.to_owned()
}

/// What takes longer is said to go on.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits; says on a terminal what for, if it takes long.
pub(super) async fn patiently<T>(what: &str, task: impl Future<Output = T>) -> T {
    tokio::pin!(task);
    tokio::select! {
        done = &mut task => return done,
        () = tokio::time::sleep(PATIENCE) => {}
    }
    progress(&format!("{what} …"));
    task.await
}

/// Says on a terminal what goes on. It is no result, so it goes to standard error.
pub(super) fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        complain(line);
    }
}

/// What a person said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Go on.
    Yes,
    /// Do not.
    No,
    /// There is nobody to ask.
    Nobody,
}

/// Asks the person at the terminal, if there is one.
pub(super) fn ask(question: &str) -> anyhow::Result<Word> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        return Ok(Word::Nobody);
    }
    let mut stderr = std::io::stderr();
    write!(stderr, "{question} [y/N] ").context("ask")?;
    stderr.flush().context("ask")?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).context("read the answer")?;
    let yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    Ok(if yes { Word::Yes } else { Word::No })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_of_state_in_a_line_is_coloured_and_no_other() {
        let table = [
            ("cloud  a  dark  b", "cloud  a  \x1b[31mdark\x1b[0m  b"),
            ("dark, then dark", "\x1b[31mdark\x1b[0m, then dark"),
            ("darkness", "darkness"),
            ("a dark-blue day", "a dark-blue day"),
            ("größer: fine", "größer: \x1b[32mfine\x1b[0m"),
            ("", ""),
        ];
        for (line, painted) in table {
            assert_eq!(paint(line), painted);
        }
    }
}
