//! What a client is told that may not do what it asks for: in the words of Redis, which since 7.2 are others.

use crate::access::Denied;
use crate::admit::Denial;
use crate::clients::Client;
use crate::command::{Act, Command};
use crate::dialect::resp::{write, Request};
use crate::dialect::texts;
use crate::shared::Access;
use crate::turn::Turn;

/// Tell of it; what the client is told.
#[cold]
pub fn denied(turn: &mut Turn, client: &Client, command: &Command, request: &Request, denial: Denial) -> Vec<u8> {
    let name = command.name.as_bytes();
    let (why, object) = match denial {
        Denial::Stranger => ("auth", name),
        Denial::Rules(Denied::Command) => ("command", name),
        Denial::Rules(Denied::Key(at)) => ("key", request.argument(at as usize)),
        Denial::Rules(Denied::Lookup(at)) => ("key", request.argument(at as usize + 1)),
        Denial::Rules(Denied::Channel(at)) => ("channel", request.argument(at as usize)),
    };
    turn.tell_access(client, Access::Denied, why, object);
    let text = text_of(turn, client, command, request, denial);
    if command.act != Act::Exec {
        return text;
    }
    let mut reply = Vec::new();
    write::error_of(&mut reply, &[b"EXECABORT Transaction discarded because of: ", text[1..].trim_ascii_end()]);
    reply
}

fn text_of(turn: &Turn, client: &Client, command: &Command, request: &Request, denial: Denial) -> Vec<u8> {
    let Denial::Rules(denied) = denial else { return texts::NOAUTH.to_vec() };
    let name = &command.name;
    if let Denied::Lookup(at) = denied {
        return no_lookup(request, at);
    }
    if turn.is_engine_since(client.cluster, (7, 2)) {
        return match denied {
            Denied::Command => {
                let user = client.login.name();
                format!("-NOPERM User {user} has no permissions to run the '{name}' command\r\n").into_bytes()
            }
            Denied::Key(_) => b"-NOPERM No permissions to access a key\r\n".to_vec(),
            _ => b"-NOPERM No permissions to access a channel\r\n".to_vec(),
        };
    }
    let what = match denied {
        Denied::Command => format!("run the '{name}' command"),
        Denied::Key(_) => "access one of the keys used as arguments".to_owned(),
        _ => "access one of the channels used as arguments".to_owned(),
    };
    format!("-NOPERM this user has no permissions to {what}\r\n").into_bytes()
}

/// What SORT itself answers.
fn no_lookup(request: &Request, at: u32) -> Vec<u8> {
    let option = String::from_utf8_lossy(request.argument(at as usize)).to_uppercase();
    format!("-ERR {option} option of SORT denied due to insufficient ACL permissions.\r\n").into_bytes()
}

/// What a command of a transaction is answered that was queued when its user still might.
pub fn denied_by_now(
    turn: &mut Turn,
    client: &Client,
    command: &Command,
    request: &Request,
    denied: Denied,
) -> Vec<u8> {
    let (why, object, reason) = match denied {
        Denied::Lookup(at) => {
            turn.tell_access(client, Access::Denied, "key", request.argument(at as usize + 1));
            return no_lookup(request, at);
        }
        Denied::Command => ("command", command.name.as_bytes(), "no permission to execute the command or subcommand"),
        Denied::Key(at) => ("key", request.argument(at as usize), "no permission to touch the specified keys"),
        Denied::Channel(at) => (
            "channel",
            request.argument(at as usize),
            "no permission to access one of the channels used as arguments to the command",
        ),
    };
    turn.tell_access(client, Access::Denied, why, object);
    format!(
        "-NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This command is no longer allowed for the following reason: {reason}\r\n"
    )
    .into_bytes()
}
