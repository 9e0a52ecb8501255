//! What measures shardproxy and its peers, all alike.
//!
//! `load` is the clients: many connections on a few epoll threads, closed loop or at a fixed rate, every reply checked.
//! `echo` is the floor: a server that reads, frames and answers as a proxy must, but never goes upstream.
//! Neither shares code with the data plane, so a mistake there is not repeated here.

pub mod args;
pub mod cpu;
pub mod echo;
pub mod fanout;
pub mod histogram;
pub mod json;
pub mod load;
pub mod reply;
pub mod timer;
pub mod workload;

use std::str::FromStr;

/// What is spoken on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Resp,
    Memcache,
}

impl Protocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Resp => "resp",
            Self::Memcache => "memcache",
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "resp" => Ok(Self::Resp),
            "memcache" => Ok(Self::Memcache),
            _ => Err(format!("unknown protocol '{text}': use resp or memcache")),
        }
    }
}
