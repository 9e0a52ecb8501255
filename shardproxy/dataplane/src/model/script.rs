//! Scripts by what they are called.

/// A script's SHA1 as EVALSHA has it: hex, in lower case.
pub type Digest = [u8; 40];

pub fn digest_of(word: &[u8]) -> Option<Digest> {
    let mut digest: Digest = word.try_into().ok()?;
    digest.make_ascii_lowercase();
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_any_case_and_forty_digits() {
        assert_eq!(digest_of(&[b'A'; 40]), Some([b'a'; 40]));
        assert_eq!(digest_of(&[b'a'; 39]), None);
    }
}
