//! Every key is placed where the programs we replace place it. `vectors.json` is what they said themselves; generate.py
//! asks them again.

use serde::Deserialize;
use shardproxy_dataplane::hash::{Distribution, KeyHash, Method, Server};

#[derive(Deserialize)]
struct Vectors {
    /// Every character is a byte.
    keys: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    origin: String,
    method: String,
    hash: Option<String>,
    tag: Option<String>,
    nodes: Vec<Node>,
    /// Only the ASCII keys were asked for.
    ascii_only: bool,
    /// A digit per key: the index of its node.
    placed: String,
}

#[derive(Deserialize)]
struct Node {
    host: String,
    port: u16,
    weight: u32,
    name: Option<String>,
}

impl Case {
    fn distribution(&self) -> Distribution {
        let server = |node: &Node| Server {
            name: node.name.clone(),
            host: node.host.clone(),
            port: Some(node.port),
            weight: node.weight,
        };
        let servers: Vec<Server> = self.nodes.iter().map(server).collect();
        let hash = self.hash.as_deref().map(|name| KeyHash::named(name).unwrap());
        let tag = self.tag.as_ref().map(|tag| (tag.as_bytes()[0], tag.as_bytes()[1]));
        Distribution::new(Method::named(&self.method).unwrap(), hash, tag, &servers).unwrap()
    }
}

#[test]
fn keys_are_placed_where_others_place_them() {
    let vectors: Vectors = serde_json::from_str(include_str!("vectors.json")).unwrap();
    let mut wrong = Vec::new();
    for case in &vectors.cases {
        let distribution = case.distribution();
        let keys = vectors.keys.iter().filter(|key| !case.ascii_only || key.is_ascii());
        let mut compared = 0;
        let differ: Vec<&String> = keys
            .zip(case.placed.chars())
            .inspect(|_| compared += 1)
            .filter(|(key, digit)| {
                let bytes: Vec<u8> = key.chars().map(|byte| byte as u8).collect();
                distribution.server_of(&bytes) != digit.to_digit(36).map(|digit| digit as usize)
            })
            .map(|(key, _)| key)
            .collect();
        assert_eq!(compared, case.placed.len());
        assert!(compared > 1500, "{}", case.origin);
        if let Some(first) = differ.first() {
            let Case { origin, method, hash, tag, .. } = case;
            wrong.push(format!("{origin} {method} {hash:?} {tag:?}: {} of {compared}, first {first:?}", differ.len()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_key_goes_back_when_its_node_is_back() {
    let vectors: Vectors = serde_json::from_str(include_str!("vectors.json")).unwrap();
    for case in &vectors.cases {
        let distribution = case.distribution();
        let none = vec![false; case.nodes.len()];
        for key in &vectors.keys {
            let own = distribution.server_of(key.as_bytes()).unwrap();
            assert_eq!(distribution.server_of_but(key.as_bytes(), &none), Some(own));
            let mut out = none.clone();
            out[own] = true;
            assert!(distribution.server_of_but(key.as_bytes(), &out).is_some_and(|other| other != own));
        }
    }
}
