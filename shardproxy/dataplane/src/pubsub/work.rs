//! What goes on from turn to turn: each gets a slice at a time, and all of them together so many steps a turn.

use super::carriers::announce;
use super::errands::{forget_some, go_on, SLICE};
use super::receive::hand_out;
use crate::clients::Clients;
use crate::turn::{Job, Turn};

/// Go on with everything, as far as this turn's steps reach.
pub fn work(turn: &mut Turn, clients: &mut Clients) {
    while turn.pubsub.left > 0 {
        let Some(job) = turn.pubsub.jobs.pop_front() else { return };
        if let Some(job) = take_on(turn, clients, job) {
            turn.pubsub.jobs.push_back(job);
        }
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
        Job::HandOut { link, cluster, topic, ref message } => {
            hand_out(turn, clients, link, (cluster, topic), message, SLICE)
        }
    };
    (!is_done).then_some(job)
}
