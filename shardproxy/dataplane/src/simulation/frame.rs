//! Where a reply ends: written anew here, so that the proxy's own framers are not their own judges.

#[derive(Debug)]
pub struct Garbled(pub &'static str);

/// The length of the RESP value at the front; none if it is not complete.
pub fn resp(bytes: &[u8]) -> Result<Option<usize>, Garbled> {
    let (mut at, mut values) = (0usize, 1u64);
    while values > 0 {
        let Some(end) = bytes.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)).map(|end| at + end) else {
            return Ok(None);
        };
        let line = bytes[at..end].strip_suffix(b"\r").ok_or(Garbled("a line without CR"))?;
        let (&kind, rest) = line.split_first().ok_or(Garbled("an empty line"))?;
        at = end + 1;
        values -= 1;
        let number = || std::str::from_utf8(rest).ok().and_then(|text| text.parse::<i64>().ok());
        match kind {
            b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {}
            b'$' | b'=' | b'!' => {
                let length = number().ok_or(Garbled("a length that is no number"))?;
                if let Ok(length) = usize::try_from(length) {
                    at += length + 2;
                    if at > bytes.len() {
                        return Ok(None);
                    }
                    if &bytes[at - 2..at] != b"\r\n" {
                        return Err(Garbled("a value of another length"));
                    }
                }
            }
            b'*' | b'~' | b'>' => values += number().ok_or(Garbled("a count that is no number"))?.max(0) as u64,
            b'%' => values += 2 * number().ok_or(Garbled("a count that is no number"))?.max(0) as u64,
            b'|' => values += 1 + 2 * number().ok_or(Garbled("a count that is no number"))?.max(0) as u64,
            _ => return Err(Garbled("no type of RESP")),
        }
    }
    Ok((at <= bytes.len()).then_some(at))
}

/// The elements of an array or push whose elements are flat.
pub fn elements(bytes: &[u8]) -> Vec<&[u8]> {
    let mut rest = memchr::memchr(b'\n', bytes).map_or(&[][..], |end| &bytes[end + 1..]);
    let mut found = Vec::new();
    while let Ok(Some(length)) = if rest.is_empty() { Ok(None) } else { resp(rest) } {
        found.push(&rest[..length]);
        rest = &rest[length..];
    }
    found
}

/// What a bulk string holds.
pub fn text(bulk: &[u8]) -> &[u8] {
    let start = memchr::memchr(b'\n', bulk).map_or(0, |end| end + 1);
    bulk.get(start..bulk.len().saturating_sub(2)).unwrap_or_default()
}

/// The length of the memcached reply at the front; none if it is not complete.
pub fn memcached(bytes: &[u8]) -> Result<Option<usize>, Garbled> {
    let mut at = 0;
    loop {
        let Some(end) = bytes.get(at..).and_then(|rest| memchr::memchr(b'\n', rest)).map(|end| at + end) else {
            return Ok(None);
        };
        let line = bytes[at..end].strip_suffix(b"\r").ok_or(Garbled("a line without CR"))?;
        at = end + 1;
        let mut words = line.split(|&byte| byte == b' ');
        let word = words.next().unwrap_or_default();
        let length = |word: Option<&[u8]>| {
            let text = word.and_then(|word| std::str::from_utf8(word).ok());
            text.and_then(|text| text.parse::<usize>().ok()).ok_or(Garbled("a length that is no number"))
        };
        match word {
            b"VALUE" => at += length(words.nth(2))? + 2,
            b"VA" => {
                at += length(words.next())? + 2;
                return Ok((at <= bytes.len()).then_some(at));
            }
            b"STAT" => {}
            b"" => return Err(Garbled("an empty line")),
            _ => return Ok(Some(at)),
        }
    }
}
