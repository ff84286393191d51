//! The Internet checksum (RFC 1071), for the packets that we build ourselves.

/// Returns the checksum over the parts; all but the last are of even length.
pub(super) fn internet(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum = words.fold(0_u64, |sum, word| {
        sum + (u64::from(word[0]) << 8) + u64::from(word.get(1).copied().unwrap_or(0))
    });
    let folded = (0..4).fold(sum, |sum, _| (sum & 0xffff) + (sum >> 16));

    !(folded as u16)
}

#[cfg(test)]
mod tests {
    use super::internet;

    #[test]
    fn sums_as_the_rfc_does() {
        // The example of RFC 1071, section 3: the sum is ddf2.
        assert_eq!(internet(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        assert_eq!(internet(&[&[0x00, 0x01, 0xf2, 0x03], &[0xf4, 0xf5, 0xf6, 0xf7]]), !0xddf2);
        assert_eq!(internet(&[&[0xab]]), !0xab00);
        assert_eq!(internet(&[]), 0xffff);
    }
}
