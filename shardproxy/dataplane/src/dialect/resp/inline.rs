//! Inline requests: a line of words as a person types them, with the quotes and escapes of Redis' `sdssplitargs`.

use super::request::Span;
use super::write;

/// The words of a line; none if its quotes are unbalanced.
pub fn split(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        while let [first, tail @ ..] = rest {
            if !is_space(*first) {
                break;
            }
            rest = tail;
        }
        if rest.is_empty() {
            return Some(words);
        }
        let (word, tail) = take_word(rest)?;
        words.push(word);
        rest = tail;
    }
}

/// Write `words` as a RESP array, and where they lie in it.
pub fn encode(words: &[Vec<u8>], out: &mut Vec<u8>, spans: &mut Vec<Span>) {
    out.clear();
    write::array_header(out, words.len());
    for word in words {
        write::bulk(out, word);
        let end = out.len() - 2;
        spans.push(Span { start: (end - word.len()) as u32, end: end as u32 });
    }
}

/// One word: pieces plain and quoted, up to a space.
fn take_word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    loop {
        match rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some((word, rest.get(1..).unwrap_or_default())),
            [quote @ (b'"' | b'\''), tail @ ..] => {
                rest = take_quoted(tail, *quote, &mut word)?;
                return match rest {
                    [] => Some((word, rest)),
                    [next, ..] if is_space(*next) => Some((word, rest)),
                    _ => None,
                };
            }
            [byte, tail @ ..] => {
                word.push(*byte);
                rest = tail;
            }
        }
    }
}

/// The rest of a quoted piece; what follows its closing quote.
fn take_quoted<'a>(mut rest: &'a [u8], quote: u8, word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, tail) = match rest {
            [] => return None,
            [b'\\', b'x', high, low, tail @ ..]
                if quote == b'"' && high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), tail)
            }
            [b'\\', escaped, tail @ ..] if quote == b'"' => (unescaped(*escaped), tail),
            [b'\\', b'\'', tail @ ..] if quote == b'\'' => (b'\'', tail),
            [byte, tail @ ..] if *byte == quote => return Some(tail),
            [byte, tail @ ..] => (*byte, tail),
        };
        word.push(byte);
        rest = tail;
    }
}

const fn unescaped(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// C's isspace.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}
