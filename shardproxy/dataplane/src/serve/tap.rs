//! Requests as clients that monitor hear them: what is executed, when it is, and nothing that is secret.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{dispatch, Next};
use crate::admit::{each_queued, Admitted};
use crate::clients::{Client, Flow};
use crate::command::{Act, CommandTable, Route};
use crate::dialect::resp::monitor;
use crate::timing::is_secret;
use crate::turn::Turn;

/// MONITOR. Who monitors already hears nothing of it, as from an engine.
pub fn begin(turn: &mut Turn, client: &mut Client) -> bool {
    if client.tap.is_some() {
        return false;
    }
    let limit = turn.cluster(client.cluster).map_or(0, |cluster| cluster.spec.limits.client_output);
    let tapping = turn.shared.taps.add(client.cluster, turn.number, client.ticket(), limit);
    client.tap = Some(Box::new(tapping));
    client.see_whether_judged();
    true
}

/// Serve a request of a cluster that somebody monitors.
#[cold]
pub fn serve(turn: &mut Turn, client: &mut Client, table: &CommandTable, admitted: &Admitted) -> Next {
    let &Admitted { command, request } = admitted;
    // one that waited for a connection, or comes back from an engine unexecuted, was shown when it came
    let is_new = client.waiting.is_none();
    let queued = if command.act == Act::Exec { queued(client) } else { Vec::new() };
    turn.is_refused = false;
    let next = dispatch(turn, client, admitted);
    // who is held is served when there is room, and shown then
    let is_taken = !matches!(next, Next::Hold | Next::Pause) && client.flow != Flow::Held;
    let is_done = !turn.is_refused || matches!(command.route, Route::Local | Route::Transaction);
    if !(is_new && is_taken && is_done && command.is_monitored) {
        return next;
    }
    let place = (client.db, &*address(client));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Turn { tapping, shared, is_refused, .. } = turn;
    if !*is_refused {
        tapping.add(&shared.taps, client.cluster, |lines| write_queued(lines, now, place, table, &queued));
    }
    tapping.add(&shared.taps, client.cluster, |lines| {
        monitor::write_line(lines, now, place, request, |at| is_secret(command, request, at));
    });
    next
}

/// What EXEC is about to do; nothing if it cannot.
fn queued(client: &Client) -> Vec<u8> {
    let can = client.transaction.as_deref().filter(|t| t.is_open && !t.is_broken && !t.watch_lost);
    can.map_or_else(Vec::new, |transaction| transaction.queued.clone())
}

fn write_queued(lines: &mut Vec<u8>, now: Duration, place: (u32, &str), table: &CommandTable, queued: &[u8]) {
    each_queued(table, queued, |command, request| {
        if let Some(command) = command.filter(|command| command.act != Act::Multi && command.is_monitored) {
            monitor::write_line(lines, now, place, request, |at| is_secret(command, request, at));
        }
    });
}

/// As MONITOR writes it.
fn address(client: &Client) -> String {
    if client.is_unix() {
        client.stream.local()
    } else {
        client.address()
    }
}
