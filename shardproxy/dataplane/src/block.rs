//! Commands that may wait at the engine: each gets a connection of its own from a bounded pool, so that nobody else
//! waits behind it. When the client goes, that connection is closed, and the engine forgets the wait.

use crate::client::{Client, Flow};
use crate::command::{streams, Command, Keys};
use crate::metrics::Class;
use crate::protocol::texts;
use crate::request::Request;
use crate::route::{self, answer_error, Next};
use crate::topology::{EndpointKind, NO_SHARD};
use crate::worker::{Core, Lease};

pub fn serve(core: &mut Core, client: &mut Client, index: usize, command: &Command, request: &Request) -> Next {
    // XREAD and XREADGROUP wait only with BLOCK.
    if command.keys == Keys::Streams && !streams(request.arguments()).blocks {
        return route::to_shard(core, client, index, command, request);
    }
    if client.endpoint == EndpointKind::Reader && !command.is_read() {
        return answer_error(core, client, command, texts::READONLY);
    }
    if !client.replies.is_empty() {
        return Next::Hold;
    }
    let slot = match route::slot_of_keys(core, client, command, request) {
        Ok(slot) => slot.unwrap_or(0),
        Err(text) => return answer_error(core, client, command, &text),
    };
    core.need(client.cluster, command.is_read(), core.keys.iter().map(|&key| request.argument(key as usize)));
    let shard = core.clusters[client.cluster].as_ref().map_or(NO_SHARD, |s| s.cluster.shard_of(slot));
    if shard == NO_SHARD {
        return answer_error(core, client, command, texts::CLUSTERDOWN);
    }
    if client.lease.is_some_and(|leased| core.upstreams[leased as usize].shard != shard) {
        return answer_error(core, client, command, texts::BLOCK_WHILE_WATCHING);
    }
    let upstream = match core.lease(client, index, shard) {
        Lease::Held(upstream) => upstream,
        Lease::Wait => {
            client.flow = Flow::Queued;
            return Next::Queue;
        }
        Lease::Refused(text) => return answer_error(core, client, command, &text),
    };
    route::send(core, client, index, command, request, upstream, |pending| pending.class = Class::Block);
    client.flow = Flow::Barrier;
    Next::Wait
}
