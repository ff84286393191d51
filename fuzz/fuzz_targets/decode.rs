//! The packet decoder on any bytes: as they come, and signed, so that the fuzzer gets past the tag.

#![no_main]

use std::sync::LazyLock;

use hmac::{Hmac, KeyInit, Mac};
use libfuzzer_sys::fuzz_target;
use sha2::Sha256;
use tanist::observe::keys::Keyring;
use tanist::observe::wire::{LENGTH, decode, encode};

const SECRET: [u8; 16] = *b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f";
static KEYS: LazyLock<Keyring> = LazyLock::new(|| {
    Keyring::parse("000102030405060708090a0b0c0d0e0f").expect("a key")
});

fuzz_target!(|bytes: &[u8]| {
    let _ = decode(bytes, &KEYS);

    let Some(signed) = sign(bytes) else { return };
    let Ok(decoded) = decode(&signed, &KEYS) else { return };
    // What was understood says the same again.
    let again = decode(&encode(&decoded.packet, &KEYS), &KEYS);
    assert_eq!(again.map(|again| again.packet), Ok(decoded.packet));
});

/// Makes the bytes a signed packet of version 1; the body, kind and all else stay as they are.
fn sign(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    let (head, tail) = bytes.split_first_chunk_mut::<LENGTH>()?;
    head[..3].copy_from_slice(b"TN\x01");
    head[6..8].copy_from_slice(&KEYS.signing().0.to_be_bytes());

    let mac = Hmac::<Sha256>::new_from_slice(&SECRET).ok()?;
    let tag = mac.chain_update(&head[..48]).chain_update(&*tail).finalize().into_bytes();
    head[48..].copy_from_slice(&tag[..16]);
    Some(bytes)
}
