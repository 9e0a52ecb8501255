//! Which arguments are keys. What COMMAND GETKEYS of redis-server 7.0.15 says, unless noted.

use shardproxy_dataplane::command::{key_positions, CommandTable};
use shardproxy_dataplane::dialect::resp::request::{Parsed, RequestLimits, RequestParser};

/// The keys of a request as a person types it, or the error.
fn keys_of(table: &CommandTable, request: &str) -> String {
    let limits = RequestLimits { max_request: 1 << 20, max_bulk: 1 << 20, max_arguments: 1000, authenticated: true };
    let mut parser = RequestParser::new();
    let parsed = parser.parse(format!("{request}\r\n").as_bytes(), &limits);
    assert!(matches!(parsed, Ok(Parsed::Inline { .. })));
    let (spans, bytes) = (parser.spans(), parser.inline());
    let argument = |index: usize| String::from_utf8_lossy(spans[index].of(bytes)).into_owned();
    let mut command = table.find(argument(0).as_bytes()).unwrap();
    if !command.subcommands.is_empty() {
        command = command.subcommand(argument(1).as_bytes()).unwrap();
    }
    let mut positions = vec![7, 8, 9];
    match key_positions(command, spans, bytes, &mut positions) {
        Ok(()) => positions.iter().map(|&at| argument(at as usize)).collect::<Vec<_>>().join(" "),
        Err(error) => String::from_utf8(error.reply(command)).unwrap(),
    }
}

#[test]
fn keys_are_where_redis_finds_them() {
    let table = CommandTable::builtin().unwrap();
    for (request, expected) in [
        ("ping", ""),
        ("get a", "a"),
        ("set a b ex 10", "a"),
        ("mget a b c", "a b c"),
        ("mset a 1 b 2", "a b"),
        ("del a", "a"),
        ("rename a b", "a b"),
        ("blpop a b 0", "a b"),
        ("bitop and d a b", "d a b"),
        ("object encoding a", "a"),
        ("memory usage a samples 5", "a"),
        ("xgroup create s g $", "s"),
        ("eval x 0", ""),
        ("eval x 0 a b", ""),
        ("eval x 2 a b c", "a b"),
        ("evalsha x 1 a", "a"),
        ("fcall f 1 a b", "a"),
        ("zunion 2 a b weights 1 2", "a b"),
        ("zunionstore d 2 a b weights 1 2", "d a b"),
        ("sintercard 2 a b limit 1", "a b"),
        ("lmpop 2 a b left", "a b"),
        ("blmpop 0 2 a b left", "a b"),
        ("xread count 1 streams a b 1 2", "a b"),
        ("xread block 0 count 5 streams a $", "a"),
        ("XREADGROUP group g c noack count 1 block 5 streams x y 1 2", "x y"),
        ("sort a", "a"),
        ("sort a limit 0 5 desc alpha store d", "a d"),
        ("sort a store d limit 0 1 store e", "a e"),
        ("sort a get # by nosort", "a"),
        ("georadius a 0 0 1 m", "a"),
        ("georadius a 0 0 1 m store b", "a b"),
        ("georadiusbymember a b 5 m store x", "a x"),
        ("georadiusbymember_ro a b 5 m", "a"),
        ("migrate h 1 a 0 0", "a"),
        ("migrate h 1 '' 0 0 copy replace keys a b", "a b"),
        // words that are names, not options
        ("xreadgroup group streams c streams a 1", "a"),
        ("xreadgroup group g streams streams a 1", "a"),
        ("sort store", "store"),
        ("sort a limit store 5", "a"),
        ("sort a get store store d", "a d"),
        // options of newer engines
        ("xreadgroup group g c claim 10 streams a 1", "a"),
    ] {
        assert_eq!(keys_of(&table, request), expected, "{request}");
    }
}

#[test]
fn what_every_engine_refuses_names_no_keys() {
    let table = CommandTable::builtin().unwrap();
    for (request, expected) in [
        ("eval x -1 a", ""),
        ("eval x 2 a", ""),
        ("eval x abc a", ""),
        ("eval x 99999999999999999999 a", ""),
        ("zunionstore d 5 a", "d"),
        ("lmpop 9 a left", ""),
        ("xread streams a b 1", ""),
        ("xread count 1 a b", ""),
        ("xread foo bar baz", ""),
        ("sort a store", "a"),
        ("sort a by", "a"),
        ("georadius a 0 0 1 m store", "a"),
    ] {
        assert_eq!(keys_of(&table, request), expected, "{request}");
    }
}

#[test]
fn patterns_of_sort_stay_in_the_slot() {
    let table = CommandTable::builtin().unwrap();
    let by = "-ERR BY option of SORT denied in cluster mode";
    let get = "-ERR GET option of SORT denied in cluster mode";
    for (request, expected) in [
        ("sort a by w_*", by),
        ("sort_ro a by w_*", by),
        ("sort a get w_*->field", get),
        ("sort a by *{a}", by),
        ("sort a by {}*{a}", by),
        ("sort a by {a*}", by),
        // a tag in front of the star decides the slot: the pattern counts as a key
        ("sort a by {b}w_*", "a {b}w_*"),
        ("sort a by {a}w_* get # get {a}v_*->field", "a {a}w_* {a}v_*->field"),
        ("sort {a}b by w_{a}_* store {a}c", "{a}b w_{a}_* {a}c"),
    ] {
        assert!(keys_of(&table, request).starts_with(expected), "{request}");
    }
}
