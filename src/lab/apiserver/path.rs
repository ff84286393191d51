//! The JSONPath of printer columns: members, indices, `[*]` and `[?(@.key=="text")]`.

use serde_json::Value;

/// Returns what lies at a path such as `.status.conditions[?(@.type=="Ready")].status`.
pub(super) fn select<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    steps(path).iter().fold(vec![value], |found, step| {
        found.into_iter().flat_map(|value| step.below(value)).collect()
    })
}

enum Step {
    Member(String),
    Index(i64),
    All,
    Where { key: Vec<String>, equals: String },
}

impl Step {
    fn below<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        let elements = value.as_array().map(Vec::as_slice).unwrap_or_default();
        match self {
            Self::Member(key) => value.get(key).into_iter().collect(),
            Self::Index(index) => {
                let index = if *index < 0 { elements.len() as i64 + index } else { *index };
                let index = usize::try_from(index).ok();
                index.and_then(|index| elements.get(index)).into_iter().collect()
            }
            Self::All => match value.as_object() {
                Some(members) => members.values().collect(),
                None => elements.iter().collect(),
            },
            Self::Where { key, equals } => {
                let at =
                    |element: &'a Value| key.iter().try_fold(element, |value, key| value.get(key));
                let holds = |element: &&&'a Value| {
                    at(element).is_some_and(|found| found.as_str() == Some(equals))
                };
                elements.iter().collect::<Vec<_>>().iter().filter(holds).copied().collect()
            }
        }
    }
}

fn steps(path: &str) -> Vec<Step> {
    let mut rest = path.trim().trim_start_matches('{').trim_end_matches('}');
    rest = rest.strip_prefix('$').unwrap_or(rest);
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let end = inside.find(']').unwrap_or(inside.len());
            steps.push(bracket(&inside[..end]));
            rest = inside.get(end + 1..).unwrap_or_default();
        } else {
            let inside = rest.strip_prefix('.').unwrap_or(rest);
            let (name, length) = member(inside);
            if name == "*" {
                steps.push(Step::All);
            } else if !name.is_empty() {
                steps.push(Step::Member(name));
            }
            rest = &inside[length..];
            if length == 0 && !rest.starts_with(['[', '.']) {
                break;
            }
        }
    }

    steps
}

/// Reads a member's name, in which a backslash makes a dot part of it, and how long it was.
fn member(text: &str) -> (String, usize) {
    let mut name = String::new();
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '.' | '[' if !escaped => return (name, at),
            _ => name.push(letter),
        }
        escaped = false;
    }

    (name, text.len())
}

fn bracket(inside: &str) -> Step {
    let unquoted = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
    if let Some(filter) = inside.strip_prefix("?(").and_then(|text| text.strip_suffix(')')) {
        let (key, equals) = filter.split_once("==").unwrap_or((filter, ""));
        let key = key.trim().trim_start_matches('@');
        let key = key.split('.').filter(|key| !key.is_empty()).map(str::to_owned).collect();
        return Step::Where { key, equals: unquoted(equals) };
    }
    if inside == "*" {
        return Step::All;
    }
    inside.parse().map_or_else(|_| Step::Member(unquoted(inside)), Step::Index)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_select() {
        let object = json!({
            "spec": {"a.b/c": 1, "list": [{"n": "x", "v": 2}, {"n": "y", "v": 3}]},
        });
        #[rustfmt::skip]
        let table = [
            (".spec.list[0].v",                  vec![json!(2)]),
            (".spec.list[-1].v",                 vec![json!(3)]),
            (".spec.list[*].v",                  vec![json!(2), json!(3)]),
            (".spec.list[?(@.n==\"y\")].v",      vec![json!(3)]),
            (".spec.list[?(@.n=='z')].v",        vec![]),
            (".spec['a.b/c']",                   vec![json!(1)]),
            (".spec.a\\.b/c",                    vec![json!(1)]),
            ("{.spec.list[7].v}",                vec![]),
            (".nothing.here",                    vec![]),
            ("]",                                vec![]),
            ("[",                                vec![]),
        ];

        for (path, wanted) in table {
            let found: Vec<_> = select(&object, path).into_iter().cloned().collect();
            assert_eq!(found, wanted, "{path}");
        }
    }
}
