//! Parts in any order make the one reply the client expects; whatever a shard sends, it is exactly one reply.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn is_one_reply(bytes: &[u8]) -> bool {
    ReplyFramer::new().scan(bytes).is_ok_and(|scan| scan.complete && scan.consumed == bytes.len())
}

/// Complete replies of all kinds, right and wrong for the command.
fn reply() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (-9i64..9).prop_map(|n| format!(":{n}\r\n").into_bytes()),
        Just(b"+OK\r\n".to_vec()),
        Just(b"-ERR one\r\n".to_vec()),
        Just(b"-LOADING two\r\n".to_vec()),
        Just(b"!5\r\nERR 3\r\n".to_vec()),
        Just(b"$-1\r\n".to_vec()),
        Just(b"_\r\n".to_vec()),
        Just(b"*-1\r\n".to_vec()),
        Just(b"*0\r\n".to_vec()),
        Just(b"*1\r\n$2\r\n\r\n\r\n".to_vec()),
        Just(b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n".to_vec()),
        Just(b"$7\r\n$1\r\na\r\n\r\n".to_vec()),
        Just(b"$0\r\n\r\n".to_vec()),
        Just(b"%1\r\n+a\r\n+b\r\n".to_vec()),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Sum), Just(Kind::Mset), Just(Kind::Mget)]
}

proptest! {
    #[test]
    fn whatever_the_parts_are_one_reply_leaves(kind in kind(), parts in vec(reply(), 2..5), order in vec(0..5u16, 1..9)) {
        let order: Vec<u16> = order.iter().map(|part| part % parts.len() as u16).collect();
        let mut join = Join::new(kind, parts.len(), &order, false);
        for (part, reply) in parts.iter().enumerate() {
            prop_assert_eq!(join.deliver(part as u16, reply), part + 1 == parts.len());
        }
        let mut output = b"+before\r\n".to_vec();
        join.write(&mut output);
        let whole = output.strip_prefix(b"+before\r\n").unwrap_or_default();
        prop_assert!(is_one_reply(whole), "{}", String::from_utf8_lossy(whole));
        let errors: Vec<&Vec<u8>> = parts.iter().filter(|reply| matches!(reply[0], b'-' | b'!')).collect();
        if let [error] = errors[..] {
            let is_known = whole == &error[..] || whole == texts::UNEXPECTED_REPLY && kind == Kind::Sum;
            prop_assert!(is_known, "the part's error is the whole's");
        }
    }

    #[test]
    fn every_key_gets_its_own_value(order in vec(0..4u16, 1..40), arrival in Just([0u16, 1, 2, 3]).prop_shuffle()) {
        let value = |position: usize| match position % 4 {
            0 => "$-1\r\n".to_owned(),
            1 => format!("$12\r\n{position:012}\r\n"),
            2 => "$2\r\n\r\n\r\n".to_owned(),
            _ => "_\r\n".to_owned(),
        };
        let mut join = Join::new(Kind::Mget, 4, &order, false);
        for part in arrival {
            let own: Vec<usize> = (0..order.len()).filter(|&position| order[position] == part).collect();
            let values: String = own.iter().map(|&position| value(position)).collect();
            join.deliver(part, format!("*{}\r\n{values}", own.len()).as_bytes());
        }
        let mut output = Vec::new();
        join.write(&mut output);
        let expected: String = (0..order.len()).map(value).collect();
        prop_assert_eq!(String::from_utf8_lossy(&output), format!("*{}\r\n{expected}", order.len()));
    }
}
