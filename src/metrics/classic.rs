//! From OpenMetrics to the older text format of Prometheus, which tools such as `promtool check
//! metrics` and the textfile collector read. The one difference that matters here: a counter's HELP
//! and TYPE bear the name of its samples, with `_total`.

/// Rewrites an exposition.
pub(super) fn of(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let lines: Vec<&str> = open_metrics.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        let line = match words.as_slice() {
            ["#", "EOF" | "UNIT", ..] => continue,
            // HELP stands before the TYPE of the same metric.
            ["#", "HELP", name, help] if is_counter(name, lines.get(index + 1)) => {
                format!("# HELP {name}_total {help}")
            }
            ["#", "TYPE", name, "counter"] => format!("# TYPE {name}_total counter"),
            _ => (*line).to_owned(),
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn is_counter(name: &str, next: Option<&&str>) -> bool {
    next.is_some_and(|next| *next == format!("# TYPE {name} counter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_their_samples() {
        let open_metrics = "\
# HELP x_moves Moves wished for.
# TYPE x_moves counter
x_moves_total{cause=\"pin\"} 3
# HELP x_leading 1 while it does.
# TYPE x_leading gauge
x_leading 1
# EOF
";
        let classic = "\
# HELP x_moves_total Moves wished for.
# TYPE x_moves_total counter
x_moves_total{cause=\"pin\"} 3
# HELP x_leading 1 while it does.
# TYPE x_leading gauge
x_leading 1
";
        assert_eq!(of(open_metrics), classic);
    }
}
