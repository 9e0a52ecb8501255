//! What a connection tells that has said CLIENT TRACKING: which keys have changed.

use super::reply::{array_elements, push_elements, Elements};

pub enum Changed<'a> {
    These(Keys<'a>),
    /// FLUSHALL, or what is like it.
    All,
}

/// The names in a push.
#[derive(Clone)]
pub struct Keys<'a>(Elements<'a>);

/// What the push tells; none if it is of another kind.
pub fn changed(push: &[u8]) -> Option<Changed<'_>> {
    let mut elements = push_elements(push).ok()?;
    let (Some(Ok(word)), Some(Ok(keys))) = (elements.next(), elements.next()) else { return None };
    let is_it = word.ends_with(b"\r\ninvalidate\r\n");
    is_it.then(|| array_elements(keys).map_or(Changed::All, |keys| Changed::These(Keys(keys))))
}

impl<'a> Iterator for Keys<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let bulk = self.0.next()?.ok()?;
        let start = memchr::memchr(b'\n', bulk)? + 1;
        bulk.get(start..bulk.len().checked_sub(2)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[&[u8]] = &[b"(all)"];

    fn told(push: &[u8]) -> Option<Vec<&[u8]>> {
        Some(match changed(push)? {
            Changed::These(keys) => keys.collect(),
            Changed::All => ALL.to_vec(),
        })
    }

    #[test]
    fn pushes_tell_which_keys_have_changed() {
        let two = b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$4\r\n\r\nb\r\r\n";
        assert_eq!(told(two), Some(vec![&b"a"[..], b"\r\nb\r"]));
        assert_eq!(told(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$0\r\n\r\n"), Some(vec![&b""[..]]));
        assert_eq!(told(b">2\r\n$10\r\ninvalidate\r\n_\r\n"), Some(ALL.to_vec()));
        assert_eq!(told(b">2\r\n$7\r\nmessage\r\n_\r\n"), None);
        assert_eq!(told(b">2\r\n$10\r\ninvalidate\r\n"), None);
    }
}
