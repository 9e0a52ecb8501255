//! Where a client is, if not where its socket says: it came by way of a load balancer.

use std::net::{IpAddr, SocketAddr};

use super::Client;
use crate::dialect::proxy_protocol::Source;
use crate::model::{is_balancer, Inbound};

/// A connection that comes from a balancer.
#[derive(Default)]
pub struct Origin {
    /// What the balancer said; it has not yet while this is none.
    pub source: Option<Source>,
}

impl Origin {
    fn client(&self) -> Option<SocketAddr> {
        match self.source {
            Some(Source::Client(address)) => Some(address),
            Some(Source::Balancer) | None => None,
        }
    }
}

impl Client {
    /// Where it connected from, as CLIENT LIST, MONITOR, events and logs show it.
    pub fn address(&self) -> String {
        let client = self.origin.as_ref().and_then(|origin| origin.client());
        client.map_or_else(|| self.stream.peer_text(), |address| address.to_string())
    }

    /// Whether that is a unix socket.
    pub fn is_unix(&self) -> bool {
        self.origin.as_ref().and_then(|origin| origin.client()).is_none() && self.stream.is_unix()
    }

    /// Whether it may be connected from where it is: by way of a balancer where its endpoint is for these. A balancer may for itself as long as it is one: it is trusted to
    /// speak for any client.
    pub fn is_admitted(&self, inbound: &Inbound) -> bool {
        let ip = |address: Option<SocketAddr>| address.map(|address| address.ip());
        let admits = |from: Option<IpAddr>| inbound.admits(self.endpoint, from);
        let balancers = inbound.balancers(self.endpoint, &self.address_of_endpoint);
        let Some(origin) = &self.origin else {
            return balancers.is_none() && (inbound.is_open() || admits(ip(self.stream.peer())));
        };
        let is_trusted = balancers.is_some_and(|balancers| is_balancer(balancers, ip(self.stream.peer())));
        is_trusted && origin.client().is_none_or(|client| admits(Some(client.ip())))
    }
}
