//! One worker on the present thread, turned by hand, and the sockets of its nodes. Only this file knows the worker.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mio::net::{UnixListener, UnixStream};
use mio::Events;

use super::spec::MOST_NODES;
use super::watch::{Flag, Watch};
use crate::clients::Seats;
use crate::command::CommandTable;
use crate::metrics::CloseReason;
use crate::model::{Cluster, EndpointKind};
use crate::net::{Resolver, Stream};
use crate::shared::{Event, Paused, Ruled, Shared};
use crate::worker::{Arrived, Chore, Mailbox, Message, Sums, Worker};

const TABLE: &[u8] = include_bytes!("../../../commands/table.json");

fn table() -> Arc<CommandTable> {
    static PARSED: OnceLock<Arc<CommandTable>> = OnceLock::new();
    PARSED.get_or_init(|| Arc::new(CommandTable::from_json(TABLE).expect("the table is valid"))).clone()
}

pub struct Rig {
    shared: Arc<Shared>,
    mailbox: Arc<Mailbox>,
    seats: Arc<Seats>,
    worker: Worker,
    events: Events,
    now: Instant,
    /// How many connects there were at the last look, and before it.
    connects: [u64; 2],
}

impl Rig {
    pub fn start(buffers: usize) -> Self {
        let shared = Shared::new(1, table(), buffers, Resolver::idle()).expect("an eventfd");
        let shared = Arc::new(shared);
        let (mailbox, seats) = (Arc::new(Mailbox::default()), Arc::new(Seats::new(1)));
        let worker = Worker::new(0, &shared, mailbox.clone()).expect("an epoll");
        Self {
            shared,
            mailbox,
            seats,
            worker,
            events: Events::with_capacity(256),
            now: Instant::now(),
            connects: [0; 2],
        }
    }

    fn send(&self, message: Message) {
        self.mailbox.send(message);
    }

    /// Serve the cluster so from now on, or no more.
    pub fn apply(&self, spec: Option<&str>) {
        let ruled = spec.map(|spec| {
            let cluster = Arc::new(Cluster::parse(spec.as_bytes()).expect("the spec is valid"));
            let rights = self.shared.rights_in(&cluster, &self.shared.table(), None).expect("the users are valid");
            Ruled { cluster, rights }
        });
        self.send(Message::Apply { index: 0, ruled, applied: sync_channel(1).0 });
    }

    /// A new client, and its end of the connection.
    pub fn connect(&self, id: u64, is_reader: bool, narrow: bool) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        if narrow {
            let _ = socket2::SockRef::from(&theirs).set_send_buffer_size(0); // the least there is
        }
        let seat = self.seats.deal(0, 0).expect("there is no limit");
        let stream = Stream::Unix(theirs);
        let (endpoint, address) =
            if is_reader { (EndpointKind::Reader, "unix:/r") } else { (EndpointKind::Configuration, "unix:/c") };
        let (address, is_balanced, speaks_tls) = (address.into(), false, false);
        let arrived =
            Arrived { stream, id, cluster: 0, endpoint, address, is_balanced, speaks_tls, seat, passage: None };
        self.send(Message::Accepted(arrived));
        ours
    }

    pub fn turn(&mut self) {
        self.now += Duration::from_micros(50);
        self.worker.turn_at(&mut self.events, self.now).expect("a turn");
    }

    pub fn is_busy(&self) -> bool {
        self.worker.is_busy()
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    pub fn sums(&self) -> Sums {
        self.worker.sums()
    }

    /// So many clients were closed for this reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.shared.metrics.cluster("c", 0).closed[reason as usize].get()
    }

    /// So many clients count as blocked.
    pub fn blocked(&self) -> u64 {
        self.shared.metrics.cluster("c", 0).blocked.get()
    }

    pub fn is_at_rest(&self) -> bool {
        self.worker.is_at_rest()
    }

    pub fn client_count(&self) -> usize {
        self.worker.client_count()
    }

    pub fn describe(&self) -> String {
        self.worker.describe()
    }

    /// Whether connections to nodes were opened in the last two turns.
    pub fn has_connected(&mut self) -> bool {
        let now = self.shared.next_attempt.load(Relaxed);
        let before = self.connects[1];
        self.connects = [now, self.connects[0]];
        now != before
    }

    pub fn narrow_links(&self) {
        self.worker.narrow_links(0);
    }

    pub fn events(&self) -> Vec<Event> {
        self.shared.events.take()
    }

    pub fn answer(&self, token: u64, reply: Vec<u8>) {
        self.send(Message::Answer { token, reply });
    }

    pub fn pass_on(&self, token: u64) {
        self.send(Message::PassOn { token, absent: None });
    }

    pub fn retry(&self, token: u64) {
        self.send(Message::Retry { token });
    }

    pub fn kill(&self, id: u64) {
        self.send(Message::Chore(Chore::kill(Arc::new([id]), sync_channel(1).0)));
    }

    pub fn drain(&self) {
        self.send(Message::Drain(Duration::ZERO));
    }

    /// CLIENT PAUSE, or its end.
    pub fn pause(&self, time: Duration, only_writes: bool) {
        let what = if only_writes { Paused::Writes } else { Paused::All };
        if time.is_zero() {
            return self.shared.pauses.end(0);
        }
        let (now, until) = (self.shared.millis(self.now), self.shared.millis(self.now + time));
        self.shared.pauses.set(0, now, until, what, HashMap::new());
    }

    /// A node is known to be only busy for so long, or no more.
    pub fn spare(&self, node: &str, time: Duration) {
        self.shared.metrics.spare("c", node, self.shared.millis(self.now + time));
    }

    pub fn unblock(&self, client: u64, with_error: bool) {
        self.send(Message::Unblock { client, with_error, unblocked: sync_channel(1).0 });
    }
}

/// Where nodes listen: sockets that serve one world after the other.
pub struct Doors {
    directory: PathBuf,
    listeners: Vec<(UnixListener, Flag)>,
    is_open: [bool; MOST_NODES],
    watch: Watch,
}

thread_local! {
    static DOORS: RefCell<Option<Doors>> = const { RefCell::new(None) };
}

impl Doors {
    fn open() -> io::Result<Self> {
        let name = format!("shardproxy-simulation-{}-{:?}", std::process::id(), std::thread::current().id());
        let directory = std::env::temp_dir().join(name.replace(['(', ')'], "-"));
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory)?;
        let mut watch = Watch::new();
        let mut listeners = Vec::new();
        for node in 0..MOST_NODES {
            let mut listener = UnixListener::bind(directory.join(node.to_string()))?;
            let flag = watch.add(&mut listener);
            listeners.push((listener, flag));
        }
        Ok(Self { directory, listeners, is_open: [true; MOST_NODES], watch })
    }

    /// Those of this thread, all open and with nobody before them.
    pub fn take() -> Self {
        let mut doors = DOORS.with(RefCell::take).unwrap_or_else(|| Self::open().expect("unix sockets"));
        for node in 0..MOST_NODES {
            doors.set_open(node, true);
            doors.listeners[node].1.set(true);
            while doors.accept(node).is_some() {}
        }
        doors.watch.truncate(MOST_NODES);
        doors
    }

    /// Leave them to the next world.
    pub fn give_back(self) {
        DOORS.with(|doors| doors.replace(Some(self)));
    }

    pub fn address(&self, node: usize) -> String {
        format!("unix:{}", self.directory.join(node.to_string()).display())
    }

    /// Tell a stream's flag when there is something to read.
    pub fn watch(&mut self, stream: &mut UnixStream) -> Flag {
        self.watch.add(stream)
    }

    pub fn look(&mut self) {
        self.watch.look();
    }

    pub fn accept(&self, node: usize) -> Option<UnixStream> {
        let (listener, flag) = &self.listeners[node];
        if !flag.get() {
            return None;
        }
        let Ok((stream, _)) = listener.accept() else {
            flag.set(false);
            return None;
        };
        Some(stream)
    }

    /// Whether it can be connected to.
    pub fn set_open(&mut self, node: usize, is_open: bool) {
        if std::mem::replace(&mut self.is_open[node], is_open) == is_open {
            return;
        }
        let (open, shut) = (self.directory.join(node.to_string()), self.directory.join(format!("{node}-shut")));
        let _ = if is_open { std::fs::rename(shut, open) } else { std::fs::rename(open, shut) };
    }
}

impl Drop for Doors {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
