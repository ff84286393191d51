//! What the real API server writes down of the requests of accounts, and what of them it forbade: in
//! a run of the lab nothing may be, or the shipped rights do not suffice.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What is to be written down: who asked for what, and how it ended.
pub const POLICY: &str = r#"{"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
  "omitStages": ["RequestReceived"], "rules": [
    {"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}]}
"#;

/// The code of an answer that forbids.
const FORBIDDEN: u64 = 403;

/// It cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("could not read what the API server wrote down in {path}", path = path.display())]
pub struct Error {
    /// Which file.
    path: PathBuf,
    /// Why it failed.
    #[source]
    source: io::Error,
}

/// Returns what was forbidden to accounts, each once; dry attempts do not count.
pub fn forbidden(path: &Path) -> Result<Vec<String>, Error> {
    let log = fs::read_to_string(path);
    let log = log.map_err(|source| Error { path: path.to_owned(), source })?;

    // The last line may be half written.
    let entries = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut forbidden = entries.filter_map(|entry| refusal(&entry)).collect::<Vec<_>>();
    forbidden.sort();
    forbidden.dedup();
    Ok(forbidden)
}

fn refusal(entry: &Value) -> Option<String> {
    let uri = entry["requestURI"].as_str()?;
    let status = &entry["responseStatus"];
    if status["code"].as_u64() != Some(FORBIDDEN) || uri.contains("dryRun=All") {
        return None;
    }
    let (user, verb) = (entry["user"]["username"].as_str()?, entry["verb"].as_str()?);
    let message = status["message"].as_str().unwrap_or("no message");
    Some(format!("{user} may not {verb} {uri}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"verb":"get","requestURI":"/a","user":{"username":"u"},"responseStatus":{"code":200}}
{"verb":"get","requestURI":"/b","user":{"username":"u"},"responseStatus":{"code":403,"message":"no"}}
{"verb":"get","requestURI":"/b","user":{"username":"u"},"responseStatus":{"code":403,"message":"no"}}
{"verb":"patch","requestURI":"/c?dryRun=All","user":{"username":"u"},"responseStatus":{"code":403}}
{"verb":"get","requestUR"#;

    #[test]
    fn what_was_forbidden_is_told_once_and_dry_attempts_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        fs::write(&path, LOG).unwrap();

        assert_eq!(forbidden(&path).unwrap(), ["u may not get /b: no"]);
        assert!(forbidden(&folder.path().join("none")).is_err());
    }
}
