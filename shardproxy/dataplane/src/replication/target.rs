//! One engine that gets keys: what was sent to it, in the order of its replies.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::claim::{self, Claim, Unclaimed};
use super::end::End;
use super::fault::{Fault, Kind};
use super::history::Facts;
use super::keys::Key;
use super::node::{Node, NodeError, Stop};

const WITHIN: Duration = Duration::from_secs(2);
/// Without a reply for so long a target is lost: the largest values take an engine seconds.
const SILENT: Duration = Duration::from_secs(60);
/// How long it may be away.
const AWAY: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(200);
/// Commands of keys' own without replies: bytes. Of more the keys are read again, once there is room.
const COMMANDS: usize = 64 << 20;

/// What a request to it was.
#[derive(Debug)]
pub enum Sent {
    /// A value, or that there is none. `is_exact`: its own commands follow it, and there is no ticket.
    Put { key: Key, ticket: u64, bytes: usize, is_shipped: bool },
    /// A command of the key's own.
    Command { key: Key, bytes: usize },
    /// A step through its keys.
    Scan { pass: u64 },
    /// Its replicas are to have all that.
    Wait { replicas: u32, ticket: u64 },
}

impl Sent {
    pub const fn bytes(&self) -> usize {
        match self {
            Self::Put { bytes, .. } | Self::Command { bytes, .. } => *bytes,
            Self::Scan { .. } | Self::Wait { .. } => 0,
        }
    }

    const fn of_commands(&self) -> usize {
        match self {
            Self::Command { bytes, .. } => *bytes,
            _ => 0,
        }
    }
}

pub struct Target {
    pub end: End,
    pub node: Option<Node>,
    pub sent: VecDeque<Sent>,
    /// Bytes of requests without a reply, and those of keys' own commands among them.
    pub unanswered: usize,
    commands: usize,
    /// Requests ever sent, and replies ever had: those of a connection that was lost count as had.
    pub asked: u64,
    pub answered: u64,
    /// Which process it is, and which history it has: another one may lack what it was sent.
    identity: Option<(String, String)>,
    /// Why older copiers may still write to it, where that cannot be known.
    pub unguarded: String,
    /// Since when it is away, or silent though something is owed.
    since: Instant,
    /// The socket would not take all of it.
    is_full: bool,
    retry: Instant,
}

/// What became of an attempt to have a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Back {
    /// There is one, as before.
    Same,
    /// There is one, and it may have lost what it had.
    Anew,
    /// Not yet, for this reason.
    Away(String),
}

/// Why there is no connection.
enum Unfit {
    Node(NodeError),
    Final(Fault),
}

impl From<NodeError> for Unfit {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

impl Target {
    pub fn new(end: End, now: Instant) -> Self {
        Self {
            end,
            node: None,
            sent: VecDeque::new(),
            unanswered: 0,
            commands: 0,
            asked: 0,
            answered: 0,
            identity: None,
            unguarded: String::new(),
            since: now,
            is_full: false,
            retry: now,
        }
    }

    /// Give the socket what it takes now. Whoever takes more of what did not fit before is not silent: a large value takes a
    /// slow network long.
    pub fn flush(&mut self, now: Instant) -> Result<(), NodeError> {
        let Some(node) = &mut self.node else { return Ok(()) };
        let before = node.unsent();
        node.flush()?;
        let left = node.unsent();
        if self.is_full && left < before {
            self.since = now;
        }
        self.is_full = left > 0;
        Ok(())
    }

    /// Queue a request.
    pub fn send(&mut self, words: &[&[u8]], sent: Sent, now: Instant) {
        if let Some(node) = &mut self.node {
            node.send(words);
            self.note(sent, now);
        }
    }

    /// Queue bytes that are one request.
    pub fn send_raw(&mut self, request: &[u8], sent: Sent, now: Instant) {
        if let Some(node) = &mut self.node {
            node.send_raw(request);
            self.note(sent, now);
        }
    }

    fn note(&mut self, sent: Sent, now: Instant) {
        if self.sent.is_empty() {
            self.since = now;
        }
        self.unanswered += sent.bytes();
        self.commands += sent.of_commands();
        self.asked += 1;
        self.sent.push_back(sent);
    }

    /// Whether it has room for more of keys' own commands. Values may be large, and those that follow them wait for them.
    pub const fn follows(&self) -> bool {
        self.commands < COMMANDS
    }

    /// A reply came: to what.
    pub fn heard(&mut self, now: Instant) -> Option<Sent> {
        let sent = self.sent.pop_front()?;
        self.since = now;
        self.answered += 1;
        self.unanswered -= sent.bytes();
        self.commands -= sent.of_commands();
        Some(sent)
    }

    pub fn is_silent(&self, now: Instant) -> bool {
        self.node.is_some() && !self.sent.is_empty() && now.saturating_duration_since(self.since) > SILENT
    }

    /// Its connection is lost, and with it whatever had no reply.
    pub fn lose(&mut self, now: Instant) {
        if let Some(node) = self.node.take() {
            node.cut();
        }
        self.sent.clear();
        self.unanswered = 0;
        self.commands = 0;
        self.is_full = false;
        self.answered = self.asked;
        self.since = now;
        self.retry = now;
    }

    /// Whether to try to connect now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.node.is_none() && now >= self.retry
    }

    /// Try to have a connection. An error is final; none where it was told to stop.
    pub fn connect(&mut self, database: u32, claim: &Claim, stop: &Stop) -> Result<Back, Option<Fault>> {
        let now = Instant::now();
        match self.reach(database, claim, stop) {
            Ok((node, identity)) => {
                self.node = Some(node);
                self.since = Instant::now();
                let was = self.identity.replace(identity);
                Ok(if was.is_some() && was != self.identity { Back::Anew } else { Back::Same })
            }
            Err(Unfit::Node(NodeError::Lost(why) | NodeError::Late(why))) => {
                if now.saturating_duration_since(self.since) > AWAY {
                    let away = AWAY.as_secs();
                    return Err(Some(Fault::new(Kind::TargetLost, format!("the target was away for {away} s: {why}"))));
                }
                self.retry = Instant::now() + RETRY;
                Ok(Back::Away(why))
            }
            Err(Unfit::Node(NodeError::Stopped)) => Err(None),
            Err(Unfit::Node(error)) => Err(Some(Fault::new(Kind::TargetRefuses, error.to_string()))),
            Err(Unfit::Final(fault)) => Err(Some(fault)),
        }
    }

    fn reach(&mut self, database: u32, claim: &Claim, stop: &Stop) -> Result<(Node, (String, String)), Unfit> {
        let mut node = Node::connect(&self.end, stop, WITHIN)?;
        let facts = Facts::read(&node.ask_text(&[b"INFO"], WITHIN)?);
        if facts.is_loading {
            return Err(node.lost("it loads its data").into());
        }
        if self.end.is_another(&facts.run_id) {
            return Err(node.lost("another process is there than keys are to be copied to").into());
        }
        if !facts.is_primary {
            let why = "it is a replica now: begin anew, with the primary of its shard";
            return Err(Unfit::Final(Fault::new(Kind::TargetLost, format!("{}: {why}", self.end))));
        }
        let unguarded = claim::claim(&mut node, claim, Instant::now() + WITHIN).map_err(|error| match error {
            Unclaimed::Node(error) => Unfit::Node(error),
            Unclaimed::Later(fault) => Unfit::Final(fault),
        })?;
        self.unguarded = unguarded.unwrap_or_default();
        if database > 0 {
            node.send(&[b"SELECT", database.to_string().as_bytes()]);
            node.accepted(Instant::now() + WITHIN)?;
        }
        Ok((node, (facts.run_id, facts.replid)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn who_takes_a_large_value_slowly_is_not_silent() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let end = End::plain(&listener.local_addr().unwrap().to_string()).unwrap();
        let mut target = Target::new(end.clone(), start);
        target.node = Some(Node::connect(&end, &Stop::new().unwrap(), WITHIN).unwrap());
        let mut side = listener.accept().unwrap().0;
        let mut taken = vec![0; 32 << 20];
        let sent = |bytes| Sent::Put { key: Key::from(&b"k"[..]), ticket: 1, bytes, is_shipped: false };
        target.send(&[&taken], sent(taken.len()), start);
        target.flush(start).unwrap();
        assert!(target.is_silent(at(61)));
        let unsent = |target: &Target| target.node.as_ref().unwrap().unsent();
        let before = unsent(&target);
        while unsent(&target) == before {
            let _ = side.read(&mut taken).unwrap();
            target.flush(at(50)).unwrap();
        }
        assert!(!target.is_silent(at(61)) && target.is_silent(at(111)));
        while unsent(&target) > 0 {
            target.flush(at(70)).unwrap();
            let _ = side.read(&mut taken).unwrap();
        }
        target.send(&[b"PING"], sent(0), at(80));
        target.flush(at(80)).unwrap();
        assert!(target.is_silent(at(131)), "that there is room is no sign of it");
    }
}
