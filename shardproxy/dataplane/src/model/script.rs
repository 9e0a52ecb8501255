//! Scripts by what they are called, and what they say of themselves.

use crate::hash::sha1;

/// A script's SHA1 as EVALSHA has it: hex, in lower case.
pub type Digest = [u8; 40];

pub fn digest_of(word: &[u8]) -> Option<Digest> {
    let mut digest: Digest = word.try_into().ok()?;
    digest.make_ascii_lowercase();
    Some(digest)
}

/// What an engine calls this script.
pub fn digest_of_body(body: &[u8]) -> Digest {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digest = [0; 40];
    for (pair, byte) in digest.chunks_exact_mut(2).zip(sha1(body)) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    digest
}

/// What `flags=` may say (Redis 7.0, script.c).
const FLAGS: [&[u8]; 5] = [b"no-writes", b"allow-oom", b"allow-stale", b"no-cluster", b"allow-cross-slot-keys"];

/// Whether a script says in its first line that it writes nothing; none where it has no such line, or one that engines
/// refuse.
pub fn is_without_writes(body: &[u8]) -> Option<bool> {
    let line = &body[..memchr::memchr(b'\n', body)?];
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    if words.next() != Some(b"#!lua") {
        return None;
    }
    let mut is_without = false;
    for word in words {
        let flags = word.strip_prefix(b"flags=")?;
        for flag in flags.split(|&byte| byte == b',').filter(|_| !flags.is_empty()) {
            if !FLAGS.contains(&flag) {
                return None;
            }
            is_without |= flag == FLAGS[0];
        }
    }
    Some(is_without)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_any_case_and_forty_digits() {
        assert_eq!(digest_of(&[b'A'; 40]), Some([b'a'; 40]));
        assert_eq!(digest_of(&[b'a'; 39]), None);
        assert_eq!(&digest_of_body(b"return 1"), b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }

    #[test]
    fn a_script_says_that_it_writes_nothing_as_engines_read_it() {
        for (line, expected) in [
            ("#!lua flags=no-writes\n", Some(true)),
            ("#!lua flags=allow-stale,no-writes\n", Some(true)),
            ("#!lua  flags=no-writes\nreturn 1", Some(true)),
            ("#!lua flags=no-writes\r\nreturn 1", Some(true)),
            ("#!lua\nreturn 1", Some(false)),
            ("#!lua flags=\nreturn 1", Some(false)),
            ("#!lua flags=allow-oom\nreturn 1", Some(false)),
            ("return 1", None),
            ("", None),
            ("#!lua flags=no-writes", None),
            ("#!lua flags=no-writes,\n", None),
            ("#!lua flags=no-writes,nope\n", None),
            ("#!LUA flags=no-writes\n", None),
            ("#!js flags=no-writes\n", None),
            ("#!lua name=x flags=no-writes\n", None),
        ] {
            assert_eq!(is_without_writes(line.as_bytes()), expected, "{line:?}");
        }
    }
}
