//! Leases lie beside their keys: whoever writes a key deletes its lease first, and a value that is being loaded is dropped.

use crate::dialect::resp::write;
use crate::hash::tag_of_slot;
use crate::model::{Cluster, Rule};

const PREFIX: &[u8] = b"shardproxy:lease:{";
const BEHIND_TAG: &[u8] = b"}:";

/// How many of these keys may have a lease.
#[inline]
pub fn count_leased<'k>(cluster: &Cluster, keys: impl Iterator<Item = &'k [u8]>) -> usize {
    let Some(rules) = &cluster.rules else { return 0 };
    keys.filter(|key| rules.find(key).is_some_and(Rule::is_leased)).count()
}

/// Append the deletion of the leases of those of these keys that may have one, `count` of them; `seen`: each one's rule.
pub fn cancel<'k>(
    sink: &mut Vec<u8>,
    cluster: &Cluster,
    count: usize,
    keys: impl Iterator<Item = &'k [u8]>,
    mut seen: impl FnMut(u16),
) {
    let Some(rules) = &cluster.rules else { return };
    write::array_header(sink, 1 + count);
    write::bulk(sink, b"DEL");
    for key in keys {
        if let Some(rule) = rules.find(key).filter(|rule| rule.is_leased()) {
            seen(rule.number);
            write_name(sink, cluster, key);
        }
    }
}

/// Append what the key's lease is called, as an argument.
pub fn write_name(sink: &mut Vec<u8>, cluster: &Cluster, key: &[u8]) {
    let tag = tag_of_slot(cluster.slot_of(key));
    write::array_item(sink, &[PREFIX, tag, BEHIND_TAG, key]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash;

    #[test]
    fn leases_of_keys_with_rules_are_deleted_and_no_others() {
        let json = br#"{"name":"c","engine":"redis","epoch":1,"caching":{"rules":[
            {"match":"a*","loads":true,"writes":false,"checks":false},
            {"match":"b*","loads":false,"writes":false,"checks":false}]},
            "shards":[{"slots":[[0,16383]],"primary":null,"nodes":[]}]}"#;
        let cluster = Cluster::parse(json).unwrap();
        let keys: [&[u8]; 4] = [b"a{x}1", b"b", b"c", b"a2"];
        assert_eq!(count_leased(&cluster, keys.into_iter()), 2);
        let mut sink = Vec::new();
        let mut seen = Vec::new();
        cancel(&mut sink, &cluster, 2, keys.into_iter(), |rule| seen.push(rule));
        assert_eq!(seen, [0, 0]);
        let tag = |key: &[u8]| String::from_utf8(tag_of_slot(hash::slot(key)).to_vec()).unwrap();
        let (one, other) = (tag(b"x"), tag(b"a2"));
        let expected = format!(
            "*3\r\n$3\r\nDEL\r\n$29\r\nshardproxy:lease:{{{one}}}:a{{x}}1\r\n$26\r\nshardproxy:lease:{{{other}}}:a2\r\n"
        );
        assert_eq!(String::from_utf8(sink).unwrap(), expected);
    }
}
