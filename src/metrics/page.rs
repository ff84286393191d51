//! The page that documents every metric, made from what a process really shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::Metrics;

/// What stands above the table.
const HEAD: &str = "# Metrics

<!-- Made by `tanist metrics`; a test compares it. -->

Every process serves these under `/metrics` on its admin port, agents by default on 1109, arbiters as
shipped on 1110: OpenMetrics to whoever asks for it, as Prometheus does, else the older text format,
which `promtool check metrics` reads. Labels have the values that stand here and no others;
`location` is Kilo's name of it. Metrics that begin with `tanist_sidecar_` are those of one node; the
others those of the arbiter, which shows locations only while it holds the lease.

";

/// What stands below it.
const FOOT: &str = "
## Reading them

- Which locations are dark now: `tanist_location_health{health=\"dark\"} == 1`.
- Whether to switch from `observe` to `act`: `increase(tanist_would_have_moved_total{rail=\"mode\"}[30d])`
  says how often Tanist would have moved a leader, and `tanist history` whether that leader healed by
  itself.
- Who judges: `sum(tanist_arbiter_leading)` is 1, or 0 for the ten seconds of a change.
- Alerts on them: [runbooks](runbooks/README.md).
";

/// One metric.
#[derive(Debug, Default)]
struct Metric {
    kind: String,
    help: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

/// Returns the page as Markdown.
#[must_use]
pub fn page() -> String {
    let mut page = String::from(HEAD);
    page.push_str("| metric | type | what | labels |\n|---|---|---|---|\n");
    for (name, metric) in metrics(&Metrics::specimen().classic_text()) {
        let labels: Vec<String> = metric.labels.iter().map(values).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{name}` | {} | {} | {} |",
            metric.kind,
            metric.help.trim_end_matches('.'),
            labels.join("; ")
        );
    }
    page.push_str(FOOT);
    page
}

fn values((label, values): (&String, &BTreeSet<String>)) -> String {
    if label == "location" {
        return "`location`".to_owned();
    }
    let values: Vec<String> = values.iter().map(|value| format!("`{value}`")).collect();
    format!("`{label}`: {}", values.join(", "))
}

/// Reads an exposition in the older text format.
fn metrics(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines() {
        match line.splitn(4, ' ').collect::<Vec<_>>().as_slice() {
            ["#", "HELP", name, help] => {
                metrics.entry((*name).to_owned()).or_default().help = (*help).to_owned();
            }
            ["#", "TYPE", name, kind] => {
                metrics.entry((*name).to_owned()).or_default().kind = (*kind).to_owned();
            }
            _ => note_labels(&mut metrics, line),
        }
    }
    metrics
}

fn note_labels(metrics: &mut BTreeMap<String, Metric>, sample: &str) {
    let Some((name, rest)) = sample.split_once('{') else { return };
    let Some((labels, _)) = rest.split_once('}') else { return };
    let name = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    let Some(metric) = metrics.get_mut(name) else { return };
    for label in labels.split(',') {
        if let Some((label, value)) = label.split_once('=').filter(|(label, _)| *label != "le") {
            let value = value.trim_matches('"').to_owned();
            metric.labels.entry(label.to_owned()).or_default().insert(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page in the repository is what the code says; `tanist metrics > docs/metrics.md` renews
    /// it.
    #[test]
    fn the_page_is_up_to_date() {
        let written = include_str!("../../docs/metrics.md");
        assert!(page() == written, "docs/metrics.md: run `tanist metrics > docs/metrics.md`");
    }

    #[test]
    fn every_metric_has_a_help_and_a_type() {
        let metrics = metrics(&Metrics::specimen().classic_text());
        assert_eq!(metrics.len(), 23);
        for (name, metric) in metrics {
            assert!(!metric.help.is_empty() && !metric.kind.is_empty(), "{name}: {metric:?}");
        }
    }
}
