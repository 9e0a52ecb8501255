//! The census against a list of who is subscribed to what.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const CHANNELS: [&str; 3] = ["news", "n*", "old"];
/// (cluster, kind, name, worker, clients); none: that worker starts anew.
type Change = (usize, usize, usize, usize, Option<usize>);

fn change() -> impl Strategy<Value = Change> {
    let clients = prop_oneof![8 => (0..4usize).prop_map(Some), 1 => Just(None)];
    (0..2usize, 0..KINDS.len(), 0..CHANNELS.len(), 0..3usize, clients)
}

proptest! {
    #[test]
    fn a_message_is_counted_once_per_client(changes in vec(change(), 0..40), channel in 0..CHANNELS.len()) {
        let (census, mut model) = (Census::default(), BTreeMap::new());
        for (cluster, kind, name, worker, clients) in changes {
            match clients {
                Some(clients) => {
                    census.set(cluster, KINDS[kind], &CHANNELS[name].as_bytes().into(), worker, clients);
                    model.insert((cluster, kind, name, worker), clients);
                }
                None => {
                    census.forget_worker(worker);
                    model.retain(|&(.., owner), _| owner != worker);
                }
            }
        }
        model.retain(|_, clients| *clients > 0);
        for cluster in 0..2 {
            let of_kind = |kind| census.list(cluster, kind).into_iter().map(move |(name, n)| (kind, name.to_vec(), n));
            let mut listed: Vec<(Kind, Vec<u8>, usize)> = KINDS.into_iter().flat_map(of_kind).collect();
            listed.sort();
            let mut expected: BTreeMap<(Kind, Vec<u8>), usize> = BTreeMap::new();
            for (&(_, kind, name, _), &clients) in model.iter().filter(|(key, _)| key.0 == cluster) {
                *expected.entry((KINDS[kind], CHANNELS[name].into())).or_default() += clients;
            }
            let expected: Vec<_> = expected.into_iter().map(|((kind, name), clients)| (kind, name, clients)).collect();
            prop_assert_eq!(listed, expected);
            // the engine delivers once per worker and topic, and to one subscriber that is none of ours
            let hears = |kind: usize, name: usize| match KINDS[kind] {
                Kind::Channel => name == channel,
                Kind::Pattern => CHANNELS[name] == CHANNELS[channel] || name == 1 && CHANNELS[channel].starts_with('n'),
                Kind::Shard => false,
            };
            let heard = model.iter().filter(|(&(c, kind, name, _), _)| c == cluster && hears(kind, name));
            let (workers, clients) = heard.fold((0, 0), |(w, c), (_, &clients)| (w + 1, c + clients as i64));
            let name = CHANNELS[channel].as_bytes();
            prop_assert_eq!(census.receivers(cluster, Kind::Channel, name, workers + 1).0, clients + 1);
        }
    }
}
