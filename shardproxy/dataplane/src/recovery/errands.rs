//! What replies left to do.

use super::lost::in_doubt;
use super::redirect::tell;
use super::{parking, waiting};
use crate::clients::Clients;
use crate::command::CommandTable;
use crate::complete::{fail, mark_written, Errands};
use crate::dialect::resp::redirect::Redirect;
use crate::links::Way;
use crate::place::is_primary;
use crate::turn::Turn;

/// See to it, but for what the control plane must heal: that is left.
pub fn run(turn: &mut Turn, clients: &mut Clients, table: &CommandTable, index: usize, errands: &mut Errands) {
    let way = turn.links[index].way;
    let cluster = way.cluster;
    let is_deposed = turn.links[index].is_deposed();
    let said = errands.said.take();
    let redirect = said.as_deref().and_then(Redirect::of);
    if let Some(redirect) = redirect.filter(|redirect| !redirect.is_ask) {
        let address = redirect.address_by(turn.node_label(cluster, way.node));
        tell(turn, &Way { slot: redirect.slot, ..way }, &address);
    }
    if let Some(said) = said.as_ref().filter(|_| redirect.is_none() && is_primary(turn, &way)) {
        let now = turn.now;
        if let Some(reign) = turn.reign(&way) {
            reign.note_refusal(said.clone(), now);
        }
    }
    if errands.asks_again {
        turn.links.mark(index);
    }
    for written in errands.written.drain(..) {
        mark_written(turn, table, cluster, &written);
    }
    if !errands.overtakers.is_empty() {
        parking::drop_overtaken(turn, clients, index, &errands.overtakers, &mut errands.refused);
        errands.overtakers.clear();
    }
    if !errands.refused.is_empty() {
        parking::park_refused(turn, clients, index, std::mem::take(&mut errands.refused));
    }
    for unsettled in errands.unexecuted.drain(..) {
        waiting::waits_elsewhere(turn, clients, index, &unsettled);
    }
    for (shard, request) in errands.doubtful.drain(..) {
        let shard = turn.label(cluster, shard);
        let text =
            if is_deposed { in_doubt(&shard, false, "the primary is being replaced") } else { sent_on_twice(&shard) };
        fail(turn, clients, cluster, &request, &text);
    }
}

fn sent_on_twice(shard: &str) -> Vec<u8> {
    let why = "a script says more than once that its slot is elsewhere, command may have been executed";
    format!("-ERR INDOUBT shard {shard}: {why}\r\n").into_bytes()
}
