//! What an engine says when it does not have what is asked for.

use memchr::memmem;

use crate::command::Misses;
use crate::dialect::resp::arguments_of;
use crate::dialect::resp::reply::array_elements;

#[inline]
fn is_null(reply: &[u8]) -> bool {
    matches!(reply, b"$-1\r\n" | b"_\r\n" | b"*-1\r\n")
}

/// Whether a reply to a command of that kind says so, for its only key or for some of several.
#[inline]
pub fn is_missing(misses: Misses, reply: &[u8]) -> bool {
    match misses {
        Misses::Never => false,
        Misses::Nothing => is_null(reply) || matches!(reply, b"*0\r\n" | b"%0\r\n" | b"~0\r\n"),
        Misses::Zero => reply == b":0\r\n",
        Misses::NoText => reply == b"$0\r\n\r\n",
        Misses::All => elements(reply).all(|element| is_null(element) || element == b":0\r\n"),
        Misses::Any => may_have_null(reply) && elements(reply).any(is_null),
    }
}

/// The first key of a request for several that is missing and is `wanted`; the reply's values are in the keys' order.
pub fn missing_key<'r>(request: &'r [u8], reply: &[u8], mut wanted: impl FnMut(&[u8]) -> bool) -> Option<&'r [u8]> {
    let keys = arguments_of(request).skip(1);
    keys.zip(elements(reply)).find(|(key, element)| is_null(element) && wanted(key)).map(|(key, _)| key)
}

/// Most replies have none, and need not be walked through.
fn may_have_null(reply: &[u8]) -> bool {
    memmem::find(reply, b"$-1\r\n").is_some() || memmem::find(reply, b"_\r\n").is_some()
}

fn elements(reply: &[u8]) -> impl Iterator<Item = &[u8]> {
    array_elements(reply).into_iter().flatten().map_while(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misses_are_told_from_values() {
        for (misses, reply, expected) in [
            (Misses::Nothing, "$-1\r\n", true),
            (Misses::Nothing, "_\r\n", true),
            (Misses::Nothing, "*-1\r\n", true),
            (Misses::Nothing, "*0\r\n", true),
            (Misses::Nothing, "%0\r\n", true),
            (Misses::Nothing, "~0\r\n", true),
            (Misses::Nothing, "$0\r\n\r\n", false),
            (Misses::Nothing, "$1\r\na\r\n", false),
            (Misses::Nothing, "*1\r\n$-1\r\n", false),
            (Misses::Zero, ":0\r\n", true),
            (Misses::Zero, ":1\r\n", false),
            (Misses::NoText, "$0\r\n\r\n", true),
            (Misses::NoText, "$-1\r\n", false),
            (Misses::All, "*2\r\n$-1\r\n_\r\n", true),
            (Misses::All, "*2\r\n:0\r\n:0\r\n", true),
            (Misses::All, "*2\r\n$-1\r\n$0\r\n\r\n", false),
            (Misses::Any, "*2\r\n$1\r\na\r\n$-1\r\n", true),
            (Misses::Any, "*2\r\n$1\r\na\r\n_\r\n", true),
            (Misses::Any, "*2\r\n$1\r\na\r\n$5\r\n$-1\r\n\r\n", false),
            (Misses::Never, "$-1\r\n", false),
        ] {
            assert_eq!(is_missing(misses, reply.as_bytes()), expected, "{misses:?} {reply:?}");
        }
    }

    #[test]
    fn the_key_that_is_missing_is_found_by_its_place() {
        let request = b"*4\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n";
        let reply = b"*3\r\n$-1\r\n$1\r\nx\r\n$-1\r\n";
        assert_eq!(missing_key(request, reply, |_| true), Some(&b"a"[..]));
        assert_eq!(missing_key(request, reply, |key| key != b"a"), Some(&b"c"[..]));
        assert_eq!(missing_key(request, reply, |key| key == b"b"), None);
    }
}
