//! The beginning of a request, for who is to be told of it when its bytes are gone.

/// Bytes that are kept: a name, and some keys.
const MOST: usize = 512;

#[derive(Default, Debug)]
pub struct Head {
    bytes: Box<[u8]>,
    length: usize,
}

impl Head {
    pub fn of(request: &[u8]) -> Self {
        Self { bytes: Self::kept(request).into(), length: request.len() }
    }

    /// What is kept of a request.
    pub fn kept(request: &[u8]) -> &[u8] {
        &request[..request.len().min(MOST)]
    }

    /// The whole request, however long it is.
    pub fn whole(request: &[u8]) -> Self {
        Self { bytes: request.into(), length: request.len() }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many bytes the request has.
    pub const fn length(&self) -> usize {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_is_shown() {
        let request = vec![b'x'; 600];
        let head = Head::of(&request);
        assert_eq!((head.bytes(), head.length()), (&request[..MOST], 600));
        assert_eq!(Head::whole(&request).bytes(), request);
    }
}
