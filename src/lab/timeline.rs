//! The live timeline: one line per event, with the time since the lab began and since the fault.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use serde::Serialize;

/// How much of an event's text is printed; all of it is kept.
const WIDTH: usize = 150;

/// Where lines go.
pub type Printer = Box<dyn Fn(&str)>;

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Seconds since the lab began.
    pub at: f64,
    /// Seconds since the fault in force, if one was.
    pub since_fault: Option<f64>,
    /// What happened.
    pub text: String,
}

/// Prints events as they come, and keeps them.
pub struct Timeline {
    print: Printer,
    began: Instant,
    fault: Cell<Option<Instant>>,
    entries: RefCell<Vec<Entry>>,
}

impl Timeline {
    /// Begins a timeline.
    #[must_use]
    pub fn new(print: Printer) -> Self {
        Self { print, began: Instant::now(), fault: Cell::default(), entries: RefCell::default() }
    }

    /// Prints a headline.
    pub fn headline(&self, text: &str) {
        (self.print)("");
        (self.print)(text);
    }

    /// Prints text that is no event.
    pub fn print(&self, text: &str) {
        (self.print)(text);
    }

    /// Counts from this fault on, or from none.
    pub fn count_from(&self, fault: Option<Instant>) {
        self.fault.set(fault);
    }

    /// Tells of something that happens now.
    pub fn now(&self, text: &str) {
        self.at(Instant::now(), text);
    }

    /// Tells of something that happened.
    pub fn at(&self, at: Instant, text: &str) {
        let began = at.saturating_duration_since(self.began);
        let fault = self.fault.get().map(|fault| signed(at, fault));

        let since = fault.map_or_else(|| " ".repeat(10), |since| format!("{since:+9.3}s"));
        let short = text.char_indices().nth(WIDTH).map_or(text, |(end, _)| &text[..end]);
        let cut = if short.len() < text.len() { "…" } else { "" };
        (self.print)(&format!("{:8.3}s {since}  {short}{cut}", began.as_secs_f64()));

        let entry = Entry { at: began.as_secs_f64(), since_fault: fault, text: text.to_owned() };
        self.entries.borrow_mut().push(entry);
    }

    /// Returns how long after the start of the lab something happened.
    #[must_use]
    pub fn since_start(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.began)
    }

    /// Returns how long the lab has been running.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Returns all events so far, in order of their times.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = self.entries.borrow().clone();
        entries.sort_by(|one, other| one.at.total_cmp(&other.at));

        entries
    }
}

/// Returns the seconds from `zero` to `at`, which may lie before it.
fn signed(at: Instant, zero: Instant) -> f64 {
    let after = at.saturating_duration_since(zero).as_secs_f64();
    let before = zero.saturating_duration_since(at).as_secs_f64();

    after - before
}
