//! SUBSCRIBE and its relatives, PUBLISH.

use super::{answer_error, liberties, send, unplaced, Next};
use crate::admit::Admitted;
use crate::clients::{Client, Flow, Stage, Words};
use crate::command::Act;
use crate::dialect::resp::Request;
use crate::dialect::texts;
use crate::hash::slot;
use crate::metrics::Class;
use crate::model::{Kind, NO_SHARD, NO_SLOT};
use crate::place::{pass, primary};
use crate::pubsub;
use crate::turn::Turn;

pub fn serve(turn: &mut Turn, client: &mut Client, admitted: &Admitted) -> Next {
    match admitted.command.act {
        Act::Subscribe => subscribe(turn, client, admitted, Kind::Channel),
        Act::PatternSubscribe => subscribe(turn, client, admitted, Kind::Pattern),
        Act::ShardSubscribe => subscribe(turn, client, admitted, Kind::Shard),
        Act::Unsubscribe => unsubscribe(turn, client, admitted.request, Kind::Channel),
        Act::PatternUnsubscribe => unsubscribe(turn, client, admitted.request, Kind::Pattern),
        Act::ShardUnsubscribe => unsubscribe(turn, client, admitted.request, Kind::Shard),
        _ => publish(turn, client, admitted),
    }
}

/// SPUBLISH goes to the shard of the channel's slot, PUBLISH where the cluster has its channels.
fn publish(turn: &mut Turn, client: &mut Client, &Admitted { command, request }: &Admitted) -> Next {
    let channel = request.argument(1);
    let slot = if command.act == Act::ShardPublish { slot(channel) } else { NO_SLOT };
    let shard = turn.cluster(client.cluster).map_or(NO_SHARD, |cluster| match slot {
        NO_SLOT => cluster.shard_of_channel(channel),
        slot => cluster.shard_of(slot),
    });
    if shard == NO_SHARD {
        return answer_error(turn, client, command, texts::CLUSTERDOWN);
    }
    if let Err(why) = pass(turn, client, (shard, slot), false) {
        return unplaced(turn, client, command, request.bytes.len(), why);
    }
    let link = match primary(turn, client.cluster, shard, client.speech()) {
        Ok(link) => link,
        Err(why) => return unplaced(turn, client, command, request.bytes.len(), why),
    };
    send(turn, client, command, request, link, |entry| {
        entry.class = Class::Publish;
        entry.is_read = false;
        entry.slot = slot;
    });
    Next::Go
}

fn subscribe(turn: &mut Turn, client: &mut Client, &Admitted { command, request }: &Admitted, kind: Kind) -> Next {
    if !client.replies.is_empty() {
        return Next::Hold;
    }
    if let Some(text) = why_refused(turn, client) {
        return answer_error(turn, client, command, &text);
    }
    let mut slots = request.arguments().skip(1).map(slot);
    let first = slots.next();
    if kind == Kind::Shard && slots.any(|slot| Some(slot) != first) {
        if !liberties::is_relaxed(turn, client) {
            return answer_error(turn, client, command, texts::CROSSSLOT);
        }
        liberties::take_whole(turn, client, command);
    }
    begin(turn, client, kind, Stage::Joining, request)
}

/// A subscriber hears all shards, or is told that it cannot.
fn why_refused(turn: &Turn, client: &Client) -> Option<Vec<u8>> {
    let served = turn.served(client.cluster)?;
    (0..served.cluster.shards.len() as u16).find_map(|shard| served.why_refused(shard))
}

fn unsubscribe(turn: &mut Turn, client: &mut Client, request: &Request, kind: Kind) -> Next {
    begin(turn, client, kind, if request.len() > 1 { Stage::Leaving } else { Stage::LeavingAll }, request)
}

fn begin(turn: &mut Turn, client: &mut Client, kind: Kind, stage: Stage, request: &Request) -> Next {
    if pubsub::begin(turn, client, kind, stage, Words::of(request.arguments().skip(1))) {
        return Next::Go;
    }
    client.flow = Flow::Barrier;
    Next::Wait
}
