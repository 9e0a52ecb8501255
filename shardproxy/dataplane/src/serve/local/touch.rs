//! CLIENT NO-TOUCH, as the engines' version has it.

use super::Answer;
use crate::admit::unknown_subcommand;
use crate::clients::Client;
use crate::command::Command;
use crate::dialect::resp::Request;
use crate::dialect::texts;
use crate::serve::refusal;
use crate::turn::Turn;

/// Since Redis 7.2. A node could not tell whose reads are to leave no trace.
pub fn no_touch(turn: &Turn, client: &Client, command: &Command, request: &Request) -> Answer {
    let wanted = request.argument(2);
    if !turn.is_engine_since(client.cluster, (7, 2)) {
        Answer::error(&unknown_subcommand("client", request.argument(1)))
    } else if wanted.eq_ignore_ascii_case(b"OFF") {
        Answer::of(texts::OK)
    } else if wanted.eq_ignore_ascii_case(b"ON") {
        Answer::error(&refusal(command))
    } else {
        Answer::error("ERR syntax error")
    }
}
