//! Copies of what changes all the time, and of what takes long.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use super::orders::{Reaching, Resting};
use super::tests::{called, place, plan, until, Fake, LONG};
use super::*;
use crate::replication::attach::Attached;
use crate::replication::history::Facts;
use crate::replication::node::Stop;
use crate::replication::target::Sent;

fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

fn array(words: &[&str]) -> String {
    let words: String = words.iter().map(|word| bulk(word)).collect();
    format!("*{}\r\n{words}", words.matches("\r\n").count() / 2)
}

/// A list that is large enough for its commands to be sent on.
fn large() -> String {
    bulk(&format!("\u{1}{}", "x".repeat(5000)))
}

/// What a source with these keys says, those that begin with `big` large.
fn having(keys: Vec<String>) -> impl Fn(&[String]) -> Option<String> + Send + Sync {
    move |words| {
        let key = words.get(1).map_or("", String::as_str);
        Some(match &*words[0] {
            "SCAN" => {
                let names: Vec<&str> = keys.iter().map(String::as_str).collect();
                format!("*2\r\n{}{}", bulk("0"), array(&names))
            }
            "TIME" => array(&["1", "0"]),
            "MEMORY" => ":100\r\n".into(),
            "PEXPIRETIME" => ":-1\r\n".into(),
            "EXISTS" => ":1\r\n".into(),
            "TYPE" => "+list\r\n".into(),
            "LLEN" => ":1000\r\n".into(),
            "DUMP" if key.starts_with("big") => large(),
            "DUMP" => bulk("\u{1}x"),
            "EXEC" => format!("*3\r\n{}:-1\r\n{}", bulk("master_repl_offset:100\r\n"), large()),
            _ => return None,
        })
    }
}

/// A copy under way, until this is dropped.
struct Copying {
    board: Arc<Board>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Copying {
    fn start(source: &Fake, target: &Fake) -> Self {
        let board = Arc::new(Board::new(Stop::new().unwrap(), None));
        let copier = Copier::new(plan(source, target), Arc::new(CommandTable::builtin().unwrap()), board.clone());
        Self { board, thread: Some(thread::spawn(move || copier.run())) }
    }
}

impl Drop for Copying {
    fn drop(&mut self) {
        self.board.stop().stop();
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// Do it again and again until the test is done with the rest.
fn meanwhile(what: impl Fn() + Sync, rest: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                what();
            }
        });
        let ended = std::panic::catch_unwind(AssertUnwindSafe(rest));
        is_over.store(true, Relaxed);
        ended.unwrap();
    });
}

#[test]
fn keys_that_change_all_the_time_leave_the_first_copy_its_part() {
    let big: Vec<String> = (0..100).map(|n| format!("big{n}")).collect();
    let small = (0..300).map(|n| format!("small{n}"));
    let source = Fake::with(called("a", "", -1), having(big.iter().cloned().chain(small).collect()));
    let copying = Copying::start(&source, &Fake::start(String::new()));
    let change = || {
        for key in &big {
            source.tells(&["SET", key, "x"]);
        }
        thread::sleep(Duration::from_millis(1));
    };
    meanwhile(change, || until("it follows", || copying.board.status().phase == Phase::Following));
}

/// A copier that follows, with a target that is connected.
fn following(source: &Fake, target: &Fake) -> Copier {
    let board = Arc::new(Board::new(Stop::new().unwrap(), None));
    let mut copier = Copier::new(plan(source, target), Arc::new(CommandTable::builtin().unwrap()), board);
    let connect = |end: &End| Node::connect(end, &Stop::new().unwrap(), LONG).unwrap();
    copier.targets[0].node = Some(connect(&copier.plan.targets[0]));
    let attached = Attached {
        stream: Some(connect(&copier.plan.sources[0])),
        asker: connect(&copier.plan.sources[0]),
        facts: Facts::default(),
        place: place("a", -1),
        is_resumed: false,
        database: Some(0),
        clock: None,
    };
    copier.source = Some(Source::new(attached, Instant::now()));
    copier.status.phase = Phase::Following;
    copier.status.replid = "a".into();
    copier
}

#[test]
fn commands_that_are_sent_on_all_the_time_leave_a_comparison_its_part() {
    let keys = || having(vec!["big".into()]);
    let mut copier = following(&Fake::with(called("a", "", -1), keys()), &Fake::with(String::new(), keys()));
    let now = Instant::now();
    copier.comparing = Some(Comparing::new(now + LONG, 1, &copier.plan));
    for _ in 0..100 {
        let sent = Sent::Command { key: Key::from(&b"other"[..]), bytes: 1 };
        copier.targets[0].send(&[b"RPUSH", b"other", b"x"], sent, now); // as the stream has it, before each look
        copier.changes_had_their_turn();
        copier.compare(now).map_err(|_| ()).unwrap();
        if copier.comparing.is_none() {
            break;
        }
    }
    assert_eq!((copier.comparing.is_none(), copier.status.compared), (true, 1));
}

#[test]
fn what_nobody_waits_for_is_not_compared_on() {
    let mut copier = following(&Fake::start(called("a", "", -1)), &Fake::start(String::new()));
    let now = Instant::now();
    copier.comparing = Some(Comparing::new(now, 1, &copier.plan));
    assert!(matches!(copier.compare(now), Ok(false)) && copier.comparing.is_none());
}

#[test]
fn replicas_are_asked_again_when_the_connection_goes_on_which_they_were() {
    let fake = Fake::start(String::new());
    let mut copier = following(&fake, &fake);
    let now = Instant::now();
    copier.reaching = Some(Reaching {
        place: place("a", -1),
        replicas: 1,
        until: now + LONG,
        ticket: 1,
        asked: None,
        has_waited: false,
        refused: None,
    });
    let asks = |copier: &mut Copier| {
        copier.settle_orders(now);
        matches!(copier.targets[0].sent.back(), Some(Sent::Wait { replicas: 1, .. }))
    };
    assert!(asks(&mut copier));
    let node = copier.targets[0].node.take();
    copier.lose_target(0, "its connection is cut");
    copier.targets[0].node = node; // and there is another one before anybody looks
    assert!(asks(&mut copier), "it is not confirmed");
    assert!(copier.reaching.is_some());
}

#[test]
fn who_is_about_to_rest_hears_its_source_and_no_more_changes() {
    let fake = Fake::start(String::new());
    let mut copier = following(&fake, &fake);
    let now = Instant::now();
    for (resting, expected) in [(Resting::No, 4), (Resting::Wanted(now + LONG, 1), 3), (Resting::Rests, 1)] {
        copier.resting = resting;
        assert_eq!(copier.wanted(now).0.len(), expected, "{resting:?}");
    }
}
