//! What goes on from turn to turn: each gets a slice at a time, and all of them together so many steps a turn.

use super::carriers::announce;
use super::errands::{forget_some, go_on, SLICE};
use super::receive::hand_out;
use crate::clients::{Clients, Stage};
use crate::turn::{Job, Topics, Turn};

/// Go on with everything, as far as this turn's steps reach.
pub fn work(turn: &mut Turn, clients: &mut Clients) {
    while turn.pubsub.left > 0 {
        let Some(job) = turn.pubsub.jobs.pop_front() else { return };
        if is_stalled(turn, clients, &job) {
            turn.pubsub.stalled.push(job);
            continue;
        }
        if let Some(job) = take_on(turn, clients, job) {
            turn.pubsub.jobs.push_back(job);
        }
    }
}

/// With more than this to be sent a connection is not told of more topics.
const UNSENT: usize = 256 * 1024;

fn is_choked(turn: &Turn, cluster: usize) -> bool {
    let carriers = turn.pubsub.topics(cluster).into_iter().flat_map(Topics::carriers);
    carriers.into_iter().any(|(_, link)| turn.links[link].exchange.unsent().len() > UNSENT)
}

/// Whether it tells connections of topics, and one of them has more to take than it may.
fn is_stalled(turn: &Turn, clients: &mut Clients, job: &Job) -> bool {
    match job {
        Job::Errand(ticket) => clients.tagged(*ticket).is_some_and(|client| {
            let errand = client.subscriptions.as_deref().and_then(|subscribed| subscribed.errand.as_deref());
            errand.is_some_and(|errand| matches!(errand.stage, Stage::Joining)) && is_choked(turn, client.cluster)
        }),
        Job::Announce { cluster, .. } => is_choked(turn, *cluster),
        Job::Gone(_) | Job::HandOut { .. } => false,
    }
}

/// Do some of it; what is left.
fn take_on(turn: &mut Turn, clients: &mut Clients, job: Job) -> Option<Job> {
    let is_done = match job {
        Job::Errand(ticket) => {
            if let Some(client) = clients.tagged(ticket) {
                go_on(turn, client); // it puts itself in line again
                clients.mark(ticket.0);
            }
            return None;
        }
        Job::Gone(mut gone) => {
            let is_done = forget_some(turn, &mut gone);
            return (!is_done).then_some(Job::Gone(gone));
        }
        Job::Announce { cluster, shard } => announce(turn, cluster, shard, SLICE),
        Job::HandOut { .. } => hand_out(turn, clients, &job, SLICE),
    };
    (!is_done).then_some(job)
}
