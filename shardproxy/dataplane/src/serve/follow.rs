//! Who may do what has changed: what becomes of the clients that are there.

use std::sync::Arc;

use crate::access::User;
use crate::clients::{Client, Heard, Login};
use crate::metrics::CloseReason;
use crate::model::Kind;
use crate::shared::Access;
use crate::turn::Turn;

/// Make the client the user it is by the rights of now. Whether it may stay: not if its user is no more, or is disabled,
/// nor if it was served without having said who it is, and has to by now.
pub fn follow(turn: &mut Turn, client: &mut Client) -> bool {
    let Some(served) = turn.served(client.cluster) else { return true };
    let rights = &served.rights;
    if client.login.rights == rights.number {
        return true;
    }
    let login = &client.login;
    let now = if login.is_said {
        rights.find(login.name().as_bytes()).filter(|user| user.is_enabled)
    } else {
        rights.anybody()
    };
    if login.user.is_some() && now.is_none() {
        let why = if login.is_said { "the user is gone or disabled" } else { "the default user needs a password" };
        turn.tell_access(client, Access::RulesChanged, why, b"");
        client.closing = Some(CloseReason::Rules);
        return false;
    }
    let login = Login { user: now.cloned(), rights: rights.number, ..login.clone() };
    client.log_in(login);
    true
}

const KINDS: [Kind; 3] = [Kind::Channel, Kind::Pattern, Kind::Shard];

/// Where what its user may do has changed, look at no more of what the client is subscribed to than `most`, and at what it is
/// about to be. How many that were, and whether that is all. A client that hears what it may not is to be closed, as by an
/// engine.
pub fn listen(turn: &mut Turn, client: &mut Client, most: usize) -> (usize, bool) {
    let doubted = client.subscriptions.as_mut().and_then(|subscriptions| subscriptions.doubted.take());
    let Some(heard) = doubted else { return (0, true) };
    let (looked, rest) = look(turn, client, heard, most);
    if let Some(subscriptions) = &mut client.subscriptions {
        subscriptions.doubted = rest;
    }
    (looked, rest.is_none())
}

/// How many were looked at, and where to go on if there are more.
fn look(turn: &mut Turn, client: &mut Client, heard: Heard, most: usize) -> (usize, Option<Heard>) {
    let Some(user) = client.login.user.clone().filter(|user| !user.is_unrestricted()) else { return (0, None) };
    let Some(subscriptions) = client.subscriptions.as_deref() else { return (0, None) };
    let Some(topics) = turn.pubsub.topics(client.cluster) else { return (0, None) };
    let mut looked = 0;
    for (kind, subscribed) in subscriptions.topics.iter().enumerate().skip(heard.kind) {
        let next = if kind == heard.kind { heard.next } else { 0 };
        for &id in subscribed.range(next..) {
            if looked >= most {
                return (looked, Some(Heard { kind, next: id }));
            }
            looked += 1;
            let name = topics.get(id).map(|entry| entry.name.clone());
            if let Some(name) = name.filter(|name| !user.may_hear(KINDS[kind], name)) {
                silence(turn, client, &name);
                return (looked, None);
            }
        }
    }
    let about_to = about_to_hear(turn, client, &user);
    if let Some(name) = about_to {
        silence(turn, client, &name);
    }
    (looked, None)
}

/// What a SUBSCRIBE under way names that the user may not hear.
fn about_to_hear(turn: &Turn, client: &Client, user: &User) -> Option<Arc<[u8]>> {
    let errand = client.subscriptions.as_deref()?.errand.as_deref()?;
    let topics = turn.pubsub.topics(client.cluster)?;
    let kind = errand.kind;
    let reserved = errand.topics.iter().filter_map(|&id| Some(topics.get(id)?.name.clone()));
    let mut names = reserved.chain(errand.joining().map(Arc::from));
    names.find(|name| !user.may_hear(kind, name))
}

fn silence(turn: &mut Turn, client: &mut Client, name: &[u8]) {
    turn.tell_access(client, Access::RulesChanged, "a subscription is not allowed any more", name);
    client.closing = Some(CloseReason::Rules);
}
