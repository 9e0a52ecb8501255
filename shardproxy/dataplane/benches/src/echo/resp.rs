//! Framing of RESP requests, and the fixed answers.

use super::{Answer, Hangup, Talk};

const MOST_ARGUMENTS: usize = 1024;

pub(super) struct Resp {
    /// `$<size>\r\n<bytes>\r\n`
    bulk: Vec<u8>,
}

impl Resp {
    pub(super) fn new(value_size: usize) -> Self {
        let head = format!("${value_size}\r\n").into_bytes();
        Self { bulk: [&head[..], &vec![b'x'; value_size], b"\r\n"].concat() }
    }
}

impl Answer for Resp {
    fn answer(&self, talk: &mut Talk, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<usize>, Hangup> {
        let Some((words, mut at)) = header(b'*', bytes)? else {
            return Ok(None);
        };
        if words == 0 || words > MOST_ARGUMENTS {
            return Err(Hangup);
        }
        let mut name = &bytes[..0];
        for word in 0..words {
            let Some((size, start)) = header(b'$', &bytes[at..])? else {
                return Ok(None);
            };
            let end = at + start + size + 2;
            match bytes.get(end - 2..end) {
                Some(b"\r\n") => {}
                Some(_) => return Err(Hangup),
                None => return Ok(None),
            }
            if word == 0 {
                name = &bytes[at + start..end - 2];
            }
            at = end;
        }
        self.command(talk, name, words, out)?;
        Ok(Some(at))
    }
}

impl Resp {
    fn command(&self, talk: &mut Talk, name: &[u8], words: usize, out: &mut Vec<u8>) -> Result<(), Hangup> {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        if is(b"EXEC") {
            let queued = talk.queued.take().unwrap_or_default();
            out.extend_from_slice(format!("*{queued}\r\n").as_bytes());
            (0..queued).for_each(|_| out.extend_from_slice(b"+OK\r\n"));
        } else if let Some(queued) = talk.queued.as_mut() {
            *queued += 1;
            out.extend_from_slice(b"+QUEUED\r\n");
        } else if is(b"GET") {
            out.extend_from_slice(&self.bulk);
        } else if is(b"SET") {
            out.extend_from_slice(b"+OK\r\n");
        } else if is(b"MGET") {
            out.extend_from_slice(format!("*{}\r\n", words - 1).as_bytes());
            (1..words).for_each(|_| out.extend_from_slice(&self.bulk));
        } else if is(b"PING") {
            out.extend_from_slice(b"+PONG\r\n");
        } else if is(b"MULTI") {
            talk.queued = Some(0);
            out.extend_from_slice(b"+OK\r\n");
        } else if is(b"QUIT") {
            out.extend_from_slice(b"+OK\r\n");
            return Err(Hangup);
        } else {
            out.extend_from_slice(b"-ERR the echo knows GET SET MGET MULTI EXEC PING QUIT\r\n");
        }
        Ok(())
    }
}

/// `<mark><number>\r\n` at the start: the number, and where the line ends.
fn header(mark: u8, bytes: &[u8]) -> Result<Option<(usize, usize)>, Hangup> {
    const LONGEST: usize = 12; // mark, 9 digits, CR LF
    let Some(first) = bytes.first() else {
        return Ok(None);
    };
    if *first != mark {
        return Err(Hangup);
    }
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(LONGEST - 1).skip(1) {
        match byte {
            b'0'..=b'9' => number = number * 10 + usize::from(byte - b'0'),
            b'\r' => return Ok((bytes.len() > at + 1).then_some((number, at + 2))),
            _ => return Err(Hangup),
        }
    }
    if bytes.len() < LONGEST {
        Ok(None)
    } else {
        Err(Hangup)
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Resp, Talk};
    use crate::workload::command;

    #[test]
    fn requests_are_answered_whole_or_not_at_all() {
        let table: [(&[&[u8]], &[u8]); 5] = [
            (&[b"GET", b"k"], b"$3\r\nxxx\r\n"),
            (&[b"set", b"k", b"v"], b"+OK\r\n"),
            (&[b"MGET", b"a", b"b"], b"*2\r\n$3\r\nxxx\r\n$3\r\nxxx\r\n"),
            (&[b"PING"], b"+PONG\r\n"),
            (&[b"FOO"], b"-ERR the echo knows GET SET MGET MULTI EXEC PING QUIT\r\n"),
        ];
        let echo = Resp::new(3);
        for (words, expected) in table {
            let bytes = command(words);
            let mut out = Vec::new();
            for cut in 0..bytes.len() {
                assert!(matches!(echo.answer(&mut Talk::default(), &bytes[..cut], &mut out), Ok(None)));
            }
            let length = echo.answer(&mut Talk::default(), &bytes, &mut out).ok().flatten();
            assert_eq!((length, &out[..]), (Some(bytes.len()), expected));
        }
    }

    #[test]
    fn other_bytes_end_the_connection() {
        for bytes in
            [&b"PING\r\n"[..], b"*0\r\n", b"*1\r\n:1\r\n", b"*-1\r\n", b"*1\r\n$1\r\nabc", b"*12345678901234\r\n"]
        {
            assert!(Resp::new(3).answer(&mut Talk::default(), bytes, &mut Vec::new()).is_err(), "{bytes:?}");
        }
    }
}
