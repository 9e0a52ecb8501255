//! Commands the data plane answers itself: they concern the connection, not the keys.

mod client;
mod connection;
mod hello;

use crate::client::{Client, Flow};
use crate::command::Command;
use crate::request::Request;
use crate::route::{self, answer_own, Next};
use crate::worker::Core;

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
        let mut reply = Vec::new();
        crate::protocol::resp::write::error(&mut reply, text);
        Self::of(reply)
    }
}

/// SELECT on the connection on which the client watches: its EXEC belongs to that database.
fn select_leased(core: &mut Core, client: &mut Client, index: usize, command: &Command, request: &Request) -> Next {
    let Some(leased) = client.lease.map(|leased| leased as usize) else { return Next::Go };
    core.upstreams[leased].is_altered = true;
    route::send(core, client, index, command, request, leased, |_| {});
    client.flow = Flow::Barrier;
    Next::Wait
}

pub fn local(core: &mut Core, client: &mut Client, index: usize, command: &Command, request: &Request) -> Next {
    // these change the connection to nodes: what was sent on the one before must be executed first
    if matches!(&*command.name, "hello" | "select" | "reset") && !client.replies.is_empty() {
        return Next::Hold;
    }
    let answer = match &*command.name {
        "ping" => connection::ping(client, request),
        "echo" => connection::echo(request),
        "time" => connection::time(),
        "select" => match connection::select(core, client, request) {
            Some(answer) => answer,
            None => return select_leased(core, client, index, command, request),
        },
        "readonly" => connection::prefer_replicas(client, true),
        "readwrite" => connection::prefer_replicas(client, false),
        "asking" => Answer::of(crate::protocol::texts::OK),
        "quit" => connection::quit(client),
        "reset" => connection::reset(core, client, index),
        "hello" => hello::hello(core, client, request),
        "auth" => hello::auth(request),
        name => match name.strip_prefix("client|") {
            Some(subcommand) => client::answer(client, subcommand, request),
            None => Answer::error(&format!("ERR {name} is not supported yet")),
        },
    };
    if let Some(served) = &core.clusters[client.cluster] {
        served.metrics.command(command.id, answer.reply.first() == Some(&b'-'));
    }
    if !answer.reply.is_empty() {
        answer_own(core, client, &answer.reply);
    }
    answer.next
}
