//! Requests about keys with caching rules.
//!
//! ```text
//!   a read ─> engine ─┬─ a value ──> client
//!                     └─ nothing ──> control plane ─┬─ answer ──────────────────> client
//!   a rule's write ───────────────────────┘          └─ pass on ─> engine (primary) ─> client
//!   any other write ─> engine: its leases are deleted in the same breath
//! ```

use super::offload::{describe, size_of_offload};
use super::split;
use super::{answer_error, Next};
use crate::admit::{self, framed};
use crate::caching::{count_leased, digest_of_key, memcached, write_name, Order, Way as Goes};
use crate::clients::Client;
use crate::command::{key_positions, Command, CommandTable, Misses, Route};
use crate::complete::Missed;
use crate::dialect::resp::{arguments_of, Request};
use crate::dialect::texts;
use crate::exchange::{Asked, Body, Entry, Head, Loads, Mark};
use crate::links::{Way, NO_NODE};
use crate::model::{NO_SHARD, NO_SLOT};
use crate::shared::Offload;
use crate::turn::{Again, Effect, Offloaded, Ticket, Turn};

/// What the rules make of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ruled {
    Not,
    /// What is missing is loaded.
    Loads(Loads),
    /// So many of its keys may have leases, which go first.
    Cancels(usize),
    /// It is the control plane's, by this rule.
    Handed(u16),
    /// It writes what a rule brings to where it comes from, and the rule does not know how.
    Forbidden,
}

impl Ruled {
    /// What is remembered of a request until its reply comes.
    pub fn asked(self) -> Asked {
        match self {
            Self::Loads(loads) => Asked::Loads(loads),
            Self::Cancels(_) => Asked::After(1),
            Self::Not | Self::Handed(_) | Self::Forbidden => Asked::Reply,
        }
    }
}

/// What the rules make of a request; `slot`: of its key, if it has but one. None: it waits for its client's earlier ones.
/// Rules are about database 0.
#[inline]
pub fn rule(turn: &Turn, client: &mut Client, command: &Command, request: &Request, slot: u16) -> Option<Ruled> {
    let is_ruled = turn.cluster(client.cluster).is_some_and(|cluster| cluster.rules.is_some());
    if is_ruled && client.db == 0 {
        look(turn, client, command, request, slot)
    } else {
        Some(Ruled::Not)
    }
}

fn look(turn: &Turn, client: &mut Client, command: &Command, request: &Request, slot: u16) -> Option<Ruled> {
    let Some(cluster) = turn.cluster(client.cluster) else { return Some(Ruled::Not) };
    let Some(rules) = &cluster.rules else { return Some(Ruled::Not) };
    let positions: &[u32] = if command.is_single { &[1] } else { &turn.scratch.keys };
    let may_load = command.misses != Misses::Never && (command.misses != Misses::Zero || positions.len() == 1);
    let mut bits = 0;
    let mut found: Option<Loads> = None;
    let (mut leased, mut handed) = (0, None);
    for &position in positions {
        let key = request.argument(position as usize);
        let Some(rule) = rules.find(key) else { continue };
        bits |= Order::bit(if command.is_single { slot } else { cluster.slot_of(key) });
        leased += usize::from(rule.is_leased());
        if rule.writes && is_forbidden(command) {
            return Some(Ruled::Forbidden);
        }
        if rule.writes && command.is_rules_write {
            handed = handed.or(Some(rule.number));
        }
        if rule.loads && may_load {
            let is_due = rule.checks && !turn.ages.is_known(digest_of_key(client.cluster, key), turn.millis);
            let loads = found.get_or_insert(Loads { misses: command.misses, rule: rule.number, is_due, looks: 0 });
            loads.is_due |= is_due;
        }
    }
    let (meaning, goes) = match (found, handed) {
        _ if bits == 0 => return Some(Ruled::Not),
        (Some(loads), _) => (Ruled::Loads(loads), Goes::Read),
        (None, Some(rule)) => (Ruled::Handed(rule), Goes::Handed),
        (None, None) if command.is_read() || leased == 0 => (Ruled::Not, Goes::Read),
        (None, None) => (Ruled::Cancels(leased), Goes::Sent),
    };
    // who only looks keeps nobody waiting: what it is told is what the engine says
    goes_now(client, goes, bits, meaning != Ruled::Not).then_some(meaning)
}

/// Whether no rule that writes lets that be done to its keys: the cache would have what nobody else has.
pub fn is_forbidden(command: &Command) -> bool {
    command.may_write() && !command.is_rules_write && !command.keeps_values
}

/// What its client is told.
pub fn forbidden(command: &Command) -> Vec<u8> {
    let name = command.name.replace('|', " ").to_uppercase();
    admit::error(&format!(
        "ERR LOADER {name} cannot be done to a key that a caching rule writes to its source; nothing was written"
    ))
}

/// Whether a request about keys of these slots may go that way now; it does, and `counts` as under way.
pub fn goes_now(client: &mut Client, goes: Goes, bits: u128, counts: bool) -> bool {
    let order = client.order.get_or_insert_default();
    if client.replies.is_empty() {
        order.begin();
    } else if !order.may_go(goes, bits) {
        return false;
    }
    if counts {
        order.goes(goes, bits);
    }
    true
}

/// A command of a transaction is queued, whose keys are known: note whose leases go before MULTI, and whose order it keeps.
/// An error says why it is not: a transaction of the engine cannot be one of the source.
pub fn queue(turn: &Turn, client: &mut Client, command: &Command, request: &Request) -> Result<(), Vec<u8>> {
    let Some(cluster) = turn.cluster(client.cluster).filter(|_| client.db == 0) else { return Ok(()) };
    let (Some(rules), Some(transaction)) = (&cluster.rules, client.transaction.as_deref_mut()) else { return Ok(()) };
    let changes = command.may_write() && !command.keeps_values;
    for &position in &turn.scratch.keys {
        let key = request.argument(position as usize);
        let Some(rule) = rules.find(key) else { continue };
        if rule.writes && changes {
            return Err(forbidden_in_multi(command));
        }
        transaction.slots |= Order::bit(cluster.slot_of(key));
        if rule.is_leased() && !command.is_read() {
            write_name(&mut transaction.leases, cluster, key);
            transaction.cancels.push(rule.number);
        }
    }
    Ok(())
}

fn forbidden_in_multi(command: &Command) -> Vec<u8> {
    let name = command.name.replace('|', " ").to_uppercase();
    admit::error(&format!(
        "ERR LOADER {name} within MULTI cannot be done to a key that a caching rule writes to its source: send it by itself"
    ))
}

/// Whether a transaction may be executed now: none of its client's requests about its keys is overtaken.
pub fn may_execute(client: &mut Client) -> bool {
    let Some((slots, cancels)) = client.transaction.as_deref().map(|t| (t.slots, !t.cancels.is_empty())) else {
        return true;
    };
    let goes = if cancels { Goes::Sent } else { Goes::Read };
    slots == 0 || goes_now(client, goes, slots, cancels)
}

/// Put a write on a connection behind the deletion of its keys' leases, as one request: wherever it goes they go too.
pub fn send_behind(
    turn: &mut Turn,
    client: &mut Client,
    command: &Command,
    request: &Request,
    (link, count): (usize, usize),
    adjust: impl FnOnce(&mut Entry),
) {
    let silent = client.take_silence();
    let sequence = client.replies.expect(silent);
    let mut entry = Entry::of(client.owed(sequence), command, turn.micros);
    adjust(&mut entry);
    entry.asked = Asked::After(1);
    let Turn { clusters, links, scratch, .. } = turn;
    let Some(served) = &clusters[client.cluster] else { return };
    links[link].exchange.push_with(entry, |sink| {
        let positions: &[u32] = if command.is_single { &[1] } else { &scratch.keys };
        served.cancel(sink, count, positions.iter().map(|&position| request.argument(position as usize)));
        sink.extend_from_slice(request.bytes);
    });
    links.mark(link);
}

/// Hand a write over that was not sent. `place`: the shard and the slot of its keys, or none where they are on several.
pub fn hand_over(
    turn: &mut Turn,
    client: &mut Client,
    command: &Command,
    request: &Request,
    (shard, slot, mark): (u16, u16, Mark),
    rule: u16,
) -> Next {
    let way = Way {
        cluster: client.cluster,
        shard,
        node: NO_NODE,
        resp: client.resp,
        db: 0,
        lane: client.lane,
        slot: NO_SLOT,
    };
    let sequence = client.replies.next();
    let entry = Entry { mark, slot, ..Entry::of(client.owed(sequence), command, turn.micros) };
    let again = Again { entry, bytes: Body::Copied(request.bytes.to_vec()), way };
    if !submit(turn, client, again, rule) {
        return answer_error(turn, client, command, texts::BUSY_OFFLOADS);
    }
    let silent = client.take_silence();
    client.replies.expect(silent);
    Next::Go
}

/// Have what is missing loaded. What the engine said, if it cannot be: that stands.
pub fn load(turn: &mut Turn, client: &mut Client, way: Way, missed: Missed) -> Result<(), Vec<u8>> {
    let Missed { request: entry, bytes, rule, reply } = missed;
    let again = Again { entry, bytes, way: Way { node: NO_NODE, ..way } };
    if submit(turn, client, again, rule) {
        Ok(())
    } else {
        Err(reply)
    }
}

/// Whether the control plane takes it.
pub fn submit(turn: &mut Turn, client: &mut Client, again: Again, rule: u16) -> bool {
    let Some(served) = turn.served(client.cluster) else { return false };
    let words = match again.entry.kind() {
        Some(_) => memcached::arguments(&again.bytes),
        None => arguments_of(&again.bytes).map(<[u8]>::to_vec).collect(),
    };
    let looks = if let Asked::Loads(loads) = again.entry.asked { loads.looks } else { 0 };
    let offload = Offload { looks, ..describe(turn, &served.cluster.spec.name, client, Some(rule), words) };
    let (token, size) = (offload.token, size_of_offload(&offload));
    if !turn.offloaded.takes_ruled() || !turn.shared.events.offload(offload) {
        if let Some(metrics) = served.rules.get(usize::from(rule)) {
            metrics.unhanded.increment();
        }
        return false;
    }
    served.metrics.offloads.increment();
    let entry = &again.entry;
    if let Some(metrics) = served.rules.get(usize::from(rule)) {
        let is_load = matches!(entry.asked, Asked::Loads(_) | Asked::MemcachedLoads(..));
        if is_load { &metrics.misses } else { &metrics.writes }.increment();
    }
    let offloaded = Offloaded {
        owed: entry.owed,
        ticket: Ticket::new(token, turn.shared.clone(), size),
        raw: Vec::new(),
        told: Head::default(),
        command: entry.command,
        since: entry.since,
        waits: false,
        // what is loaded may be lost where its slot moves meanwhile: it is loaded again
        may_change: (!entry.is_read).then_some(client.cluster),
        effect: Effect::None,
        again: Some(Box::new(again)),
    };
    turn.offloaded.insert(token, offloaded);
    client.order.get_or_insert_default().tokens.push(token);
    true
}

/// What becomes of a command that is passed on.
pub enum Passed {
    /// It is on its way.
    Sent,
    /// It goes there.
    To(Way, Entry, Body),
    Refused(Entry, Vec<u8>),
}

/// A command goes to its engines as if no rule were about it, by the topology of now. A write takes its leases along. A read
/// of other keys than those that are `absent` comes back if they are missing after all: who writes a key through has it gone
/// for a moment.
pub fn pass_on(
    turn: &mut Turn,
    client: &mut Client,
    table: &CommandTable,
    again: Again,
    absent: Option<&[Vec<u8>]>,
) -> Passed {
    let Again { entry, bytes, way } = again;
    let whole = bytes.to_vec();
    let parser = framed(&whole);
    let request = &Request { bytes: &whole, spans: parser.spans() };
    let ruled = match (entry.asked, absent) {
        (Asked::Loads(loads), Some(absent)) => {
            let digests = absent.iter().map(|key| digest_of_key(0, key)).collect();
            let replies = &client.replies;
            client
                .order
                .get_or_insert_default()
                .lacks((entry.owed.sequence, entry.owed.part), digests, |sequence| !replies.owes(sequence));
            Ruled::Loads(Loads { looks: loads.looks.saturating_add(1), is_due: false, ..loads })
        }
        _ => Ruled::Not,
    };
    let entry = Entry { asked: ruled.asked(), since: turn.micros, is_retry: false, is_redirected: false, ..entry };
    let refused = |text: &[u8]| Passed::Refused(entry, text.to_vec());
    let Some(command) = table.find(request.argument(0)) else { return refused(texts::UNKNOWN_BY_NOW) };
    if key_positions(command, request.spans, request.bytes, &mut turn.scratch.keys).is_err() {
        return refused(texts::CLUSTERDOWN);
    }
    let Turn { clusters, scratch, .. } = turn;
    let Some(served) = &clusters[way.cluster] else { return refused(texts::CLUSTERDOWN) };
    let cluster = &served.cluster;
    let keys = || scratch.keys.iter().map(|&position| request.argument(position as usize));
    let mut shards = keys().map(|key| cluster.shard_of(cluster.slot_of(key)));
    let shard = shards.next().unwrap_or(NO_SHARD);
    if shards.any(|other| other != shard) {
        let Route::Split(kind) = command.route else { return refused(texts::CROSSSLOT) };
        if !entry.owed.is_whole() {
            return refused(&turn.refusal(way.cluster, way.shard, "its slots have moved"));
        }
        let Err(text) = split::pass_on(turn, client, kind, (command, request), (entry.owed.sequence, ruled)) else {
            return Passed::Sent;
        };
        return Passed::Refused(entry, text);
    }
    if shard == NO_SHARD {
        return refused(texts::CLUSTERDOWN);
    }
    let way = Way { shard, ..way };
    let count = if entry.is_read { 0 } else { count_leased(cluster, keys()) };
    if count == 0 {
        return Passed::To(way, entry, bytes);
    }
    let mut behind = Vec::with_capacity(bytes.len() + 128 * count);
    served.cancel(&mut behind, count, keys());
    behind.extend_from_slice(&bytes);
    Passed::To(way, Entry { asked: Asked::After(1), ..entry }, Body::Copied(behind))
}

/// The control plane has this command of the client's no more.
pub fn ended(client: &mut Client, token: u64) {
    if let Some(order) = client.order.as_deref_mut() {
        order.ended(token);
    }
}
