//! The manifests beside the code that they belong to: no copy may differ from its source.

use std::path::Path;

/// What the chart carries a copy of, since a chart cannot reach beyond its folder.
const COPIES: [(&str, &str); 5] = [
    ("deploy/shared/crds.yaml", "charts/tanist/files/crds.yaml"),
    ("deploy/shared/roles.yaml", "charts/tanist/files/roles.yaml"),
    ("deploy/shared/policy.yaml", "charts/tanist/files/policy.yaml"),
    ("deploy/base/accounts.yaml", "charts/tanist/files/accounts.yaml"),
    ("deploy/base/rbac.yaml", "charts/tanist/files/rbac.yaml"),
];

#[test]
fn the_definitions_are_those_of_the_types() {
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_tanist"))
        .arg("crds")
        .output()
        .expect("the tanist binary runs");
    assert!(printed.status.success());
    let printed = String::from_utf8(printed.stdout).expect("definitions are text");
    let kept = read("deploy/shared/crds.yaml");
    let kept = kept.split_once('\n').expect("a line that says where it comes from").1;
    assert!(kept == printed, "deploy/shared/crds.yaml is old: run `make manifests`");
}

#[test]
fn the_chart_carries_the_same_files() {
    for (source, copy) in COPIES {
        assert!(read(source) == read(copy), "{copy} differs from {source}: run `make manifests`");
    }
}

#[test]
fn every_right_says_what_needs_it() {
    for file in ["deploy/shared/roles.yaml", "deploy/base/rbac.yaml"] {
        let text = read(file);
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate().filter(|(_, l)| l.starts_with("- apiGroups"))
        {
            let is_first = lines[index - 1] == "rules:";
            let role = lines[..index].iter().rposition(|line| line.starts_with("apiVersion"));
            let above = role.and_then(|role| lines[..role].last()).copied().unwrap_or_default();
            let said = if is_first { above } else { lines[index - 1] };
            assert!(said.starts_with('#'), "{file}:{}: no reason for {line}", index + 1);
        }
    }
}

#[test]
fn one_version_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    for (file, line) in [
        ("charts/tanist/Chart.yaml", format!("version: {version}")),
        ("charts/tanist/Chart.yaml", format!("appVersion: {version}")),
        ("deploy/base/agent.yaml", format!("        image: tanist:{version}")),
        ("deploy/base/arbiter.yaml", format!("        image: tanist:{version}")),
        ("deploy/components/sidecar/container.yaml", format!("    image: tanist:{version}")),
    ] {
        assert!(read(file).lines().any(|known| known == line), "{file} does not say `{line}`");
    }
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {file}: {error}"))
}
