//! The documents of a stream of YAML, each with the lines that it has there.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Refused;

/// One document that is not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    /// Which one, from one.
    pub(super) number: usize,
    /// Its text behind as many empty lines as stand before it, so that line numbers are those of
    /// the stream.
    text: String,
}

impl Document {
    /// Splits a stream at its markers.
    pub(super) fn split(stream: &str) -> Result<Vec<Self>, Refused> {
        let mut documents = Vec::new();
        let mut text = String::new();
        for (index, line) in stream.lines().enumerate() {
            let Some(rest) = marker(line) else {
                text.push_str(line);
                text.push('\n');
                continue;
            };
            if !rest.is_empty() && !rest.starts_with('#') {
                return Err(Refused::NotUnderstood {
                    document: documents.len() + 1,
                    path: "its marker".to_owned(),
                    line: index + 1,
                    why: "something stands behind ---; put it on a line of its own",
                });
            }
            Self::end(&mut documents, text);
            text = "\n".repeat(index + 1);
        }
        Self::end(&mut documents, text);
        Ok(documents)
    }

    fn end(documents: &mut Vec<Self>, text: String) {
        let is_content = |line: &str| !line.is_empty() && !line.starts_with('#');
        if text.lines().map(str::trim).any(is_content) {
            documents.push(Self { number: documents.len() + 1, text });
        }
    }

    /// Returns a line by its number in the stream, from one.
    pub(super) fn line(&self, number: usize) -> &str {
        number.checked_sub(1).and_then(|index| self.text.lines().nth(index)).unwrap_or_default()
    }

    /// Returns all lines up to the document's end; those before its beginning are empty.
    pub(super) fn lines(&self) -> Vec<&str> {
        self.text.lines().collect()
    }

    /// Reads it as a value.
    pub(super) fn value(&self) -> Result<Value, Refused> {
        self.read()
    }

    /// Reads it as what it should be.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Refused> {
        serde_saphyr::from_str(&self.text).map_err(|source| Refused::Unreadable {
            document: self.number,
            source: Box::new(source),
        })
    }
}

/// Returns what stands behind a marker, if the line is one.
fn marker(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("---")?;
    (rest.is_empty() || rest.starts_with([' ', '\t', '\r'])).then(|| rest.trim())
}
