//! Alerts, their runbooks and the metrics that they name belong together.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where the pages can be read unless the chart is told otherwise.
const RUNBOOKS: &str = "https://tanist.dev/docs/runbooks/";

#[derive(Debug, Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Rule {
    alert: String,
    expr: String,
    labels: Labels,
    annotations: Annotations,
}

#[derive(Debug, Deserialize)]
struct Labels {
    severity: String,
}

#[derive(Debug, Deserialize)]
struct Annotations {
    summary: String,
    runbook_url: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rules() -> Vec<Rule> {
    let rules: Rules =
        serde_saphyr::from_str(&read("charts/tanist/files/alerts.yaml")).expect("rules");
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}

#[test]
fn the_chart_replaces_the_address_that_stands_in_the_rules() {
    let template = read("charts/tanist/templates/prometheusrule.yaml");
    assert!(template.contains(&format!("replace \"{RUNBOOKS}\"")), "{template}");
    let values = read("charts/tanist/values.yaml");
    let default = format!("runbookUrl: {}\n", RUNBOOKS.trim_end_matches('/'));
    assert!(values.contains(&default), "the default is another: {default}");
}

#[test]
fn every_alert_has_a_runbook_that_shows_its_expression() {
    for rule in rules() {
        let Rule { alert, expr, labels, annotations } = &rule;
        assert_eq!(annotations.runbook_url, format!("{RUNBOOKS}{alert}.md"));
        assert!(!annotations.summary.is_empty());
        let page = read(format!("docs/runbooks/{alert}.md"));
        for part in [
            &format!("# {alert}\n"),
            expr,
            &format!("Severity: {}", labels.severity),
            "\n## What it means\n",
            "\n## What to check\n",
            "\n## What to do\n",
        ] {
            assert!(page.contains(part), "{alert}: its runbook lacks {part:?}");
        }
    }
}

#[test]
fn every_runbook_has_an_alert_and_stands_in_the_list() {
    let alerts: BTreeSet<String> = rules().into_iter().map(|rule| rule.alert).collect();
    let pages = fs::read_dir(root().join("docs/runbooks")).expect("a folder");
    let pages = pages.map(|page| page.expect("an entry").path());
    let stem = |page: PathBuf| page.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned);
    let pages: BTreeSet<String> = pages.filter_map(stem).filter(|page| page != "README").collect();
    assert_eq!(pages, alerts);
    let list = read("docs/runbooks/README.md");
    for alert in alerts {
        assert!(list.contains(&format!("| [{alert}]({alert}.md) |")), "{alert} is not in the list");
    }
}

#[test]
fn every_alert_fires_and_stays_quiet_in_a_test() {
    let tests = read("tests/alerts/alerts.yaml");
    for Rule { alert, .. } in rules() {
        for case in ["fires", "stays quiet"] {
            assert!(tests.contains(&format!("- name: {alert} {case}\n")), "{alert} {case}");
        }
    }
}

#[test]
fn alerts_name_metrics_that_exist() {
    let documented = read("docs/metrics.md");
    for Rule { alert, expr, .. } in rules() {
        let words = expr.split(|character: char| !character.is_alphanumeric() && character != '_');
        for metric in words.filter(|word| word.starts_with("tanist_")) {
            let metric = metric.strip_suffix("_bucket").unwrap_or(metric);
            assert!(documented.contains(&format!("| `{metric}` |")), "{alert} names {metric}");
        }
    }
}

/// A series that nobody exports fires no alert, whatever a test of the alert says.
#[test]
fn alerts_are_tested_with_labels_that_exist() {
    let documented = read("docs/metrics.md");
    let tests = read("tests/alerts/alerts.yaml");
    let series = tests.lines().filter_map(|line| line.split_once("series: '")?.1.split_once('{'));
    for (metric, labels) in series.filter(|(metric, _)| metric.starts_with("tanist_")) {
        let name = metric.strip_suffix("_bucket").unwrap_or(metric);
        let row = documented.lines().find(|line| line.contains(&format!("| `{name}` |")));
        let row = row.unwrap_or_else(|| panic!("{metric} is not documented"));
        for label in labels.split(['{', '}', '\'', ',']).filter_map(|it| it.split_once('=')) {
            let (key, value) = (label.0, label.1.trim_matches('"'));
            let Some((_, values)) = row.split_once(&format!("`{key}`: ")) else { continue };
            let values = values.split(';').next().unwrap_or_default();
            assert!(values.contains(&format!("`{value}`")), "{metric} has no {key}={value:?}");
        }
    }
}
