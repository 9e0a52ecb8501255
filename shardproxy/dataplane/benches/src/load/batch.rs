//! The requests of one connection that go out in one write: built once, patched before each send.

use std::ops::Range;

use crate::workload::{Shape, DIGITS};

#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    stride: usize,
    /// Of the last `fill`.
    requests: usize,
}

impl Batch {
    pub fn new(shape: &Shape, pipeline: usize) -> Self {
        Self { bytes: shape.bytes.repeat(pipeline), stride: shape.bytes.len(), requests: 0 }
    }

    /// Make it that many requests (at most the pipeline), each key from `next_key`.
    pub fn fill(&mut self, shape: &Shape, requests: usize, mut next_key: impl FnMut() -> u64) {
        self.requests = requests;
        for request in self.bytes.chunks_exact_mut(self.stride).take(requests) {
            for key in &shape.keys {
                let digits = digits(next_key());
                for at in &key.digits {
                    request[*at..*at + DIGITS].copy_from_slice(&digits);
                }
            }
        }
    }

    pub fn requests(&self) -> usize {
        self.requests
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.requests * self.stride]
    }

    /// A key of one request, as it was sent.
    pub fn key(&self, request: usize, name: &Range<usize>) -> &[u8] {
        let start = request * self.stride;
        &self.bytes[start + name.start..start + name.end]
    }
}

fn digits(mut number: u64) -> [u8; DIGITS] {
    let mut out = [b'0'; DIGITS];
    for place in out.iter_mut().rev() {
        if number == 0 {
            break;
        }
        *place = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::Batch;
    use crate::workload::{Shape, Workload};
    use crate::Protocol;

    #[test]
    fn every_request_gets_its_own_key_in_all_places() {
        let shape = Shape::new(Protocol::Memcache, Workload::Set, 18).unwrap();
        let mut batch = Batch::new(&shape, 3);
        let mut key = 98;
        batch.fill(&shape, 2, || {
            key += 1;
            key
        });
        let expected = "set key:000000000099 0 0 18\r\nkey:000000000099xx\r\n\
                        set key:000000000100 0 0 18\r\nkey:000000000100xx\r\n";
        assert_eq!(std::str::from_utf8(batch.bytes()), Ok(expected));
        assert_eq!(batch.key(1, &shape.keys[0].name), b"key:000000000100");
    }
}
