//! A transaction's commands were judged when they were queued. Where the rights are others when it is executed, or it says
//! anew who its client is, they are judged once more: what is not allowed any more is answered by an error among EXEC's
//! replies, as by Redis, and the engine has a PING in its place.

use std::mem;

use super::{access, login};
use crate::access::User;
use crate::admit::{each_queued, framed, most_specific};
use crate::clients::{Client, Foretold, Own};
use crate::command::{Act, Command, Flags};
use crate::dialect::resp::Request;
use crate::dialect::texts;
use crate::shared::Rights;
use crate::turn::Turn;

#[inline]
pub fn judge_again(turn: &mut Turn, client: &mut Client) {
    let Some(transaction) = client.transaction.as_deref() else { return };
    if transaction.is_judged_again || transaction.rights != client.login.rights {
        again(turn, client);
    }
}

#[cold]
fn again(turn: &mut Turn, client: &mut Client) {
    let Some(rights) = turn.served(client.cluster).map(|served| served.rights.clone()) else { return };
    let Some(transaction) = &mut client.transaction else { return };
    let (queued, own) = (mem::take(&mut transaction.queued), mem::take(&mut transaction.own));
    let mut own = own.into_iter().peekable();
    let mut user = client.login.user.clone();
    let (mut judged, mut answered) = (Vec::with_capacity(queued.len()), Vec::new());
    let mut number = 0;
    each_queued(rights.table(), &queued, |command, request| {
        let at = number;
        number += 1;
        if at == 0 {
            judged.extend_from_slice(request.bytes); // MULTI
            return;
        }
        if let Some(mut known) = own.next_if(|known| known.at + 1 == at) {
            let foretold = judge_own(turn, client, &rights, user.as_deref(), &known);
            if let Some(login) = foretold.as_ref().and_then(|foretold| foretold.login.as_ref()) {
                user.clone_from(&login.user);
            }
            known.foretold = foretold;
            judged.extend_from_slice(request.bytes);
            answered.push(known);
            return;
        }
        match why_not(turn, client, user.as_deref(), command, request) {
            None => judged.extend_from_slice(request.bytes),
            Some(answer) => {
                let foretold = Some(Foretold { answer, login: None });
                answered.push(Own { at: at - 1, act: Act::None, request: Vec::new(), foretold });
                judged.extend_from_slice(texts::PING_REQUEST);
            }
        }
    });
    if let Some(transaction) = &mut client.transaction {
        (transaction.queued, transaction.own) = (judged, answered);
    }
}

/// What one that the client's connection answers is answered, if that is known.
fn judge_own(turn: &mut Turn, client: &Client, rights: &Rights, user: Option<&User>, own: &Own) -> Option<Foretold> {
    let parser = framed(&own.request);
    let request = Request { bytes: &own.request, spans: parser.spans() };
    let command = rights.table().find(request.argument(0)).and_then(|command| most_specific(command, &request).ok());
    if let Some(answer) = why_not(turn, client, user, command, &request) {
        return Some(Foretold { answer, login: None });
    }
    (own.act == Act::Auth).then(|| login::foretell(turn, client, &request))
}

/// Why the command is not executed, if it is not.
fn why_not(
    turn: &mut Turn,
    client: &Client,
    user: Option<&User>,
    command: Option<&Command>,
    request: &Request,
) -> Option<Vec<u8>> {
    let Some(user) = user else { return Some(texts::NOAUTH.to_vec()) };
    let command = command.filter(|command| !command.flags.contains(Flags::NO_AUTH))?;
    let denied = user.check(command, request).err()?;
    Some(access::denied_by_now(turn, client, command, request, denied))
}
