//! Tokens: `T<number>;` in keys and values, by which a reply shows whose it is.

/// The token as keys and values have it.
pub fn text(number: u64) -> String {
    format!("T{number};")
}

/// All tokens in the bytes.
pub fn all(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    memchr::memchr_iter(b'T', bytes).filter_map(|at| {
        let rest = &bytes[at + 1..];
        let digits = rest.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
        let number = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
        (rest.get(digits) == Some(&b';')).then_some(number)
    })
}

pub fn first(bytes: &[u8]) -> Option<u64> {
    all(bytes).next()
}
