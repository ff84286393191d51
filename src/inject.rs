//! Puts our container into Kilo's DaemonSet, in the text of the operator's own manifest.
//!
//! Only lines of ours come and go: comments, order and every other document stay as they are. What
//! comes out is read again and compared with what went in, so a manifest is either changed in
//! nothing but our container and volumes, or refused.

use serde_json::Value;

mod document;
mod list;
mod pieces;
mod pod;
#[cfg(test)]
mod tests;

use document::Document;
use list::Edit;
use pieces::Pieces;
use pod::Pod;

/// What is put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The image of our container.
    pub image: String,
    /// What may be done with a verdict: `observe`, `suggest` or `act`.
    pub mode: String,
}

/// Why a manifest is left as it is. Documents and lines count from one.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It is no YAML, or not what Kubernetes takes.
    #[error("document {document} cannot be read")]
    Unreadable {
        /// Which document.
        document: usize,
        /// Where and why.
        source: Box<serde_saphyr::Error>,
    },
    /// It says something in a way that is not understood here.
    #[error("document {document}, {path}, line {line}: {why}")]
    NotUnderstood {
        /// Which document.
        document: usize,
        /// What in it.
        path: String,
        /// Where it begins.
        line: usize,
        /// What is the matter, and what to do.
        why: &'static str,
    },
    /// Kilo is not in it.
    #[error(
        "none of {documents} documents is Kilo's: a DaemonSet with the labels \
         app.kubernetes.io/part-of: kilo and app.kubernetes.io/name: kilo or kilo-userspace"
    )]
    NoKilo {
        /// How many documents there are.
        documents: usize,
    },
    /// More would have changed than should.
    #[error("document {document} is written in a way in which it cannot be changed safely")]
    Unsafe {
        /// Which document.
        document: usize,
    },
}

/// Returns the manifest with our container in each of Kilo's DaemonSets. Doing it again changes
/// nothing.
///
/// # Errors
/// If there is no such DaemonSet, or something is not understood; the error says where.
pub fn inject(manifest: &str, wish: &Wish) -> Result<String, Refused> {
    let documents = Document::split(manifest)?;
    let mut lines: Vec<String> = manifest.split_inclusive('\n').map(str::to_owned).collect();
    let mut found = false;
    // From the end, so that lines before stay where they are.
    for document in documents.iter().rev() {
        let Some(pod) = Pod::read(document)? else { continue };
        found = true;
        let pieces = Pieces::new(wish, pod.wireguard());
        let mut edits = pod.edits(&pieces, document)?;
        edits.sort_by_key(|edit| (edit.lines.start, edit.lines.end));
        edits.into_iter().rev().for_each(|edit| splice(&mut lines, edit));
        check(document, &lines, &pieces)?;
    }
    if !found {
        return Err(Refused::NoKilo { documents: documents.len() });
    }
    Ok(lines.concat())
}

fn splice(lines: &mut Vec<String>, edit: Edit) {
    // The last line of a file may lack its end.
    if edit.lines.start == lines.len()
        && let Some(last) = lines.last_mut().filter(|last| !last.ends_with('\n'))
    {
        last.push('\n');
    }
    lines.splice(edit.lines, edit.text);
}

/// Reads the changed document again: it must differ in our pieces only, and have all of them.
fn check(before: &Document, lines: &[String], pieces: &Pieces) -> Result<(), Refused> {
    let broken = || Refused::Unsafe { document: before.number };
    let text = lines.concat();
    let after = Document::split(&text)?.into_iter().nth(before.number - 1).ok_or_else(broken)?;
    let (mut was, mut is) = (before.value()?, after.value()?);
    let ours = pieces.take_from(&mut is);
    pieces.take_from(&mut was);
    if was == is && ours == pieces.values() { Ok(()) } else { Err(broken()) }
}

/// Returns the list at the end of a path of keys, if it is there.
fn list_at<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Vec<Value>> {
    path.iter().try_fold(value, |value, key| value.get_mut(*key))?.as_array_mut()
}
