//! What a cluster of one shard does that several would refuse: done as one engine does it, and counted for an owner who
//! wants to grow. What one command needs is not counted within a transaction: that is refused as a whole.

use crate::clients::Client;
use crate::command::{Act, Command};
use crate::dialect::resp::Request;
use crate::metrics::shape;
use crate::turn::{Served, Turn};

/// Whether the client's cluster is as one engine. Asked for every request: a reload may add shards.
pub fn is_relaxed(turn: &Turn, client: &Client) -> bool {
    turn.cluster(client.cluster).is_some_and(|cluster| cluster.is_relaxed)
}

/// The command does what one shard can do only.
pub fn take(served: &Served, client: &mut Client, command: &Command, example: impl FnOnce() -> String) {
    let counted = match client.transaction.as_deref_mut() {
        Some(transaction) if transaction.is_open => {
            if std::mem::replace(&mut transaction.is_relaxed, true) {
                return;
            }
            transaction.command
        }
        Some(transaction) => {
            transaction.is_relaxed |= command.act == Act::Watch;
            command.id
        }
        None => command.id,
    };
    let is_within = counted != command.id;
    let example = || if is_within { format!("MULTI ... {}", example()) } else { example() };
    served.metrics.liberties.count(counted, example);
}

/// The same, of a command that is about no keys in particular.
#[cold]
pub fn take_whole(turn: &Turn, client: &mut Client, command: &Command) {
    if let Some(served) = turn.served(client.cluster) {
        take(served, client, command, || name_of(command));
    }
}

/// The command, and what its keys look like, of which these are in different slots.
pub fn example<'a>(command: &Command, request: &Request, keys: impl IntoIterator<Item = &'a u32>) -> String {
    let keys = keys.into_iter().map(|&key| shape(request.argument(key as usize)));
    std::iter::once(name_of(command)).chain(keys).collect::<Vec<_>>().join(" ")
}

fn name_of(command: &Command) -> String {
    command.name.replace('|', " ").to_uppercase()
}
