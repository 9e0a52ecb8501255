//! Who may do what is found out without an allocation.

use std::thread;

use shardproxy_dataplane::access::{Denied, Users};
use shardproxy_dataplane::command::{CommandTable, Span};
use shardproxy_dataplane::dialect::resp::Request;

use crate::allocator::{living, take_peak};
use crate::meter::alone;

const USERS: &str = r#"[{"name": "app", "enabled": true,
    "rules": "+get +select|0 ~a* (+@all -@dangerous %R~b?[x-z]* %W~c* &news*) (+sort ~* &n*)"}]"#;

const REQUESTS: [(&str, Result<(), Denied>); 12] = [
    ("GET abc", Ok(())),
    ("GET b1x2", Ok(())),
    ("SET b1x2 1", Err(Denied::Key(1))),
    ("SET c 1 EX 5", Ok(())),
    ("SELECT 1", Ok(())),
    ("KEYS *", Err(Denied::Command)),
    ("ZUNIONSTORE c 2 b1x b1y", Ok(())),
    ("XREADGROUP GROUP g c STREAMS d >", Err(Denied::Key(5))),
    ("MSET c 1 c1 2 d 3", Err(Denied::Key(5))),
    ("SORT x BY w_* GET # STORE y", Ok(())),
    ("SUBSCRIBE news.eu news.us", Ok(())),
    ("PSUBSCRIBE news.*", Err(Denied::Channel(1))),
];

fn spans_of(line: &str) -> Vec<Span> {
    let starts = line.match_indices(' ').map(|(at, _)| at as u32 + 1);
    let ends = line.match_indices(' ').map(|(at, _)| at as u32).chain([line.len() as u32]);
    std::iter::once(0).chain(starts).zip(ends).map(|(start, end)| Span { start, end }).collect()
}

fn check_all() {
    let table = CommandTable::builtin().unwrap();
    let users = Users::compile(&serde_json::from_str::<Vec<_>>(USERS).unwrap(), &table).unwrap();
    let user = users.find(b"app").unwrap();
    let requests = REQUESTS.map(|(line, expected)| (line, spans_of(line), expected));
    take_peak();
    let before = living();
    for (line, spans, expected) in &requests {
        let request = Request { bytes: line.as_bytes(), spans };
        let found = user.check(table.find(request.argument(0)).unwrap(), &request);
        assert_eq!((living(), take_peak()), (before, before), "{line}");
        assert_eq!(found, *expected, "{line}");
    }
    assert!(format!("{before}").len() as isize + before <= take_peak(), "it is counted");
}

#[test]
fn nothing_is_allocated_to_find_out_who_may_do_what() {
    let _alone = alone();
    let checking = thread::Builder::new().name("shardproxy-rule".to_owned()).spawn(check_all);
    checking.unwrap().join().unwrap();
}
