//! What the workers tell the control plane: one queue, and an eventfd that says it is not empty.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::Mutex;

use crate::net::EventFd;
use crate::sync::lock;

/// Commands waiting for Python at most; one per client is possible.
const OFFLOADS: usize = 100_000;
/// Losses that wait at most, acts of clients, and accesses of one purse of a cluster; more say nothing new.
const NOTICES: usize = 1024;
/// Keys whose age is asked for at most; those beyond are asked about later.
const AGED: usize = 1000;

/// Something the control plane has to know.
#[derive(Debug)]
pub enum Event {
    Offloaded(Offload),
    /// The client of the offloaded command with this token has gone: nobody waits for the answer any more.
    Abandoned(u64),
    NodeLost(NodeLost),
    NodeDown(NodeDown),
    ClientDid(ClientDid),
    CacheAged(CacheAged),
    Access(Box<AccessEvent>),
    /// Something could not be opened for want of a file descriptor; the first of what could not since the last one.
    OutOfFiles(String),
}

/// A command that Python answers.
pub struct Offload {
    pub token: u64,
    pub cluster: String,
    pub endpoint: &'static str,
    pub client_id: u64,
    /// Who asks.
    pub user: String,
    pub resp: u8,
    pub db: u32,
    pub local_address: String,
    pub is_known: bool,
    pub arguments: Vec<Vec<u8>>,
    /// The caching rule that makes it the control plane's; its place among the cluster's.
    pub rule: Option<u16>,
    /// How often this read has been passed on, and found something missing again.
    pub looks: u8,
}

/// Without the arguments: one may be a password.
impl fmt::Debug for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offload").field("token", &self.token).field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// What a worker found of a node. It says where to look, not what to think.
#[derive(Debug, PartialEq, Eq)]
pub struct NodeLost {
    pub cluster: String,
    pub address: String,
    pub kind: Loss,
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It was lost, or could not be reached.
    Lost,
    /// It is not the primary that is named.
    Stranger,
    /// It serves a slot that is somebody else's in this epoch: an engine in cluster mode says so.
    Moved,
}

impl Loss {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Stranger => "stranger",
            Self::Moved => "moved",
        }
    }
}

/// A memcached node counts as down for some worker, or for none any more.
#[derive(Debug, PartialEq, Eq)]
pub struct NodeDown {
    pub cluster: String,
    pub address: String,
    /// None: it is up again.
    pub why: Option<String>,
}

/// What a client did that nobody waits to hear about.
#[derive(Debug, PartialEq, Eq)]
pub struct ClientDid {
    pub cluster: String,
    pub address: String,
    pub what: &'static str,
}

/// A key was read whose age nobody knows, or whose time has come.
#[derive(Debug, PartialEq, Eq)]
pub struct CacheAged {
    pub cluster: String,
    pub rule: u16,
    pub key: Vec<u8>,
}

/// Who came in or was kept out, and why: for the audit log and for ACL LOG. Holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessEvent {
    pub cluster: String,
    /// Its kind.
    pub endpoint: &'static str,
    pub kind: Access,
    /// 0: it was no client yet.
    pub client_id: u64,
    pub address: String,
    /// As whom, or as whom it wanted to; empty where nobody has said.
    pub user: String,
    /// A word or a sentence that stays the same from case to case.
    pub why: String,
    /// The command, key or channel; the first `MAX_OBJECT` bytes.
    pub object: Vec<u8>,
    /// Whether it was within a transaction.
    pub is_in_multi: bool,
}

impl AccessEvent {
    pub const MAX_OBJECT: usize = 256;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    Login,
    LoginRefused,
    /// A command, key or channel that is not the user's.
    Denied,
    /// It was logged in for as long as that lasts.
    SessionEnded,
    /// Nobody may connect from there, or nobody more.
    ConnectionRefused,
    HandshakeFailed,
    /// What a load balancer says of its client.
    HeaderRefused,
    /// Closed, as the users or the rules have changed.
    RulesChanged,
}

impl Access {
    /// Of what something was denied; nothing where nothing was.
    fn denied(self, why: &str) -> &'static str {
        let known = ["command", "key", "channel", STRANGER];
        known.into_iter().find(|known| self == Self::Denied && *known == why).unwrap_or_default()
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::LoginRefused => "login_refused",
            Self::Denied => "denied",
            Self::SessionEnded => "session_ended",
            Self::ConnectionRefused => "connection_refused",
            Self::HandshakeFailed => "handshake_failed",
            Self::HeaderRefused => "header_refused",
            Self::RulesChanged => "rules_changed",
        }
    }
}

/// Accesses are told from purses of their own, each cluster's and kind's: what anybody can have happen as often as he likes
/// leaves what happens to users no less room.
pub const PURSES: usize = 9;

/// What is told already, of each purse.
pub type Spent<T> = [T; PURSES];

impl Access {
    /// From which purse it is told. Who has not said who it is shares none with users.
    pub fn purse(self, why: &str) -> usize {
        if self == Self::Denied && why == STRANGER {
            PURSES - 1
        } else {
            self as usize
        }
    }
}

/// Why something is denied to who has not said who it is.
pub const STRANGER: &str = "auth";

/// How often: by cluster, what happened, and of what is denied, what of.
pub type Accesses = BTreeMap<(String, &'static str, &'static str), u64>;

/// Nodes that are down, and why, by cluster and address.
pub type Down = BTreeMap<(String, String), String>;

#[derive(Default)]
struct Waiting {
    events: Vec<Event>,
    offloads: usize,
    losses: usize,
    acts: usize,
    aged: usize,
    /// By cluster.
    accesses: BTreeMap<String, Spent<usize>>,
    lacks: usize,
}

pub struct Events {
    waiting: Mutex<Waiting>,
    /// Nodes that the control plane was told are down.
    told_down: Mutex<Down>,
    tokens: AtomicU64,
    /// Bytes of commands that nobody waits for any more, as long as they may lie here.
    abandoned: AtomicUsize,
    /// Of who came in or was kept out: how many nobody was told of, as too many waited.
    untold: AtomicU64,
    /// All of them: by cluster, what happened, and of what is denied, what of.
    accesses: Mutex<Accesses>,
    pub wakeup: EventFd,
}

impl Events {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            waiting: Mutex::default(),
            told_down: Mutex::default(),
            tokens: AtomicU64::new(1),
            abandoned: AtomicUsize::new(0),
            untold: AtomicU64::new(0),
            accesses: Mutex::default(),
            wakeup: EventFd::new()?,
        })
    }

    /// All there is, in the order in which it came.
    pub fn take(&self) -> Vec<Event> {
        self.wakeup.clear();
        self.abandoned.store(0, Relaxed);
        std::mem::take(&mut *lock(&self.waiting)).events
    }

    /// What has changed of the nodes that are down since this was last asked.
    pub fn news_of(&self, down: Down) -> Vec<Event> {
        let mut told = lock(&self.told_down);
        let is_up = told.keys().filter(|node| !down.contains_key(*node)).map(|node| (node.clone(), None));
        let is_down = down.iter().filter(|(node, _)| !told.contains_key(*node));
        let is_down = is_down.map(|(node, why)| (node.clone(), Some(why.clone())));
        let news = is_up.chain(is_down);
        let news = news.map(|((cluster, address), why)| Event::NodeDown(NodeDown { cluster, address, why })).collect();
        *told = down;
        news
    }

    /// Hand a command over, unless too many wait already.
    pub fn offload(&self, offload: Offload) -> bool {
        self.push(Event::Offloaded(offload), OFFLOADS, |waiting| &mut waiting.offloads)
    }

    /// Nobody waits for the answer to this token any more, whose command took so many bytes. There is one such event per
    /// offload at most, so it always has room.
    pub fn abandon(&self, token: u64, bytes: usize) {
        self.abandoned.fetch_add(bytes, Relaxed);
        lock(&self.waiting).events.push(Event::Abandoned(token));
        self.wakeup.raise();
    }

    /// Bytes no worker counts.
    pub fn held(&self) -> usize {
        self.abandoned.load(Relaxed)
    }

    pub fn lose(&self, lost: NodeLost) {
        self.push(Event::NodeLost(lost), NOTICES, |waiting| &mut waiting.losses);
    }

    pub fn report(&self, did: ClientDid) {
        self.push(Event::ClientDid(did), NOTICES, |waiting| &mut waiting.acts);
    }

    /// Ask how old a key is; false if too many are asked about already.
    pub fn ask_age(&self, aged: CacheAged) -> bool {
        self.push(Event::CacheAged(aged), AGED, |waiting| &mut waiting.aged)
    }

    /// Tell who came in or was kept out, unless too many such wait; those are counted.
    pub fn tell_access(&self, event: AccessEvent) {
        self.count_access(event.cluster.clone(), event.kind, &event.why, 1);
        let (cluster, purse) = (event.cluster.clone(), event.kind.purse(&event.why));
        let event = Event::Access(Box::new(event));
        let is_told =
            self.push(event, NOTICES, move |waiting| &mut waiting.accesses.entry(cluster).or_default()[purse]);
        if !is_told {
            self.untold.fetch_add(1, Relaxed);
        }
    }

    /// So many more there were of that kind that nobody is told of.
    pub fn leave_untold(&self, cluster: String, kind: Access, why: &str, count: u64) {
        self.count_access(cluster, kind, why, count);
        self.untold.fetch_add(count, Relaxed);
    }

    fn count_access(&self, cluster: String, kind: Access, why: &str, count: u64) {
        *lock(&self.accesses).entry((cluster, kind.name(), kind.denied(why))).or_default() += count;
    }

    pub fn accesses(&self) -> Accesses {
        lock(&self.accesses).clone()
    }

    pub fn untold(&self) -> u64 {
        self.untold.load(Relaxed)
    }

    /// There is no descriptor for this.
    pub fn lack(&self, what: String) {
        self.push(Event::OutOfFiles(what), 1, |waiting| &mut waiting.lacks);
    }

    /// Queue it unless as many of its kind wait as may.
    fn push(&self, event: Event, most: usize, count: impl FnOnce(&mut Waiting) -> &mut usize) -> bool {
        let mut waiting = lock(&self.waiting);
        let count = count(&mut waiting);
        if *count >= most {
            return false;
        }
        *count += 1;
        waiting.events.push(event);
        self.wakeup.raise();
        true
    }

    /// A token no other offload has; the worker's number in its lowest byte says who waits for the answer.
    pub fn token(&self, worker: usize) -> u64 {
        self.tokens.fetch_add(1, Relaxed) << 8 | worker as u64
    }
}

/// Which worker waits for the answer to this token.
pub const fn worker_of(token: u64) -> usize {
    (token & 0xff) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> NodeLost {
        NodeLost { cluster: "c".into(), address: "a:1".into(), kind: Loss::Lost, why: "refused".into() }
    }

    fn offload(events: &Events) -> bool {
        let offload = Offload {
            token: events.token(0),
            cluster: String::new(),
            endpoint: "primary",
            client_id: 1,
            user: String::new(),
            resp: 2,
            db: 0,
            local_address: String::new(),
            is_known: true,
            arguments: Vec::new(),
            rule: None,
            looks: 0,
        };
        events.offload(offload)
    }

    #[test]
    fn what_is_too_much_of_one_kind_takes_no_room_from_another() {
        let events = Events::new().unwrap();
        for _ in 0..=NOTICES {
            events.lose(lost());
            events.lack("a client".into());
            events.report(ClientDid { cluster: "c".into(), address: "a:1".into(), what: "binary protocol" });
            events.tell_access(AccessEvent::default());
            events.tell_access(denied("a", STRANGER));
        }
        let fit = (0..=OFFLOADS).filter(|_| offload(&events)).count();
        events.abandon(7, 0);
        let taken = events.take();
        assert_eq!((fit, taken.len()), (OFFLOADS, OFFLOADS + 4 * NOTICES + 2));
        assert_eq!(events.untold(), 2);
        let (logins, strangers) = ((String::new(), "login", ""), ("a".to_owned(), "denied", STRANGER));
        let all = NOTICES as u64 + 1;
        assert_eq!(events.accesses(), Accesses::from([(logins, all), (strangers, all)]), "all are counted");
        assert!(matches!(taken.last(), Some(Event::Abandoned(7))), "it always has room");
        assert!(offload(&events), "there is room again");
        events.lose(lost());
        assert!(matches!(events.take()[..], [Event::Offloaded(_), Event::NodeLost(_)]), "in their order");
    }

    fn denied(cluster: &str, why: &str) -> AccessEvent {
        AccessEvent { cluster: cluster.into(), kind: Access::Denied, why: why.into(), ..AccessEvent::default() }
    }

    #[test]
    fn strangers_leave_users_and_other_clusters_their_room() {
        let events = Events::new().unwrap();
        for _ in 0..2 * NOTICES {
            events.tell_access(denied("a", STRANGER));
            events.tell_access(AccessEvent { kind: Access::LoginRefused, ..denied("a", "password") });
        }
        let lost = events.untold();
        events.tell_access(denied("a", "key"));
        events.tell_access(denied("b", STRANGER));
        for kind in [Access::Login, Access::SessionEnded, Access::RulesChanged, Access::ConnectionRefused] {
            events.tell_access(AccessEvent { kind, ..denied("a", "") });
        }
        assert_eq!((events.untold(), lost), (lost, 2 * NOTICES as u64));
        assert_eq!(events.take().len(), 2 * NOTICES + 6);
        assert_eq!(Access::RulesChanged.purse(""), PURSES - 2, "each has one");
    }

    #[test]
    fn a_node_is_told_down_once_and_up_once() {
        let events = Events::new().unwrap();
        let down = |names: &[&str]| {
            let why = "refused".to_owned();
            let found: Down = names.iter().map(|name| (("c".to_owned(), (*name).to_owned()), why.clone())).collect();
            let tell = |event| match event {
                Event::NodeDown(node) => (node.address, node.why.is_some()),
                other => panic!("{other:?}"),
            };
            events.news_of(found).into_iter().map(tell).collect::<Vec<_>>()
        };
        let told = |name: &str, is_down| (name.to_owned(), is_down);
        assert_eq!(down(&["a", "b"]), [told("a", true), told("b", true)]);
        assert_eq!(down(&["a", "b"]), []);
        assert_eq!(down(&["b", "c"]), [told("a", false), told("c", true)]);
        assert_eq!(down(&[]), [told("b", false), told("c", false)]);
    }
}
