//! The census against a list of who is subscribed to what.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const CHANNELS: [&str; 3] = ["news", "n*", "old"];
/// (cluster, kind, name, worker, clients, if they are known).
type Change = (usize, usize, usize, usize, What);

#[derive(Clone, Copy, Debug)]
enum What {
    Clients(usize),
    /// The engine has forgotten the worker.
    Left,
    /// The worker starts anew.
    Anew,
}

fn change() -> impl Strategy<Value = Change> {
    let clients = prop_oneof![8 => (0..4usize).prop_map(What::Clients), 3 => Just(What::Left), 1 => Just(What::Anew)];
    (0..2usize, 0..KINDS.len(), 0..CHANNELS.len(), 0..3usize, clients)
}

proptest! {
    #[test]
    fn a_message_is_counted_once_per_client(changes in vec(change(), 0..40), channel in 0..CHANNELS.len()) {
        let (census, mut model) = (Census::default(), BTreeMap::new());
        for (cluster, kind, name, worker, what) in changes {
            match what {
                What::Clients(clients) => {
                    census.set(cluster, KINDS[kind], &CHANNELS[name].as_bytes().into(), worker, clients);
                    model.insert((cluster, kind, name, worker), clients);
                }
                What::Left => {
                    census.forget(cluster, KINDS[kind], &CHANNELS[name].as_bytes().into(), worker);
                    model.remove(&(cluster, kind, name, worker));
                }
                What::Anew => {
                    census.forget_worker(worker);
                    model.retain(|&(.., owner), _| owner != worker);
                }
            }
        }
        for cluster in 0..2 {
            let of_kind = |kind| census.list(cluster, kind).into_iter().map(move |(name, n)| (kind, name.to_vec(), n));
            let mut listed: Vec<(Kind, Vec<u8>, usize)> = KINDS.into_iter().flat_map(of_kind).collect();
            listed.sort();
            let mut expected: BTreeMap<(Kind, Vec<u8>), usize> = BTreeMap::new();
            let present = |(key, clients): &(&(usize, usize, usize, usize), &usize)| key.0 == cluster && **clients > 0;
            for (&(_, kind, name, _), &clients) in model.iter().filter(present) {
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
            let name = CHANNELS[channel].as_bytes();
            let count = |(workers, left, clients), (_, &more): (_, &usize)| {
                (workers + i64::from(more > 0), left + i64::from(more == 0), clients + more as i64)
            };
            let (workers, left, clients) = heard.fold((0, 0, 0), count);
            // of workers whose clients have left it may still count some
            for late in 0..=left {
                let receivers = census.receivers(cluster, Kind::Channel, name, workers + late + 1).0;
                let strangers = i64::from(late == left);
                prop_assert_eq!(receivers, clients + strangers);
            }
        }
    }
}
