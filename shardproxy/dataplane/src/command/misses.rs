//! What commands mean to caching rules: which of their replies say that there is nothing, and which are a rule's writes.

/// By what an engine says that a key is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Misses {
    /// The command asks for no values.
    #[default]
    Never,
    /// A null, or nothing in an array, a map or a set.
    Nothing,
    /// 0.
    Zero,
    /// An empty string.
    NoText,
    /// An array of nothing but nulls or zeros.
    All,
    /// An array with a null: each is of another key.
    Any,
}

/// EXISTS is one of them, for one key: whoever asks whether there is something wants to know it of what is behind the cache.
/// TTL, TYPE and OBJECT ask about the cache itself, and SCAN and its relatives walk over what is there.
pub(super) fn misses_of(name: &str) -> Misses {
    match name {
        "get" | "getex" | "hget" | "hgetall" | "hkeys" | "hvals" | "hrandfield" | "lindex" | "lpos" | "lrange"
        | "smembers" | "srandmember" | "zrandmember" | "zrange" | "zrangebylex" | "zrangebyscore" | "zrank"
        | "zrevrange" | "zrevrangebylex" | "zrevrangebyscore" | "zrevrank" | "zscore" => Misses::Nothing,
        "bitcount" | "exists" | "getbit" | "hexists" | "hlen" | "hstrlen" | "llen" | "scard" | "sismember"
        | "strlen" | "zcard" | "zcount" | "zlexcount" => Misses::Zero,
        "getrange" | "substr" => Misses::NoText,
        "hmget" | "smismember" | "zmscore" => Misses::All,
        "mget" => Misses::Any,
        _ => Misses::Never,
    }
}

/// Whether it writes and leaves values as they are: how long a key lives is the cache's business alone.
pub(super) fn keeps_values(name: &str) -> bool {
    matches!(name, "expire" | "pexpire" | "expireat" | "pexpireat" | "persist" | "getex")
}

/// Whether a rule that writes is about such commands: those whose outcome is one string or one hash, as databases have them.
/// How long a value is kept no database has.
pub(super) fn is_rules_write(name: &str) -> bool {
    matches!(
        name,
        "append"
            | "decr"
            | "decrby"
            | "del"
            | "getdel"
            | "getset"
            | "hdel"
            | "hincrby"
            | "hincrbyfloat"
            | "hmset"
            | "hset"
            | "hsetnx"
            | "incr"
            | "incrby"
            | "incrbyfloat"
            | "mset"
            | "msetnx"
            | "psetex"
            | "set"
            | "setbit"
            | "setex"
            | "setnx"
            | "setrange"
            | "unlink"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{CommandTable, Flags};

    #[test]
    fn reads_load_and_writes_are_writes() {
        let table = CommandTable::builtin().unwrap();
        let mut counts = (0, 0);
        for command in table.commands() {
            let loads = command.misses != Misses::Never;
            let is_only_read = command.is_read() || &*command.name == "getex";
            assert!(!loads || is_only_read && !command.is_rules_write, "{}", command.name);
            assert!(!command.is_rules_write || command.flags.contains(Flags::WRITE), "{}", command.name);
            counts.0 += usize::from(loads);
            counts.1 += usize::from(command.is_rules_write);
        }
        assert_eq!(counts, (41, 24), "all of them are in the table");
    }
}
