//! The keys that probes are signed with: a file, read again when it changes.
//!
//! One key per line, as hex or base64, 16 to 64 bytes; `#` begins a comment. The first key signs,
//! all verify. A responder signs its answer with the key of the request, so the rotation has no
//! dark moment if each step reaches every node before the next begins:
//!
//! ```text
//! old            everybody signs and verifies with the old key
//! old, new       1. add the new key below the old one
//! new, old       2. swap them
//! new            3. remove the old one
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

mod file;
#[cfg(test)]
mod tests;

pub use file::KeyFile;

/// How many bytes of the HMAC-SHA256 a packet carries.
pub const TAG: usize = 16;

/// The fewest and the most bytes that a key may have.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=64;

/// What a key file can be refused for.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("read key file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// One line is no key.
    #[error("line {line} of the key file is {problem}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// What is wrong with it. Never the line itself, which may be nearly a key.
        problem: &'static str,
    },
    /// No line holds a key.
    #[error("the key file holds no key")]
    Empty,
}

/// Names a key without telling it: the first bytes of a hash of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub u16);

/// The keys of one mesh: the first signs, all verify.
#[derive(Clone)]
pub struct Keyring {
    keys: Arc<[Key]>,
}

impl Keyring {
    /// Reads the keys from the text of a key file.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut keys = Vec::new();

        for (index, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if entry.is_empty() {
                continue;
            }
            let secret =
                secret(entry).map_err(|problem| KeyError::Line { line: index + 1, problem })?;
            keys.extend(Key::new(&secret));
        }

        if keys.is_empty() { Err(KeyError::Empty) } else { Ok(Self { keys: keys.into() }) }
    }

    /// Returns the name of the key that signs.
    #[must_use]
    pub fn signing(&self) -> KeyId {
        self.keys[0].id
    }

    /// Returns the names of all keys, the signing one first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys.iter().map(|key| key.id)
    }

    /// Returns the tag of a message that consists of `parts`, by the named key if it is there, else
    /// by the signing one.
    #[must_use]
    pub(super) fn tag(&self, id: KeyId, parts: [&[u8]; 2]) -> [u8; TAG] {
        let key = self.keys.iter().find(|key| key.id == id).unwrap_or(&self.keys[0]);
        let whole = key.over(parts).finalize().into_bytes();
        let mut tag = [0; TAG];
        tag.copy_from_slice(&whole[..TAG]);

        tag
    }

    /// Tells whether a key of that name made the tag.
    #[must_use]
    pub(super) fn verifies(&self, id: KeyId, parts: [&[u8]; 2], tag: &[u8; TAG]) -> bool {
        let mut named = self.keys.iter().filter(|key| key.id == id);
        named.any(|key| key.over(parts).verify_truncated_left(tag).is_ok())
    }
}

impl std::fmt::Debug for Keyring {
    /// Names the keys, without telling them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ids()).finish()
    }
}

/// One key, in the form that signs fastest; wiped when dropped.
struct Key {
    id: KeyId,
    mac: Hmac<Sha256>,
}

impl Key {
    fn new(secret: &[u8]) -> Option<Self> {
        let name = Sha256::new().chain_update(b"tanist key id v1").chain_update(secret).finalize();
        let mac = Hmac::new_from_slice(secret).ok()?;

        Some(Self { id: KeyId(u16::from_be_bytes([name[0], name[1]])), mac })
    }

    fn over(&self, [head, tail]: [&[u8]; 2]) -> Hmac<Sha256> {
        self.mac.clone().chain_update(head).chain_update(tail)
    }
}

/// Returns the bytes of one entry: hex if every character is a hex digit, else base64.
fn secret(entry: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    let is_hex = entry.len().is_multiple_of(2) && entry.bytes().all(|b| b.is_ascii_hexdigit());
    let bytes = if is_hex { from_hex(entry) } else { STANDARD.decode(entry).ok() };
    let bytes = Zeroizing::new(bytes.ok_or("neither hex nor base64")?);

    match bytes.len() {
        length if LENGTHS.contains(&length) => Ok(bytes),
        length if length < *LENGTHS.start() => Err("shorter than 16 bytes"),
        _ => Err("longer than 64 bytes"),
    }
}

fn from_hex(entry: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = entry.as_bytes().chunks_exact(2);

    pairs.map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8)).collect()
}
