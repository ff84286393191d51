//! The page on safety names every number, every rail and every check of the code, as it is there.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use tanist::decide::{Check, Policy};
use tanist::diagnose::Thresholds;

fn read(page: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the rows of all tables, by what stands in code in their first cell.
fn rows(page: &str) -> BTreeMap<String, Vec<String>> {
    let cells = |line: &str| {
        let cells = line.strip_prefix('|')?.split('|').map(|cell| cell.trim().to_owned());
        let cells: Vec<_> = cells.collect();
        let name = cells.first()?.strip_prefix('`')?.strip_suffix('`')?.to_owned();
        Some((name, cells))
    };
    page.lines().filter_map(cells).collect()
}

/// Returns a number as the page writes it; spans of time in their largest whole unit.
fn written(value: &Value) -> String {
    let Some(seconds) = value["secs"].as_u64() else {
        let number = value.as_f64().expect("a number");
        return number.to_string();
    };
    assert_eq!(value["nanos"], 0, "a span of whole seconds");
    match seconds {
        0 => "0 s".to_owned(),
        _ if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        // A minute is told in seconds.
        _ if seconds % 60 == 0 && seconds > 60 => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

#[test]
fn every_number_stands_on_the_page_with_its_default_and_why() {
    let rows = rows(&read("docs/safety.md"));
    let policy = serde_json::to_value(Policy::default()).expect("as JSON");
    let thresholds = serde_json::to_value(Thresholds::default()).expect("as JSON");
    for (name, value) in [policy, thresholds].iter().flat_map(|it| it.as_object().expect("fields"))
    {
        let row = rows.get(name).unwrap_or_else(|| panic!("docs/safety.md lacks `{name}`"));
        assert_eq!(row[1], written(value), "{name}");
        assert!(row[2].len() > 20, "{name}: why?");
    }
}

#[test]
fn every_rail_and_every_check_stands_on_the_page() {
    let page = read("docs/safety.md");
    let rows = rows(&page);
    let metrics = read("docs/metrics.md");
    let line = metrics.lines().find(|line| line.contains("`tanist_would_have_moved_total` |"));
    let rails = line.and_then(|line| line.split("`rail`: ").nth(1)).expect("the rails");
    let rails: Vec<_> =
        rails.split('`').filter(|word| word.len() > 2 && !word.contains('|')).collect();
    assert!(rails.len() >= 14, "{rails:?}");
    for rail in rails {
        assert!(rows.contains_key(rail), "docs/safety.md lacks the rail `{rail}`");
    }
    for check in Check::ALL {
        assert!(page.contains(&format!("`{check}`")), "docs/safety.md lacks the check {check}");
    }
}
