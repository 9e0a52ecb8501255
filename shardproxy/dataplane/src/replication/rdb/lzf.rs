//! LZF, by which engines shorten strings: runs of plain bytes, and copies of what came before.

const LONGEST_COPY: usize = 264; // three bytes say it
const NEAREST_PLAIN: u8 = 32;

/// What `packed` unpacks to, if that is `length` bytes.
pub fn unpack(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    if length > packed.len().saturating_mul(LONGEST_COPY) {
        return None; // before as much is reserved for it
    }
    let mut plain = Vec::with_capacity(length);
    let mut rest = packed;
    while let Some((&control, behind)) = rest.split_first() {
        if control < NEAREST_PLAIN {
            let (run, behind) = behind.split_at_checked(usize::from(control) + 1)?;
            plain.extend_from_slice(run);
            rest = behind;
        } else {
            let (long, behind) = match control >> 5 {
                7 => behind.split_first().map(|(&more, behind)| (7 + usize::from(more), behind))?,
                short => (usize::from(short), behind),
            };
            let (&low, behind) = behind.split_first()?;
            let back = (usize::from(control & 31) << 8 | usize::from(low)) + 1;
            let start = plain.len().checked_sub(back)?;
            if plain.len() + long + 2 > length {
                return None;
            }
            for place in start..start + long + 2 {
                plain.push(plain[place]); // it may read what it has just written
            }
            rest = behind;
        }
    }
    (plain.len() == length).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_copies_unpack() {
        let cases: &[(&[u8], &[u8])] = &[
            (b"\x00a", b"a"),
            (b"\x02abc\x20\x02", b"abcabc"),
            (b"\x00a\x20\x00", b"aaaa"),
            (b"\x00a\xe0\x01\x00", b"aaaaaaaaaaa"),
            (b"", b""),
        ];
        for (packed, plain) in cases {
            assert_eq!(unpack(packed, plain.len()).as_deref(), Some(*plain), "{}", packed.escape_ascii());
            assert_eq!(unpack(packed, plain.len() + 1), None);
        }
    }

    #[test]
    fn what_is_broken_is_none() {
        for packed in [&b"\x02ab"[..], b"\x20\x00", b"\x00a\x20", b"\x00a\xe0\x01", b"\x00a\x20\x01"] {
            for length in 0..20 {
                assert_eq!(unpack(packed, length), None, "{} {length}", packed.escape_ascii());
            }
        }
    }

    #[test]
    fn no_more_is_reserved_than_there_can_be() {
        assert_eq!(unpack(b"\x00a", usize::MAX), None);
    }
}
