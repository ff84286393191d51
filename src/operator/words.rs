//! How figures are worded for people.

use crate::evidence::{Location, NodeName, UnixTime};

/// Returns how long `then` is ago: one unit, rounded down.
pub(super) fn ago(then: UnixTime, now: UnixTime) -> String {
    span((now.0 - then.0).max(0))
}

/// Returns how long a span of milliseconds is, in its largest unit.
pub(super) fn span(milliseconds: i64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Returns a time as people write it, to the second.
pub(super) fn wall(at: UnixTime) -> String {
    let second = jiff::Timestamp::from_second(at.seconds());
    second.map_or_else(|_| "at no real time".to_owned(), |time| time.to_string())
}

/// Returns a location's name; the empty one in quotes, so that it can be seen.
#[must_use]
pub fn place(location: &Location) -> String {
    if location.0.is_empty() { "\"\"".to_owned() } else { location.0.clone() }
}

/// Returns a node's name, or that there is none.
pub(super) fn node(name: Option<&NodeName>) -> &str {
    name.map_or("nobody", |name| &name.0)
}

/// Returns a number of things: `1 path`, `2 paths`.
pub(super) fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Returns names in a row, the first few of many.
pub(super) fn some_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 3;
    let names: Vec<&str> = names.into_iter().collect();
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_told_in_their_largest_unit() {
        let table = [
            (0, "0 s"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_199_000, "119 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
        ];
        for (milliseconds, told) in table {
            assert_eq!(span(milliseconds), told);
        }
        assert_eq!(ago(UnixTime(5_000), UnixTime(4_000)), "0 s");
    }

    #[test]
    fn one_thing_is_told_as_one() {
        assert_eq!(
            [count(0, "path"), count(1, "path"), count(2, "path")],
            ["0 paths", "1 path", "2 paths"]
        );
    }

    #[test]
    fn of_many_names_the_first_few_are_told() {
        assert_eq!(some_of(["a", "b"]), "a, b");
        assert_eq!(some_of(["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
        assert_eq!(some_of([]), "");
    }
}
