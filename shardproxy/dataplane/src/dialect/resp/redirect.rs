//! Error replies of engines in cluster mode that name the node which serves a slot. Knows nothing of connections.
//!
//! ```text
//!   -MOVED 3999 10.0.0.7:6379     the slot is that node's: ask there, from now on
//!   -ASK 3999 10.0.0.7:6379       the key is there already, while its slot moves: ask there this once, after ASKING
//! ```

use super::request::decimal;

const SLOTS: u16 = 16384; // the engines' cluster.h

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Redirect<'r> {
    pub slot: u16,
    /// Host and port; the host is empty where it is that of the node which says so.
    pub address: &'r str,
    pub is_ask: bool,
}

impl<'r> Redirect<'r> {
    /// What an error reply says, if it is one. Nothing was executed then.
    pub fn of(reply: &'r [u8]) -> Option<Self> {
        let (rest, is_ask) = match reply.strip_prefix(b"-MOVED ") {
            Some(rest) => (rest, false),
            None => (reply.strip_prefix(b"-ASK ")?, true),
        };
        let text = std::str::from_utf8(rest.strip_suffix(b"\r\n")?).ok()?;
        let (slot, address) = text.split_once(' ')?;
        let slot = decimal(slot.as_bytes()).and_then(|slot| u16::try_from(slot).ok()).filter(|&slot| slot < SLOTS)?;
        let (_, port) = address.rsplit_once(':')?;
        port.parse::<u16>().ok()?;
        Some(Self { slot, address, is_ask })
    }

    /// The address as it stands in a topology. `by`: that of the node which says so.
    pub fn address_by(&self, by: &str) -> Box<str> {
        let Some((host, port)) = self.address.rsplit_once(':') else { return self.address.into() };
        match host {
            "" | "?" => {
                let host = by.rsplit_once(':').map_or(by, |(host, _)| host);
                format!("{host}:{port}").into()
            }
            host if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}").into(),
            _ => self.address.into(),
        }
    }
}

/// Whether the error says that the keys of one request are at two nodes, as their slot moves.
pub fn is_split(reply: &[u8]) -> bool {
    reply.starts_with(b"-TRYAGAIN")
}

/// Whether an engine in cluster mode says that it does not serve the slot, for now or at all.
pub fn is_elsewhere(reply: &[u8]) -> bool {
    Redirect::of(reply).is_some() || is_split(reply) || reply.starts_with(b"-CLUSTERDOWN")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_names_a_slot_and_a_node() {
        for (reply, expected) in [
            ("-MOVED 3999 127.0.0.1:6381\r\n", Some((3999, false, "127.0.0.1:6381"))),
            ("-ASK 0 db-1.example:6379\r\n", Some((0, true, "db-1.example:6379"))),
            ("-MOVED 16383 :6379\r\n", Some((16383, false, "10.0.0.1:6379"))),
            ("-MOVED 5 ?:6379\r\n", Some((5, false, "10.0.0.1:6379"))),
            ("-MOVED 5 2001:db8::1:6379\r\n", Some((5, false, "[2001:db8::1]:6379"))),
            ("-MOVED 16384 127.0.0.1:6381\r\n", None),
            ("-MOVED 65535 127.0.0.1:6381\r\n", None),
            ("-MOVED 5\r\n", None),
            ("-MOVED x 127.0.0.1:6381\r\n", None),
            ("-MOVED 5 127.0.0.1\r\n", None),
            ("-MOVED 5 127.0.0.1:6381 script: 00, on @user_script:1.\r\n", None),
            ("-ERR MOVED 5 127.0.0.1:6381\r\n", None),
        ] {
            let found = Redirect::of(reply.as_bytes());
            let found = found.map(|redirect| (redirect.slot, redirect.is_ask, redirect.address_by("10.0.0.1:7000")));
            let found = found.as_ref().map(|(slot, is_ask, address)| (*slot, *is_ask, &**address));
            assert_eq!(found, expected, "{reply}");
        }
    }
}
