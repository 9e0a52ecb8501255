//! PING ECHO TIME SELECT READONLY READWRITE QUIT RESET.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Answer;
use crate::admit::Admitted;
use crate::clients::{Client, Flow, Stage, Words};
use crate::dialect::resp::Request;
use crate::dialect::{resp::request::decimal, resp::write, texts};
use crate::metrics::CloseReason;
use crate::model::Kind;
use crate::pubsub;
use crate::serve::{liberties, login, transaction, Next};
use crate::tracking;
use crate::turn::Turn;

pub fn ping(client: &Client, request: &Request) -> Answer {
    if client.is_subscriber() && request.len() <= 2 {
        let mut reply = Vec::new();
        write::array_header(&mut reply, 2);
        write::bulk(&mut reply, b"pong");
        write::bulk(&mut reply, request.argument(1));
        return Answer::of(reply);
    }
    match request.len() {
        1 => Answer::of(texts::PONG),
        2 => echo(request),
        _ => Answer::error("ERR wrong number of arguments for 'ping' command"),
    }
}

pub fn echo(request: &Request) -> Answer {
    let mut reply = Vec::new();
    write::bulk(&mut reply, request.argument(1));
    Answer::of(reply)
}

pub fn time() -> Answer {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut reply = Vec::new();
    write::array_header(&mut reply, 2);
    write::bulk(&mut reply, now.as_secs().to_string().as_bytes());
    write::bulk(&mut reply, now.subsec_micros().to_string().as_bytes());
    Answer::of(reply)
}

/// The reply, or none when the engine is to give it: a client that watches has to choose the database there as well.
pub fn select(turn: &Turn, client: &mut Client, &Admitted { command, request }: &Admitted) -> Option<Answer> {
    let Some(db) = decimal(request.argument(1)) else {
        return Some(Answer::error("ERR value is not an integer or out of range"));
    };
    let (databases, is_relaxed) =
        turn.served(client.cluster).map_or((1, true), |served| (served.databases, served.cluster.is_relaxed));
    match u32::try_from(db) {
        Ok(db) if db < databases => {
            if db != 0 {
                liberties::take_whole(turn, client, command);
            }
            client.db = db;
            client.lease.is_none().then(|| Answer::of(texts::OK))
        }
        Ok(_) if !is_relaxed => Some(Answer::error("ERR SELECT is not allowed in cluster mode")),
        _ => Some(Answer::error("ERR DB index is out of range")),
    }
}

pub fn quit(client: &mut Client) -> Answer {
    client.closing = Some(CloseReason::Quit);
    Answer { next: Next::Close, ..Answer::of(texts::OK) }
}

pub fn reset(turn: &mut Turn, client: &mut Client) -> Answer {
    transaction::end(turn, client);
    client.tap = None;
    tracking::end(turn, client);
    client.reset();
    login::log_out(turn, client);
    login::by_certificate(turn, client);
    if client.subscriptions.is_none() {
        return Answer::of(texts::RESET);
    }
    let is_done = pubsub::begin(turn, client, Kind::Channel, Stage::Forgetting(texts::RESET), Words::default());
    if !is_done {
        client.flow = Flow::Barrier;
    }
    Answer { reply: Vec::new(), next: if is_done { Next::Go } else { Next::Wait } }
}
