//! Whole copiers, of engines that say what a test has them say.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Mutex;
use std::thread;

use super::*;
use crate::replication::history::Place;
use crate::replication::node::Stop;
use crate::replication::plan::PlanSpec;

pub(super) const LONG: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_millis(300);

/// An engine with no key, or one until it is emptied: what INFO says of its history may be changed, and its streams go on all
/// the same.
#[derive(Clone)]
pub(super) struct Fake {
    address: String,
    history: Arc<Mutex<String>>,
    has_key: Arc<AtomicBool>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
    /// What it says before anything else.
    says: Says,
}

type Says = Arc<dyn Fn(&[String]) -> Option<String> + Send + Sync>;

impl Fake {
    pub(super) fn start(history: String) -> Self {
        Self::with(history, |_| None)
    }

    pub(super) fn with(history: String, says: impl Fn(&[String]) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (history, says) = (Arc::new(Mutex::new(history)), Arc::new(says));
        let fake = Self { address, history, has_key: Arc::default(), streams: Arc::default(), says };
        let shared = fake.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let fake = shared.clone();
                thread::spawn(move || fake.serve(&stream));
            }
        });
        fake
    }

    fn becomes(&self, history: String) {
        *self.history.lock().unwrap() = history;
    }

    fn is_emptied(&self) {
        self.has_key.store(false, Relaxed);
        self.tells(&["FLUSHALL"]);
    }

    /// A command in its stream.
    pub(super) fn tells(&self, words: &[&str]) {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut command = Vec::new();
        crate::dialect::resp::write::command(&mut command, &words);
        for stream in self.streams.lock().unwrap().iter_mut() {
            let _ = stream.write_all(&command); // it may be cut
        }
    }

    fn serve(&self, stream: &TcpStream) {
        let mut input = BufReader::new(stream);
        while let Some(words) = request(&mut input) {
            let said = (self.says)(&words);
            let told = match words[0].as_str() {
                _ if said.is_some() => said.unwrap_or_default(),
                "INFO" => {
                    let info = format!("redis_version:7.2.0\r\nrole:master\r\n{}", self.history.lock().unwrap());
                    format!("${}\r\n{info}\r\n", info.len())
                }
                "PSYNC" => {
                    self.streams.lock().unwrap().push(stream.try_clone().unwrap());
                    "+CONTINUE\r\n".into()
                }
                "MEMORY" => {
                    self.is_emptied();
                    thread::sleep(SOON); // its stream tells of it before this is answered
                    ":50\r\n".into()
                }
                "SCAN" if self.has_key.load(Relaxed) => "*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n".into(),
                "SCAN" => "*2\r\n$1\r\n0\r\n*0\r\n".into(),
                "DBSIZE" => ":0\r\n".into(),
                "CLIENT" if words[1] == "ID" => ":1\r\n".into(),
                "CLIENT" if words[1] == "LIST" => "$0\r\n\r\n".into(),
                "REPLCONF" if words[1] == "ACK" => continue,
                _ => "+OK\r\n".into(),
            };
            if { stream }.write_all(told.as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn request(input: &mut impl BufRead) -> Option<Vec<String>> {
    let count = number(input)?;
    (0..count)
        .map(|_| {
            let mut text = vec![0; number(input)? + 2];
            input.read_exact(&mut text).ok()?;
            Some(String::from_utf8_lossy(&text[..text.len() - 2]).into_owned())
        })
        .collect()
}

fn number(input: &mut impl BufRead) -> Option<usize> {
    let mut line = String::new();
    input.read_line(&mut line).ok()?;
    line.get(1..)?.trim().parse().ok()
}

/// At 100 of that history, which was called `former` up to `until`.
pub(super) fn called(replid: &str, former: &str, until: i64) -> String {
    format!(
        "master_replid:{replid}\r\nmaster_replid2:{former}\r\nsecond_repl_offset:{until}\r\nmaster_repl_offset:100\r\n\
         repl_backlog_active:1\r\nrepl_backlog_first_byte_offset:1\r\nrepl_backlog_histlen:100\r\n"
    )
}

/// What is to be done while a copier follows, with its source.
fn following(test: impl FnOnce(&Board, &Fake)) {
    copying(&Fake::start(called("a", "", -1)), test);
}

fn copying(source: &Fake, test: impl FnOnce(&Board, &Fake)) {
    let target = Fake::start(String::new());
    let board = Arc::new(Board::new(Stop::new().unwrap(), None));
    let copier = Copier::new(plan(source, &target), Arc::new(CommandTable::builtin().unwrap()), board.clone());
    let copying = thread::spawn(move || copier.run());
    until("it follows", || board.status().phase == Phase::Following);
    test(&board, source);
    board.stop().stop();
    copying.join().unwrap();
}

/// To follow one with the other.
pub(super) fn plan(source: &Fake, target: &Fake) -> Plan {
    let spec: PlanSpec = serde_json::from_value(serde_json::json!({
        "sources": [{"address": source.address}],
        "targets": [{"slots": [[0, 16383]], "end": {"address": target.address}}],
        "follows": true,
    }))
    .unwrap();
    Plan::new(spec).unwrap()
}

pub(super) fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(super) fn place(replid: &str, offset: i64) -> Place {
    Place { replid: replid.into(), offset }
}

fn refused(board: &Board, place: Place) -> String {
    let fault = board.reach(place, 0, SOON).unwrap_err();
    assert_eq!(fault.kind, Kind::Late);
    fault.why
}

#[test]
fn only_what_is_of_its_own_history_is_reached() {
    following(|board, source| {
        assert_eq!(board.reach(place("a", 100), 0, LONG), Ok(100));
        assert!(refused(board, place("a", 101)).starts_with("not done in"));
        assert!(refused(board, place("b", 50)).contains("another history (a) than that (b)"));
        source.becomes(called("b", "a", 101));
        assert_eq!(board.reach(place("b", 100), 0, LONG), Ok(100));
        assert_eq!(board.reach(place("a", 100), 0, LONG), Ok(100), "up to there it is the same");
        assert!(refused(board, place("c", 50)).contains("another history (b)"));
        let status = board.status();
        assert_eq!((&*status.replid, status.passes, status.resumed), ("b", 1, 0));
    });
}

#[test]
fn a_number_behind_where_histories_part_is_not_reached() {
    following(|board, source| {
        source.becomes(called("b", "a", 101));
        assert_eq!(board.reach(place("b", 100), 0, LONG), Ok(100));
        source.becomes(called("b", "a", 91));
        until("it has heard", || board.reach(place("a", 91), 0, SOON).is_err());
        assert_eq!(board.reach(place("a", 90), 0, LONG), Ok(100));
    });
}

#[test]
fn a_source_whose_history_parted_before_what_was_read_is_read_anew() {
    following(|board, source| {
        source.becomes(called("b", "a", 100)); // the last byte that was read is none of it
        until("it begins anew", || board.status().passes == 2);
        assert_eq!(board.reach(place("b", 100), 0, LONG), Ok(100));
        assert!(refused(board, place("a", 100)).contains("another history (b)"));
    });
}

#[test]
fn what_is_emptied_while_keys_are_weighed_is_read_anew() {
    let source = Fake::start(called("a", "", -1));
    source.has_key.store(true, Relaxed);
    copying(&source, |board, _| {
        let status = board.status();
        assert_eq!((status.passes, status.keys), (2, 0));
    });
}

#[test]
fn who_rests_refuses_at_once() {
    following(|board, _| {
        assert_eq!(board.rest(LONG), Ok(0));
        let fault = board.reach(place("a", 1), 0, LONG).unwrap_err();
        assert!(fault.why.starts_with("it rests"), "{fault}");
        assert_eq!(board.verify(LONG), Ok(0), "it can still compare");
        board.go_on();
        assert_eq!(board.reach(place("a", 1), 0, LONG), Ok(100));
    });
}
