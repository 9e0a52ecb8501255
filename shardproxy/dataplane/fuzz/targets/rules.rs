//! Access rules never panic, and what is described of a user makes the same user.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use shardproxy_dataplane::access::{Form, Rules, Vocabulary};
use shardproxy_dataplane::command::CommandTable;

static TABLE: LazyLock<CommandTable> = LazyLock::new(|| CommandTable::builtin().unwrap());

fn again(line: &[u8], known: Vocabulary) -> Rules {
    let mut rules = Rules::new(known);
    rules.apply_line(std::str::from_utf8(line).unwrap(), known).unwrap();
    rules
}

fuzz_target!(|input: (bool, &str)| {
    let (keeps_unknown, line) = input;
    let known = if keeps_unknown { Vocabulary::keeping_unknown(&TABLE) } else { Vocabulary::new(&TABLE) };
    let mut rules = Rules::new(known);
    if let Err(fault) = rules.apply_line(line, known) {
        assert!(!fault.to_string().is_empty() && !fault.in_full().is_empty());
    }
    assert_eq!(again(&rules.line(Form::Ordered, known), known), rules);
    let described = rules.line(Form::Fewest, known);
    assert_eq!(again(&described, known).line(Form::Fewest, known), described);
});
