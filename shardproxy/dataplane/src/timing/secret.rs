//! Arguments that nobody is to see.

use crate::command::{Act, Command};
use crate::dialect::resp::Request;

/// Whether the argument is a user or a password.
pub fn is_secret(command: &Command, request: &Request, at: usize) -> bool {
    let is = |at: usize, word: &[u8]| request.argument(at).eq_ignore_ascii_case(word);
    let follows = |word: &[u8], first: usize, by: usize| at >= first + by && is(at - by, word);
    match command.act {
        Act::Auth => at > 0,
        Act::Hello => follows(b"AUTH", 2, 1) || follows(b"AUTH", 2, 2),
        Act::Migrate => follows(b"AUTH", 6, 1) || follows(b"AUTH2", 6, 1) || follows(b"AUTH2", 6, 2),
        _ => false,
    }
}

/// Whether its arguments may be rules with passwords, or settings that are such.
pub fn is_all_secret(command: &Command) -> bool {
    let container = command.name.split('|').next().unwrap_or_default();
    matches!(container, "acl" | "config" | "replicaof" | "failover")
}
