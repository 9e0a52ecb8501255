//! Requests of clients that wait, as they are asked for them.

use crate::command::{Form, Kind};
use crate::dialect::resp::reply::array_elements;
use crate::dialect::resp::request::{Parsed, RequestLimits, RequestParser};
use crate::dialect::resp::{write, Request};

/// The words of a request.
pub fn words<'a>(bytes: &'a [u8], parser: &'a mut RequestParser) -> Vec<&'a [u8]> {
    let Ok(Parsed::Request { .. }) = parser.parse(bytes, &RequestLimits::NONE) else { return Vec::new() };
    Request { bytes, spans: parser.spans() }.arguments().collect()
}

/// The request for only those of its keys that stand at these places, among its keys. It says nothing of time: within MULTI
/// it does not wait.
pub fn narrowed(request: &[u8], form: &Form, places: &[usize]) -> Vec<u8> {
    let mut parser = RequestParser::new();
    let words = words(request, &mut parser);
    let (first, count) = (form.first as usize, form.count as usize);
    let is_kept = |at: usize| match at.checked_sub(first) {
        Some(place) if place < count => places.contains(&place),
        Some(place) if form.has_ids && place < 2 * count => places.contains(&(place - count)),
        _ => true,
    };
    let number = places.len().to_string();
    let kept: Vec<&[u8]> = (0..words.len())
        .filter(|&at| is_kept(at))
        .map(|at| match at as u32 {
            at if Some(at) == form.numkeys => number.as_bytes(),
            at if at == form.timeout => b"0",
            _ => words[at],
        })
        .collect();
    let mut bytes = Vec::with_capacity(request.len());
    write::command(&mut bytes, &kept);
    bytes
}

/// The places of keys that are read from their present end on.
pub fn open_ends(request: &[u8], form: &Form) -> Vec<usize> {
    if form.kind != Kind::Stream {
        return Vec::new();
    }
    let mut parser = RequestParser::new();
    let words = words(request, &mut parser);
    let ids = (form.first + form.count) as usize;
    (0..form.count as usize).filter(|place| words.get(ids + place).is_some_and(|id| *id == b"$")).collect()
}

/// The request with these ids in the place of the ends of its streams.
pub fn with_ends(request: &[u8], form: &Form, ends: &[(usize, Vec<u8>)]) -> Box<[u8]> {
    let mut parser = RequestParser::new();
    let mut words = words(request, &mut parser);
    let ids = (form.first + form.count) as usize;
    for (place, id) in ends {
        if let Some(word) = words.get_mut(ids + place) {
            *word = id;
        }
    }
    let mut bytes = Vec::with_capacity(request.len());
    write::command(&mut bytes, &words);
    bytes.into()
}

/// The id of the last entry, of a reply with that one or none.
pub fn last_id(reply: &[u8]) -> Vec<u8> {
    let first_of = |reply| array_elements(reply).ok()?.next()?.ok();
    let id = first_of(reply).and_then(first_of).and_then(|id: &[u8]| {
        let start = memchr::memchr(b'\n', id)? + 1;
        id.get(start..id.len().checked_sub(2)?)
    });
    id.unwrap_or(b"0-0").to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{wait_of, CommandTable, Wait};

    fn written(line: &str) -> (Vec<u8>, Form) {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut bytes = Vec::new();
        write::command(&mut bytes, &words);
        let table = CommandTable::builtin().unwrap();
        let Wait::For(form) = wait_of(table.find(words[0]).unwrap(), &words) else { panic!("{line}") };
        (bytes, form)
    }

    fn read(bytes: &[u8]) -> String {
        let mut parser = RequestParser::new();
        String::from_utf8(words(bytes, &mut parser).join(&b' ')).unwrap()
    }

    #[test]
    fn some_of_the_keys_are_asked_for() {
        for (line, places, expected) in [
            ("BLPOP a b c 5", &[1][..], "BLPOP b 0"),
            ("BLPOP a b c 5", &[0, 2], "BLPOP a c 0"),
            ("BLMOVE a b LEFT RIGHT 5", &[0], "BLMOVE a b LEFT RIGHT 0"),
            ("BRPOPLPUSH a b 5", &[0], "BRPOPLPUSH a b 0"),
            ("BLMPOP 5 3 a b c LEFT COUNT 2", &[2], "BLMPOP 0 1 c LEFT COUNT 2"),
            ("BZMPOP 5 2 a b MIN", &[0, 1], "BZMPOP 0 2 a b MIN"),
            ("XREAD COUNT 1 BLOCK 9 STREAMS a b 1 2-2", &[1], "XREAD COUNT 1 BLOCK 0 STREAMS b 2-2"),
            ("XREADGROUP GROUP g c BLOCK 9 STREAMS a b > >", &[0], "XREADGROUP GROUP g c BLOCK 0 STREAMS a >"),
        ] {
            let (bytes, form) = written(line);
            assert_eq!(read(&narrowed(&bytes, &form, places)), expected, "{line}");
        }
    }

    #[test]
    fn the_end_of_a_stream_is_where_it_was_when_it_was_asked_for() {
        let (bytes, form) = written("XREAD BLOCK 9 STREAMS a b c $ 5 $");
        assert_eq!(open_ends(&bytes, &form), [0, 2]);
        let entry = b"*1\r\n*2\r\n$3\r\n7-1\r\n*2\r\n$1\r\nf\r\n$1\r\nv\r\n";
        let ends = [(0, last_id(entry)), (2, last_id(b"*0\r\n"))];
        assert_eq!(read(&with_ends(&bytes, &form, &ends)), "XREAD BLOCK 9 STREAMS a b c 7-1 5 0-0");
        assert_eq!(last_id(b"-WRONGTYPE no\r\n"), b"0-0");
    }
}
