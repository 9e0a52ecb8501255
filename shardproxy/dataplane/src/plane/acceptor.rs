//! One thread accepts for all endpoints and deals clients to the worker with the fewest.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};

use crate::clients::{Passage, Seats};
use crate::dialect::{memcached, texts};
use crate::model::{is_balancer, EndpointKind, EngineKind, Entrance, Inbound};
use crate::net::{is_out_of_descriptors, lacks_descriptors, Address, Inherited, Listener, Passing, Stream};
use crate::shared::{Access, AccessEvent, Refusal, Shared};
use crate::sync::lock;
use crate::worker::{Arrived, Mailbox, Message};

const WAKE: Token = Token(usize::MAX);
const BEFORE: Token = Token(usize::MAX - 1);
/// Out of file descriptors: wait so long before the next try.
const EXHAUSTED: Duration = Duration::from_millis(50);

#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    pub cluster: usize,
    pub kind: EndpointKind,
    pub address: Arc<str>,
}

enum Order {
    Listen { key: EndpointKey, token: usize, listener: Listener },
    Close(usize),
    Drain(Duration),
    PassTo(Arc<Passing>),
    TakeOver(Passing),
    Stop,
}

struct Open {
    token: usize,
    bound: String,
    /// The same as the listener has, to be passed on.
    socket: Option<OwnedFd>,
}

pub struct Acceptor {
    open: Mutex<HashMap<EndpointKey, Open>>,
    /// Sockets that listen already, by the addresses they are for.
    inherited: Mutex<HashMap<String, Inherited>>,
    orders: Arc<Mutex<Vec<Order>>>,
    waker: Waker,
    next_token: AtomicU64,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Listeners that are bound but not served yet, and endpoints that will close.
pub struct Prepared {
    opened: Vec<(EndpointKey, Listener)>,
    kept: Vec<EndpointKey>,
    closed: Vec<EndpointKey>,
}

impl Acceptor {
    pub fn start(shared: Arc<Shared>, mailboxes: Arc<[Arc<Mailbox>]>, seats: Arc<Seats>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let orders: Arc<Mutex<Vec<Order>>> = Arc::default();
        let mut run = Run {
            poll,
            orders: orders.clone(),
            listeners: HashMap::new(),
            shared,
            mailboxes,
            seats,
            is_exhausted: false,
            before: None,
        };
        let thread = thread::Builder::new().name("shardproxy-accept".into()).spawn(move || run.run())?;
        Ok(Self {
            open: Mutex::default(),
            inherited: Mutex::default(),
            orders,
            waker,
            next_token: AtomicU64::new(0),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Bind what is new for a cluster. Nothing listens before `commit`; on an error all that was bound is let go.
    pub fn prepare(&self, cluster: usize, wanted: &[(EndpointKey, Address)]) -> Result<Prepared, (String, io::Error)> {
        let open = lock(&self.open);
        let mut prepared = Prepared { opened: Vec::new(), kept: Vec::new(), closed: Vec::new() };
        for (key, address) in wanted {
            if open.contains_key(key) {
                prepared.kept.push(key.clone());
            } else {
                let listener =
                    self.listener(&key.address, address).map_err(|error| (key.address.to_string(), error))?;
                prepared.opened.push((key.clone(), listener));
            }
        }
        let is_wanted = |key: &EndpointKey| wanted.iter().any(|(k, _)| k == key);
        prepared.closed = open.keys().filter(|k| k.cluster == cluster && !is_wanted(k)).cloned().collect();
        Ok(prepared)
    }

    /// Use this socket, which listens already, for an endpoint with that address. It closes with that, unless it is kept.
    pub fn inherit(&self, address: String, inherited: Inherited) {
        lock(&self.inherited).insert(address, inherited);
    }

    fn listener(&self, key: &str, address: &Address) -> io::Result<Listener> {
        let mut inherited = lock(&self.inherited);
        let Some(known) = inherited.get(key) else { return Listener::bind(address) };
        let is_kept = known.is_kept;
        let listener = Listener::inherit(known.socket.try_clone()?, is_kept)?;
        if !is_kept {
            inherited.remove(key);
        }
        Ok(listener)
    }

    /// The sockets that listen: cluster, kind and address of each endpoint.
    pub fn sockets(&self) -> io::Result<Vec<(EndpointKey, OwnedFd)>> {
        let open = lock(&self.open);
        let sockets = open.iter().filter_map(|(key, open)| Some((key.clone(), open.socket.as_ref()?)));
        sockets.map(|(key, socket)| Ok((key, socket.try_clone()?))).collect()
    }

    /// Serve what was prepared; the configured and bound address of every endpoint of the cluster.
    pub fn commit(&self, prepared: Prepared) -> Vec<(String, String)> {
        let mut open = lock(&self.open);
        let mut result = Vec::new();
        for key in prepared.kept {
            if let Some(entry) = open.get(&key) {
                result.push((key.address.to_string(), entry.bound.clone()));
            }
        }
        for key in prepared.closed {
            if let Some(entry) = open.remove(&key) {
                self.order(Order::Close(entry.token));
            }
        }
        for (key, listener) in prepared.opened {
            let bound = listener.address().map_or_else(|_| key.address.to_string(), |a| a.to_string());
            let token = self.next_token.fetch_add(1, Relaxed) as usize;
            result.push((key.address.to_string(), bound.clone()));
            open.insert(key.clone(), Open { token, bound, socket: listener.socket().ok() });
            self.order(Order::Listen { key, token, listener });
        }
        result
    }

    pub fn close(&self, cluster: usize) {
        let mut open = lock(&self.open);
        let tokens: Vec<usize> = open.iter().filter(|(k, _)| k.cluster == cluster).map(|(_, o)| o.token).collect();
        open.retain(|key, _| key.cluster != cluster);
        for token in tokens {
            self.order(Order::Close(token));
        }
    }

    /// Close every endpoint, and have the workers drain after that: whoever sees its connection end can open no other.
    pub fn drain(&self, grace: Duration) {
        self.let_go();
        self.order(Order::Drain(grace));
    }

    /// Leave endpoints and clients to another process.
    pub fn pass_to(&self, heir: Passing) {
        self.let_go();
        self.order(Order::PassTo(Arc::new(heir)));
    }

    /// Take on what another process passes on.
    pub fn take_over(&self, from: Passing) {
        self.order(Order::TakeOver(from));
    }

    fn let_go(&self) {
        lock(&self.open).clear();
        lock(&self.inherited).clear();
    }

    pub fn stop(&self) {
        self.let_go();
        self.order(Order::Stop);
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }

    fn order(&self, order: Order) {
        lock(&self.orders).push(order);
        let _ = self.waker.wake();
    }
}

/// The thread's own part.
struct Run {
    poll: Poll,
    orders: Arc<Mutex<Vec<Order>>>,
    listeners: HashMap<usize, (EndpointKey, Listener)>,
    shared: Arc<Shared>,
    mailboxes: Arc<[Arc<Mailbox>]>,
    seats: Arc<Seats>,
    is_exhausted: bool,
    /// A process that passes its clients on.
    before: Option<Passing>,
}

impl Run {
    fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            let wait = self.is_exhausted.then_some(EXHAUSTED);
            if let Err(error) = self.poll.poll(&mut events, wait) {
                if error.kind() != io::ErrorKind::Interrupted {
                    thread::sleep(EXHAUSTED);
                }
                continue;
            }
            if self.is_exhausted {
                self.is_exhausted = false;
                let tokens: Vec<usize> = self.listeners.keys().copied().collect();
                for token in tokens {
                    self.accept_all(token);
                }
                self.take_passed();
            }
            for event in &events {
                if event.token() == WAKE {
                    if !self.obey() {
                        return;
                    }
                } else if event.token() == BEFORE {
                    self.take_passed();
                } else {
                    self.accept_all(event.token().0);
                }
            }
        }
    }

    /// Carry out what was ordered; false to stop.
    fn obey(&mut self) -> bool {
        let orders = std::mem::take(&mut *lock(&self.orders));
        for order in orders {
            match order {
                Order::Listen { key, token, mut listener } => {
                    if let Err(error) = listener.register(self.poll.registry(), Token(token)) {
                        eprintln!("shardproxy: cannot watch endpoint {}: {error}", key.address);
                    }
                    self.listeners.insert(token, (key, listener));
                    self.accept_all(token); // connections may wait since the bind
                }
                Order::Close(token) => {
                    if let Some((_, mut listener)) = self.listeners.remove(&token) {
                        let _ = listener.deregister(self.poll.registry());
                    }
                }
                Order::Drain(grace) => {
                    self.close_all(false);
                    self.mailboxes.iter().for_each(|mailbox| mailbox.send(Message::Drain(grace)));
                }
                Order::PassTo(heir) => {
                    self.close_all(true);
                    self.mailboxes.iter().for_each(|mailbox| mailbox.send(Message::PassTo(heir.clone())));
                }
                Order::TakeOver(mut from) => {
                    if let Err(error) = from.register(self.poll.registry(), BEFORE) {
                        eprintln!("shardproxy: cannot take clients over: {error}");
                    }
                    self.before = Some(from);
                    self.take_passed();
                }
                Order::Stop => return false,
            }
        }
        true
    }

    /// Nobody is accepted here any more; whoever waits to be is accepted by another process, if the sockets are left to it.
    fn close_all(&mut self, is_left: bool) {
        for (_, (_, mut listener)) in self.listeners.drain() {
            let _ = listener.deregister(self.poll.registry());
            if is_left {
                listener.leave();
            }
        }
        self.shared.is_draining.store(true, SeqCst);
    }

    /// Take on the clients that come from another process.
    fn take_passed(&mut self) {
        while let Some(before) = &self.before {
            if is_out_of_descriptors() {
                self.shared.lack("a client that another process passes on".into());
                self.is_exhausted = true; // it waits in the socket
                return;
            }
            match before.receive() {
                Ok(Some((words, socket))) => match serde_json::from_slice(&words) {
                    Ok(passage) => self.take_on(passage, socket),
                    Err(error) => eprintln!("shardproxy: a client's passage cannot be read, it is closed: {error}"),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    eprintln!("shardproxy: a client that was passed on is lost: {error}");
                }
                Ok(None) | Err(_) => self.before = None, // all have come
            }
        }
    }

    /// It goes on here as it was there, if it is served here too.
    fn take_on(&self, passage: Passage, socket: OwnedFd) {
        let found = self.shared.find(&passage.cluster);
        let Some(((index, cluster), kind)) = found.zip(passage.kind()) else { return };
        let entrance = cluster.entrance(kind, &passage.address);
        let is_as = |entrance: &Entrance| entrance.is_as(false, passage.is_balanced);
        let (Some(_), Ok(stream)) = (entrance.filter(is_as), Stream::passed(socket)) else { return };
        let Some(seat) = self.seats.deal(index, cluster.spec.limits.clients) else {
            return self.shared.refuse((index, kind), Refusal::Limit, refused(Refusal::Limit, passage.source));
        };
        let worker = seat.worker();
        self.mailboxes[worker].send(Message::Accepted(Arrived {
            stream,
            id: self.shared.next_client.fetch_add(1, Relaxed),
            cluster: index,
            endpoint: kind,
            address: passage.address.as_str().into(),
            is_balanced: passage.is_balanced,
            speaks_tls: false,
            seat,
            passage: Some(Box::new(passage)),
        }));
    }

    fn accept_all(&mut self, token: usize) {
        let Some((key, listener)) = self.listeners.get(&token) else { return };
        loop {
            let (mut stream, peer) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => continue,
                    _ => {
                        if lacks_descriptors(&error) {
                            self.shared.lack(format!("a client of {}", key.address));
                        }
                        self.is_exhausted = true;
                        return;
                    }
                },
            };
            let cluster = self.shared.cluster(key.cluster);
            let entrance = cluster.as_ref().and_then(|cluster| cluster.entrance(key.kind, &key.address));
            let Some((cluster, entrance)) = cluster.zip(entrance) else {
                continue; // the endpoint is gone, and its listener is about to be
            };
            let at = (key.cluster, key.kind);
            let is_balanced = match admit(&cluster.inbound, key, peer) {
                Ok(is_balanced) => is_balanced,
                Err(why) => {
                    self.shared.refuse(at, why, refused(why, peer));
                    continue; // it is closed without a word
                }
            };
            let speaks_tls = entrance.tls.is_some();
            match self.seats.deal(key.cluster, cluster.spec.limits.clients) {
                Some(seat) => {
                    let worker = seat.worker();
                    let id = self.shared.next_client.fetch_add(1, Relaxed);
                    let EndpointKey { cluster, kind: endpoint, address } = key.clone();
                    let passage = None;
                    let arrived =
                        Arrived { stream, id, cluster, endpoint, address, is_balanced, speaks_tls, seat, passage };
                    self.mailboxes[worker].send(Message::Accepted(arrived));
                }
                None => {
                    self.shared.refuse(at, Refusal::Limit, refused(Refusal::Limit, peer));
                    let is_memcached = cluster.spec.engine == EngineKind::Memcached;
                    let text = if is_memcached { memcached::texts::MAX_CLIENTS } else { texts::MAX_CLIENTS };
                    if !speaks_tls {
                        let _ = stream.write(text); // a handshake to say it costs more than the client it refuses
                    }
                }
            }
        }
    }
}

/// Whether whoever connects from there comes by way of a balancer and says so first; or why it may not connect.
fn admit(inbound: &Inbound, key: &EndpointKey, from: Option<SocketAddr>) -> Result<bool, Refusal> {
    let from = from.map(|from| from.ip());
    match inbound.balancers(key.kind, &key.address) {
        Some(balancers) if is_balancer(balancers, from) => Ok(true), // where its clients are is judged when it has said it
        Some(_) => Err(Refusal::NoBalancer),
        None if inbound.admits(key.kind, from) => Ok(false),
        None => Err(Refusal::SecurityGroup),
    }
}

fn refused(why: Refusal, from: Option<SocketAddr>) -> AccessEvent {
    let address = from.map_or_else(String::new, |from| from.to_string());
    AccessEvent { kind: Access::ConnectionRefused, why: why.name().to_owned(), address, ..AccessEvent::default() }
}
