//! Rules as they are written down, taken apart into modifiers.

use super::Fault;

/// The modifiers of one line, as in an ACL file: words, of which some together are a selector in parentheses.
pub fn modifiers_of(text: &str) -> Result<Vec<Vec<u8>>, Fault> {
    merge(text.split_ascii_whitespace().map(str::as_bytes))
}

/// Words with those of a selector put together: ACL SETUSER may be given one in several arguments.
pub fn merge<'a>(words: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, Fault> {
    let mut merged = Vec::new();
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for word in words {
        let is_last = word.last() == Some(&b')');
        match &mut open {
            None if word.first() == Some(&b'(') && !is_last => open = Some((word, word.to_vec())),
            None => merged.push(word.to_vec()),
            Some((_, selector)) => {
                selector.push(b' ');
                selector.extend_from_slice(word);
                if is_last {
                    merged.extend(open.take().map(|(_, selector)| selector));
                }
            }
        }
    }
    match open {
        Some((word, _)) => Err(Fault::Unmatched(word.to_vec())),
        None => Ok(merged),
    }
}
