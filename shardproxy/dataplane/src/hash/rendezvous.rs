//! Rendezvous hashing as pymemcache does it (`RendezvousHash`): the server whose name goes best with the key.

use super::ketama::Server;
use super::murmur::Murmur3;

#[derive(Clone, Debug)]
pub struct Rendezvous {
    /// The hash so far of each `<address>-`, and the address, which decides between equals.
    servers: Box<[(Murmur3, String)]>,
}

impl Rendezvous {
    pub fn new(servers: &[Server]) -> Self {
        let begun = |server: &Server| {
            let address = server.address();
            (Murmur3::new(0).add(address.as_bytes()).add(b"-"), address)
        };
        Self { servers: servers.iter().map(begun).collect() }
    }

    #[inline]
    pub fn server_of(&self, key: &[u8], is_out: impl Fn(usize) -> bool) -> Option<usize> {
        let scores = self.servers.iter().enumerate().filter(|(index, _)| !is_out(*index));
        scores
            .map(|(index, (begun, address))| (begun.add(key).finish(), address, index))
            .max()
            .map(|(_, _, index)| index)
    }
}
