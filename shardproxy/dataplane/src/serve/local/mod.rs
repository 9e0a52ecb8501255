//! Commands the data plane answers itself: they concern the connection, not the keys.

mod connection;
mod hello;
mod touch;

pub use hello::greet;

use super::login::{self, Said};
use super::{send, tap, tracking, Next};
use crate::admit::Admitted;
use crate::clients::{answer_own, Client, Flow};
use crate::command::Act;
use crate::dialect::texts;
use crate::exchange::Entry;
use crate::turn::Turn;

/// What a local command says and whether the connection goes on.
pub(crate) struct Answer {
    pub reply: Vec<u8>,
    pub next: Next,
}

impl Answer {
    fn of(reply: impl Into<Vec<u8>>) -> Self {
        Self { reply: reply.into(), next: Next::Go }
    }

    fn error(text: &str) -> Self {
        Self::of(crate::admit::error(text))
    }
}

/// SELECT on the connection on which the client watches: its EXEC belongs to that database.
fn select_leased(turn: &mut Turn, client: &mut Client, &Admitted { command, request }: &Admitted) -> Next {
    let Some(link) = client.lease.map(|leased| leased as usize) else { return Next::Go };
    if let Some(leased) = turn.links[link].leased_mut() {
        leased.is_altered = true;
    }
    send(turn, client, command, request, link, |_: &mut Entry| {});
    client.flow = Flow::Barrier;
    Next::Wait
}

pub fn serve(turn: &mut Turn, client: &mut Client, admitted: &Admitted) -> Next {
    let &Admitted { command, request } = admitted;
    // these change the connection to nodes: what was sent on the one before must be executed first; and nobody is to hear
    // what others do before the answer that says so
    if matches!(command.act, Act::Hello | Act::Select | Act::Reset | Act::Monitor) && !client.replies.is_empty() {
        return Next::Hold;
    }
    let answer = match command.act {
        Act::ClientTracking => return tracking::serve(turn, client, command, request),
        Act::Ping => connection::ping(client, request),
        Act::Echo => connection::echo(request),
        Act::Time => connection::time(),
        Act::Select => match connection::select(turn, client, admitted) {
            Some(answer) => answer,
            None => return select_leased(turn, client, admitted),
        },
        Act::Quit => connection::quit(client),
        Act::Reset => connection::reset(turn, client),
        Act::Hello | Act::Auth => {
            let said = if command.act == Act::Auth {
                login::auth(turn, client, command, request)
            } else {
                hello::hello(turn, client, command, request)
            };
            match said {
                Said::Answer(reply) => Answer::of(reply),
                Said::Later(next) => return next,
            }
        }
        Act::ClientNoTouch => touch::no_touch(turn, client, command, request),
        Act::Monitor if tap::begin(turn, client) => Answer::of(texts::OK),
        Act::Monitor => Answer::of(Vec::new()),
        act => Answer::of(answer_own(client, act, request)),
    };
    if let Some(served) = turn.served(client.cluster) {
        served.metrics.command(command.id, answer.reply.first() == Some(&b'-'));
    }
    if !answer.reply.is_empty() {
        client.answer(&mut turn.pool, &answer.reply);
    }
    answer.next
}
