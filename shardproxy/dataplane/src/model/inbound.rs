//! From where one may connect to the endpoints of a cluster. What it says of an address depends on nothing else.

use std::net::IpAddr;

use serde::Deserialize;

use super::{EndpointKind, EndpointSpec};

/// Networks of a cluster together, and of an endpoint's balancers; the config has fewer.
const MOST: usize = 10_000;

/// One rule: whoever connects from one of these networks may, to these endpoints (none said: to all).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundSpec {
    pub from: Vec<String>,
    #[serde(default)]
    pub endpoints: Option<Vec<EndpointKind>>,
}

/// A set of addresses: ranges in their order, none touching another. IPv4 within IPv6 counts as IPv4.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    old: Box<[(u32, u32)]>,
    new: Box<[(u128, u128)]>,
}

impl Networks {
    /// Read addresses and networks, as in 10.0.0.0/8.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let (mut old, mut new) = (Vec::new(), Vec::new());
        for text in texts {
            let (address, prefix) = split(text).ok_or_else(|| format!("{text:?} is no network"))?;
            match address {
                IpAddr::V4(address) => {
                    let rest = u32::MAX.checked_shr(prefix).unwrap_or(0);
                    old.push((address.to_bits() & !rest, address.to_bits() | rest));
                }
                IpAddr::V6(address) => {
                    let rest = u128::MAX.checked_shr(prefix).unwrap_or(0);
                    new.push((address.to_bits() & !rest, address.to_bits() | rest));
                }
            }
            if old.len() + new.len() > MOST {
                return Err(format!("more than {MOST} networks"));
            }
        }
        Ok(Self { old: merged(old, |last| last.checked_add(1)), new: merged(new, |last| last.checked_add(1)) })
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => holds(&self.old, &address.to_bits()),
            IpAddr::V6(address) => holds(&self.new, &address.to_bits()),
        }
    }
}

/// An address and the length of its prefix; IPv4 within IPv6 as IPv4.
fn split(text: &str) -> Option<(IpAddr, u32)> {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Some(most), |prefix| prefix.parse().ok()).filter(|&prefix| prefix <= most)?;
    match address {
        IpAddr::V6(address) if prefix >= 96 && address.to_ipv4_mapped().is_some() => {
            Some((IpAddr::V6(address).to_canonical(), prefix - 96))
        }
        _ => Some((address, prefix)),
    }
}

/// In their order, those that overlap or touch made one.
fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut found: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match found.last_mut() {
            Some(before) if next(before.1).is_none_or(|next| first <= next) => before.1 = before.1.max(last),
            _ => found.push((first, last)),
        }
    }
    found.into()
}

fn holds<T: Ord>(ranges: &[(T, T)], address: &T) -> bool {
    let after = ranges.partition_point(|(first, _)| first <= address);
    after.checked_sub(1).is_some_and(|place| *address <= ranges[place].1)
}

/// Who may connect to a cluster, and which balancers speak for their clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inbound {
    /// By kind of endpoint; none = everybody.
    admitted: Option<[Networks; EndpointKind::ALL.len()]>,
    /// By kind and address of an endpoint.
    balancers: Vec<(EndpointKind, String, Networks)>,
}

impl Inbound {
    pub fn build(rules: Option<&[InboundSpec]>, endpoints: &[EndpointSpec]) -> Result<Self, String> {
        let networks_of = |rules: &[InboundSpec], kind: EndpointKind| {
            let meant = rules.iter().filter(|rule| rule.endpoints.as_ref().is_none_or(|of| of.contains(&kind)));
            Networks::parse(meant.flat_map(|rule| &rule.from).map(String::as_str))
        };
        let admitted = match rules {
            None => None,
            Some(rules) => {
                let [configuration, primary, reader] = EndpointKind::ALL.map(|kind| networks_of(rules, kind));
                Some([configuration?, primary?, reader?])
            }
        };
        let mut balancers = Vec::new();
        for endpoint in endpoints {
            let Some(from) = &endpoint.proxy_protocol else { continue };
            let networks = Networks::parse(from.iter().map(String::as_str))?;
            let addresses = endpoint.addresses.iter();
            balancers.extend(addresses.map(|address| (endpoint.kind, address.clone(), networks.clone())));
        }
        Ok(Self { admitted, balancers })
    }

    /// Whether everybody may connect.
    pub const fn is_open(&self) -> bool {
        self.admitted.is_none()
    }

    /// Whether one may connect from there. No address: over a unix socket, where the file says who may.
    pub fn admits(&self, endpoint: EndpointKind, from: Option<IpAddr>) -> bool {
        let (Some(admitted), Some(from)) = (&self.admitted, from) else { return true };
        admitted[endpoint as usize].contains(from)
    }

    /// The balancers that an endpoint hears of its clients from, if it does; they alone may connect to it.
    pub fn balancers(&self, endpoint: EndpointKind, address: &str) -> Option<&Networks> {
        let mut known = self.balancers.iter();
        known.find(|(kind, at, _)| *kind == endpoint && at == address).map(|(.., networks)| networks)
    }
}

/// Whether a balancer is one of these. Whoever may open a unix socket is.
pub fn is_balancer(balancers: &Networks, from: Option<IpAddr>) -> bool {
    from.is_none_or(|from| balancers.contains(from))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Networks {
        Networks::parse(texts.iter().copied()).unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_are_in_networks() {
        let some =
            networks(&["10.0.0.0/8", "192.0.2.7", "192.0.2.8/31", "fd00::/8", "2001:db8::1", "::ffff:100.64.0.0/106"]);
        for (address, expected) in [
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("192.0.2.6", false),
            ("192.0.2.7", true),
            ("192.0.2.9", true),
            ("192.0.2.10", false),
            ("100.127.255.255", true),
            ("100.128.0.0", false),
            ("::ffff:10.1.2.3", true),
            ("::ffff:11.1.2.3", false),
            ("::10.1.2.3", false),
            ("fcff:ffff::", false),
            ("fd00::", true),
            ("fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("fe00::", false),
            ("2001:db8::1", true),
            ("2001:db8::2", false),
        ] {
            assert_eq!(some.contains(ip(address)), expected, "{address}");
        }
    }

    #[test]
    fn everything_of_one_family_is_nothing_of_the_other() {
        let (old, new) = (networks(&["0.0.0.0/0"]), networks(&["::/0"]));
        for (address, is_old) in
            [("0.0.0.0", true), ("255.255.255.255", true), ("::ffff:1.2.3.4", true), ("::1", false)]
        {
            assert_eq!((old.contains(ip(address)), new.contains(ip(address))), (is_old, !is_old), "{address}");
        }
        assert_eq!(networks(&[]), Networks::default());
        assert!(!Networks::default().contains(ip("127.0.0.1")));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "10.0.0.0/",
            "fd00::/129",
            "/8",
            "a",
            "10.0.0.0/8/8",
            "::1%lo",
            "10.0.0.0/-1",
        ] {
            assert!(Networks::parse([text]).is_err(), "{text}");
        }
        assert!(Networks::parse(std::iter::repeat_n("10.0.0.1", MOST + 1)).is_err());
    }

    fn endpoint(kind: EndpointKind, address: &str, proxies: Option<&str>) -> EndpointSpec {
        let proxy_protocol = proxies.map(|from| vec![from.to_owned()]);
        EndpointSpec { kind, addresses: vec![address.to_owned()], tls: false, proxy_protocol }
    }

    #[test]
    fn a_rule_is_about_its_endpoints() {
        let rule = |from: &str, endpoints| InboundSpec { from: vec![from.to_owned()], endpoints };
        let rules = [rule("10.0.0.1", None), rule("10.0.0.2", Some(vec![EndpointKind::Reader]))];
        let endpoints =
            [endpoint(EndpointKind::Primary, "a:1", Some("10.9.0.0/16")), endpoint(EndpointKind::Primary, "a:2", None)];
        let inbound = Inbound::build(Some(&rules), &endpoints).unwrap();
        for (kind, address, expected) in [
            (EndpointKind::Primary, "10.0.0.1", true),
            (EndpointKind::Reader, "10.0.0.1", true),
            (EndpointKind::Primary, "10.0.0.2", false),
            (EndpointKind::Reader, "10.0.0.2", true),
            (EndpointKind::Reader, "10.0.0.3", false),
        ] {
            assert_eq!(inbound.admits(kind, Some(ip(address))), expected, "{kind:?} {address}");
        }
        assert!(inbound.admits(EndpointKind::Primary, None), "a unix socket");
        let balancers = inbound.balancers(EndpointKind::Primary, "a:1").unwrap();
        assert!(is_balancer(balancers, Some(ip("10.9.1.1"))) && is_balancer(balancers, None));
        assert!(!is_balancer(balancers, Some(ip("10.0.0.1"))));
        assert_eq!(inbound.balancers(EndpointKind::Primary, "a:2"), None);
        assert_eq!(inbound.balancers(EndpointKind::Reader, "a:1"), None);
        let (open, closed) = (Inbound::build(None, &[]).unwrap(), Inbound::build(Some(&[]), &[]).unwrap());
        assert!(open.admits(EndpointKind::Primary, Some(ip("10.0.0.1"))));
        assert!(!closed.admits(EndpointKind::Primary, Some(ip("10.0.0.1"))), "no rule admits nobody");
    }

    /// A network written as (address, prefix), near others so that they overlap, and addresses near them.
    fn near() -> impl Strategy<Value = (u8, u32)> {
        (0..20u8, 120..=128u32)
    }

    proptest! {
        #[test]
        fn an_address_is_in_the_set_if_it_is_in_a_network(given in prop::collection::vec(near(), 0..12), asked in any::<u8>()) {
            for v6 in [false, true] {
                let text = |&(low, prefix): &(u8, u32)| {
                    if v6 { format!("fd00::{low:x}/{prefix}") } else { format!("10.0.0.{low}/{}", prefix - 96) }
                };
                let texts: Vec<String> = given.iter().map(text).collect();
                let set = Networks::parse(texts.iter().map(String::as_str)).unwrap();
                let is_in = given.iter().any(|&(low, prefix)| {
                    let rest = u8::MAX.checked_shr(prefix - 120).unwrap_or(0);
                    asked & !rest == low & !rest
                });
                let address = if v6 { format!("fd00::{asked:x}") } else { format!("10.0.0.{asked}") };
                prop_assert_eq!(set.contains(ip(&address)), is_in, "{} in {:?}", address, texts);
            }
        }

        #[test]
        fn any_text_is_a_network_or_an_error(text in "[0-9a-f:./%]{0,20}") {
            let _ = Networks::parse([text.as_str()]);
        }
    }

    #[test]
    fn ipv6_bits_are_those_of_the_address() {
        assert_eq!(networks(&["::2/127"]).new[..], [(2, 3)]);
        assert_eq!(networks(&["::/127", "::2", "::4"]).new[..], [(0, 2), (4, 4)]);
        assert_eq!(Ipv6Addr::from_bits(2), "::2".parse::<Ipv6Addr>().unwrap());
    }
}
