//! Values of many keys that came from several nodes, told in the order in which the keys were asked for.
//!
//! ```text
//!   asked   a b c d        one node, of a and d:  VALUE a …  VALUE d …  END
//!                          another, of b and c:   VALUE c …  END            b is missed
//!   told                   VALUE a …  VALUE c …  VALUE d …  END
//! ```

use crate::dialect::memcached::reply::value_of;
use crate::dialect::memcached::texts;
use crate::dialect::memcached::tokens::words;

#[derive(Debug)]
pub struct Values {
    /// The keys as the request has them, with the spaces between them.
    keys: Box<[u8]>,
    /// The part each of them went to.
    order: Box<[u16]>,
    /// The parts' values behind one another, and where those of each part are.
    bytes: Vec<u8>,
    parts: Box<[(usize, usize)]>,
}

impl Values {
    pub fn new(keys: &[u8], order: &[u16], parts: usize) -> Self {
        Self { keys: keys.into(), order: order.into(), bytes: Vec::new(), parts: vec![(0, 0); parts].into() }
    }

    /// Take one node's values; a reply that breaks off in an error is none.
    pub fn add(&mut self, part: u16, reply: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(reply.strip_suffix(texts::END).unwrap_or_default());
        if let Some(place) = self.parts.get_mut(usize::from(part)) {
            *place = (start, self.bytes.len());
        }
    }

    pub fn held(&self) -> usize {
        self.bytes.len()
    }

    pub fn room(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes of what is noted from the beginning to the end.
    pub fn noted(&self) -> usize {
        self.keys.len() + size_of_val(&*self.order) + size_of_val(&*self.parts)
    }

    /// Append the whole reply. What is of no key that was asked for is nobody's.
    pub fn write(&mut self, output: &mut Vec<u8>) {
        for (key, &part) in words(&self.keys).zip(&self.order) {
            let Some((start, end)) = self.parts.get_mut(usize::from(part)) else { continue };
            if let Some(value) = value_of(&self.bytes[*start..*end], key) {
                output.extend_from_slice(value);
                *start += value.len();
            }
        }
        output.extend_from_slice(texts::END);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(keys: &str, order: &[u16], replies: &[(u16, &str)]) -> String {
        let mut values = Values::new(keys.as_bytes(), order, replies.len());
        for (part, reply) in replies {
            values.add(*part, reply.as_bytes());
        }
        let mut output = Vec::new();
        values.write(&mut output);
        String::from_utf8(output).unwrap()
    }

    #[test]
    fn values_stand_in_the_order_of_their_keys_whoever_answers_first() {
        let (one, other) = ("VALUE a 0 1\r\n1\r\nVALUE d 7 5 9\r\nEND\r\n\r\nEND\r\n", "VALUE c 0 0\r\n\r\nEND\r\n");
        let all = "VALUE a 0 1\r\n1\r\nVALUE c 0 0\r\n\r\nVALUE d 7 5 9\r\nEND\r\n\r\nEND\r\n";
        assert_eq!(told("a b  c d", &[0, 1, 1, 0], &[(0, one), (1, other)]), all);
        assert_eq!(told("a b  c d", &[0, 1, 1, 0], &[(1, other), (0, one)]), all);
    }

    #[test]
    fn a_key_that_is_asked_twice_is_told_twice() {
        let a = "VALUE a 0 1\r\n1\r\n";
        let twice = format!("{a}{a}END\r\n");
        let expected = format!("{a}VALUE b 0 1\r\n2\r\n{a}END\r\n");
        assert_eq!(told("a b a", &[0, 1, 0], &[(0, &twice), (1, "VALUE b 0 1\r\n2\r\nEND\r\n")]), expected);
    }

    #[test]
    fn what_nobody_asked_for_and_what_broke_off_is_not_told() {
        let a = "VALUE a 0 1\r\n1\r\nEND\r\n";
        assert_eq!(told("a b", &[0, 1], &[(0, a), (1, "VALUE ab 0 1\r\n2\r\nEND\r\n")]), a);
        assert_eq!(told("a b", &[0, 1], &[(0, a), (1, "VALUE b 0 1\r\n2\r\nSERVER_ERROR x\r\n")]), a);
        assert_eq!(told("a b", &[0, u16::MAX], &[(0, a)]), a, "the node of b is down");
    }
}
