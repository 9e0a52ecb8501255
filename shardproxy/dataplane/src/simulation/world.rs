//! All there is in one run: the rig, clients, nodes, what the control plane has still to answer. What happens next is
//! the input's choice.

use std::collections::VecDeque;
use std::time::Duration;

use super::answer::How;
use super::client::Client;
use super::input::Input;
use super::ledger::Ledger;
use super::monitor::Monitor;
use super::node::{Connection, Node};
use super::request;
use super::rig::{Doors, Rig};
use super::spec::{Peace, Spec, MOST_NODES};
use super::{token, wire};
use crate::shared::{Event, Offload};

const MOST_CLIENTS: usize = 6;
const MOST_STEPS: usize = 400;
/// Bytes that one client or connection may bring in before anybody looks at the sum.
const UNBOUND: usize = 256 * 1024;
/// The same of a client that monitors: each byte of a request may be four of a line.
const MONITORED: usize = 8 * wire::LONGEST;
/// Bytes that are counted a little later.
const SLACK: usize = 16 * 1024;
/// Replies of these lengths.
const LENGTHS: [usize; 12] = [0, 0, 0, 0, 10, 3000, 3000, 20_000, 20_000, 70_000, 150_000, wire::LONGEST];
/// Values through sockets that take little at a time have no more bytes.
const LONGEST_NARROW: usize = 300_000;
const PIECES: [usize; 8] = [1, 2, 3, 10, 100, 1000, 5000, 60_000];

pub struct World<'a> {
    input: Input<'a>,
    pub rig: Rig,
    doors: Option<Doors>,
    pub spec: Spec,
    pub clients: Vec<Client>,
    pub monitor: Option<Monitor>,
    pub nodes: Vec<Node>,
    pub ledger: Ledger,
    offloads: VecDeque<Offload>,
    tokens: u64,
    ids: u64,
    is_narrow: bool,
    /// At its end the worker closes its clients.
    pub is_drained: bool,
}

impl<'a> World<'a> {
    pub fn begin(bytes: &'a [u8]) -> Self {
        let mut input = Input::new(bytes);
        let spec = Spec::read(&mut input);
        let habits = input.byte();
        let mut nodes: Vec<Node> = (0..MOST_NODES).map(Node::new).collect();
        for node in &mut nodes {
            node.is_diligent = habits & 1 == 1;
        }
        let mut world = Self {
            input,
            rig: Rig::start(spec.buffers),
            doors: Some(Doors::take()),
            spec,
            clients: Vec::new(),
            monitor: None,
            nodes,
            ledger: Ledger::default(),
            offloads: VecDeque::new(),
            tokens: 0,
            ids: 0,
            is_narrow: habits & 2 == 2,
            is_drained: habits & 4 == 4,
        };
        if super::is_traced() {
            eprintln!("{:?}", world.spec);
        }
        world.apply();
        world.open_client();
        world
    }

    /// All steps, and then the end at which nobody may wait any more.
    pub fn play(mut self) {
        for _ in 0..MOST_STEPS {
            if self.input.is_over() {
                break;
            }
            let choice = self.input.byte();
            self.step(choice & 0x3f);
            if choice & 0xc0 != 0xc0 {
                self.turn(); // else more happens before the worker looks
            }
            if super::is_traced() {
                eprintln!("{}", self.rig.describe());
            }
        }
        super::finale::play(&mut self);
        if let Some(doors) = self.doors.take() {
            doors.give_back();
        }
    }

    pub fn turn(&mut self) {
        self.rig.turn();
        if self.is_narrow && self.rig.has_connected() {
            self.rig.narrow_links();
        }
        self.look();
        for client in self.clients.iter_mut().filter(|client| client.is_reading) {
            client.receive(usize::MAX);
        }
        self.clients.retain(|client| !client.is_closed());
        if let Some(monitor) = &mut self.monitor {
            monitor.receive();
        }
        self.monitor = self.monitor.take().filter(|monitor| !monitor.is_closed());
        for number in 0..self.nodes.len() {
            if self.nodes[number].is_diligent {
                self.accept(number);
                self.nodes[number].serve(&mut self.ledger);
            }
        }
        for event in self.rig.events() {
            match event {
                Event::Offloaded(offload) => self.offloads.push_back(offload),
                Event::Abandoned(token) => self.offloads.retain(|waiting| waiting.token != token),
                Event::NodeLost(_)
                | Event::NodeDown(_)
                | Event::ClientDid(_)
                | Event::CacheAged(_)
                | Event::Access(_)
                | Event::OutOfFiles(_) => {}
            }
        }
        self.check();
    }

    fn look(&mut self) {
        if let Some(doors) = &mut self.doors {
            doors.look();
        }
    }

    fn check(&self) {
        let sums = self.rig.sums();
        let most = self.spec.buffers / 16 * 17 + (self.clients.len() + sums.links) * UNBOUND + 2 * wire::LONGEST;
        let most = most + if self.monitor.is_some() { MONITORED } else { 0 };
        let is_bounded = self.spec.buffers == 0 || sums.actual + sums.pooled <= most;
        assert!(is_bounded, "more than limits.buffers: {sums:?}, most {most}\n{}", self.rig.describe());
        // what waits to leave with more is counted when it leaves
        let is_counted = self.rig.is_busy() || sums.actual <= sums.accounted + SLACK;
        assert!(is_counted, "buffers are not accounted: {sums:?}\n{}", self.rig.describe());
        assert_eq!(sums.held, sums.accounted, "the sum of all buffers is not that of its parts");
    }

    pub fn apply(&self) {
        let Some(doors) = &self.doors else { return };
        let spec = self.spec.is_served.then(|| self.spec.json(|node| doors.address(node)));
        self.rig.apply(spec.as_deref());
    }

    fn open_client(&mut self) {
        if self.clients.len() < MOST_CLIENTS {
            self.ids += 1;
            let is_reader = self.ids % 4 == 3 && self.spec.has_reader && !self.spec.is_memcached;
            let mut stream = self.rig.connect(self.ids, is_reader, self.is_narrow);
            let Some(doors) = &mut self.doors else { return };
            let flag = doors.watch(&mut stream);
            let mut client = Client::new(self.ids, stream, flag, self.spec.is_memcached);
            client.session.longest = self.longest();
            client.session.is_quiet = self.spec.buffers == 0;
            client.session.is_peaceful = self.spec.peace == Peace::Full && !is_reader;
            self.clients.push(client);
        }
    }

    /// A client that monitors comes, or goes.
    fn monitor(&mut self) {
        if self.monitor.take().is_none() && !self.spec.is_memcached {
            self.ids += 1;
            self.monitor = Some(Monitor::new(self.rig.connect(self.ids, false, false)));
        }
    }

    pub fn accept(&mut self, number: usize) {
        let Some(doors) = &mut self.doors else { return };
        while let Some(mut stream) = doors.accept(number) {
            let flag = doors.watch(&mut stream);
            doors.look(); // it may have been closed already
            self.nodes[number].accept(stream, flag, self.spec.is_memcached);
        }
    }

    pub fn open(&mut self, number: usize, is_open: bool) {
        let Some(doors) = &mut self.doors else { return };
        if self.nodes[number].is_open != is_open {
            doors.set_open(number, is_open);
            self.nodes[number].is_open = is_open;
        }
    }

    /// A node of a shard.
    fn pick_node(&mut self) -> usize {
        let nodes = self.spec.nodes(&mut self.input);
        nodes[self.input.below(nodes.len())]
    }

    fn step(&mut self, choice: u8) {
        if super::is_traced() {
            eprintln!("step {choice}: {}", what(choice));
        }
        if self.spec.peace == Peace::Full && is_trouble(choice) {
            return self.serve_all();
        }
        match choice {
            0 | 1 => self.open_client(),
            2..=17 => self.with_client(choice),
            18..=43 => self.with_connection(choice),
            44 => {
                if self.spec.change(&mut self.input) {
                    self.ledger.forget_order(); // what is under way where they were may come after what is sent now
                }
                self.apply();
            }
            45..=49 => {
                let milliseconds = self.input.pick(&[1, 20, 100, 110, 350, 1000, 2500, 6000]);
                if self.spec.peace == Peace::Full {
                    self.serve_all();
                    self.turn();
                    self.serve_all();
                    self.turn();
                }
                let most = if self.spec.peace == Peace::Full { 110 } else { milliseconds };
                self.rig.pass(Duration::from_millis(milliseconds.min(most)));
            }
            50..=52 => self.answer_offload(),
            53 => {
                let number = self.pick_node();
                let is_open = self.nodes[number].is_open;
                self.open(number, !is_open);
            }
            54 | 55 => {
                let number = self.pick_node();
                self.nodes[number].is_diligent = !self.nodes[number].is_diligent;
            }
            56 => {
                let number = self.pick_node();
                self.accept(number);
                self.nodes[number].connections.iter_mut().for_each(Connection::close);
                self.nodes[number].bury(&mut self.ledger);
            }
            57 => {
                let (most, only_writes) = (self.input.pick(&[0, 150, 500]), self.input.once_in(2));
                self.rig.pause(Duration::from_millis(most), only_writes);
            }
            58 => {
                if let Some(id) = self.pick_client().map(|client| client.id) {
                    self.rig.kill(id);
                }
            }
            59 => {
                let with_error = self.input.once_in(2);
                if let Some(id) = self.pick_client().map(|client| client.id) {
                    self.rig.unblock(id, with_error);
                }
            }
            60 => {
                let number = self.pick_node();
                let (doors, seconds) = (&self.doors, self.input.pick(&[0, 300, 3000]));
                if let Some(doors) = doors {
                    self.rig.spare(&doors.address(number), Duration::from_millis(seconds));
                }
            }
            61 => self.monitor(),
            _ => self.serve_all(),
        }
    }

    const fn longest(&self) -> usize {
        if self.is_narrow {
            LONGEST_NARROW
        } else {
            wire::LONGEST
        }
    }

    fn serve_all(&mut self) {
        for number in 0..self.nodes.len() {
            self.accept(number);
            self.nodes[number].serve(&mut self.ledger);
        }
    }

    fn pick_client(&mut self) -> Option<&mut Client> {
        let count = self.clients.len();
        let at = self.input.below(count);
        self.clients.get_mut(at)
    }

    fn with_client(&mut self, choice: u8) {
        let at = self.input.below(self.clients.len());
        let Some(client) = self.clients.get_mut(at) else { return self.open_client() };
        match choice {
            2..=11 => {
                let count = if choice < 9 { 1 } else { self.input.below(12) + 1 };
                for _ in 0..count {
                    let made = if self.spec.is_memcached {
                        request::memcached(&mut client.session, &mut self.input, &mut self.tokens)
                    } else {
                        request::redis(&mut client.session, &mut self.input, &mut self.tokens)
                    };
                    if super::is_traced() {
                        let start = String::from_utf8_lossy(&made.bytes[..made.bytes.len().min(100)]).into_owned();
                        eprintln!("  client {} asks {start:?}", client.id);
                    }
                    if !self.spec.is_memcached {
                        self.ledger.asks(self.tokens, client.id); // keys of a memcached node that is down go elsewhere
                    }
                    client.ask(made);
                }
                let most = if choice == 8 || choice == 11 { self.input.pick(&PIECES) } else { usize::MAX };
                client.send(most);
            }
            12 => client.send(self.input.pick(&PIECES)),
            13 => client.is_reading = !client.is_reading,
            14 => client.receive(self.input.pick(&PIECES)),
            15 => client.half_close(),
            16 if self.input.once_in(2) => client.close(),
            _ => client.send(usize::MAX),
        }
        self.clients.retain(|client| !client.is_closed());
    }

    fn with_connection(&mut self, choice: u8) {
        let number = self.pick_node();
        self.accept(number);
        let longest = self.longest();
        let Self { nodes, input, ledger, .. } = self;
        let node = &mut nodes[number];
        let at = input.below(node.connections.len());
        let Some(connection) = node.connections.get_mut(at) else { return };
        let how = match choice {
            18..=20 => Some(How::Proper(0)),
            21..=23 => Some(How::Proper(input.pick(&LENGTHS).min(longest))),
            24 | 25 => Some(How::Refusal(input.below(6))),
            26 => Some(How::Error),
            27 => Some(How::Miss),
            _ => None,
        };
        if let Some(how) = how {
            connection.read(usize::MAX);
            for _ in 0..=input.below(4) {
                connection.answer(&how, ledger);
            }
            let most = if input.once_in(3) { input.pick(&PIECES) } else { usize::MAX };
            connection.send(most);
        }
        match choice {
            28 | 29 => connection.read(input.pick(&PIECES)),
            30 | 31 => connection.send(input.pick(&PIECES)),
            32 => connection.send(usize::MAX),
            33..=35 => {
                connection.answer_ahead();
                connection.send(usize::MAX);
            }
            36 => {
                connection.say_nonsense(input.below(4));
                connection.send(usize::MAX);
            }
            37 => {
                connection.say_unasked();
                connection.send(usize::MAX);
            }
            38 => connection.close(),
            39 | 40 => {
                connection.unblock(input.below(3), ledger);
                connection.send(usize::MAX);
            }
            41..=43 => {
                connection.publish(input.below(4), ledger);
                connection.send(if choice == 43 { input.pick(&PIECES) } else { usize::MAX });
            }
            _ => {}
        }
        node.bury(ledger);
    }

    fn answer_offload(&mut self) {
        let Some(offload) = self.offloads.pop_front() else { return };
        let kind = self.input.below(if self.spec.peace == Peace::Full { 3 } else { 5 });
        if kind == 4 && !offload.is_known {
            return self.rig.retry(offload.token);
        }
        self.answer(&offload, kind == 3);
    }

    pub fn answer_offloads(&mut self) {
        while let Some(offload) = self.offloads.pop_front() {
            self.answer(&offload, false);
        }
    }

    /// As the control plane would.
    fn answer(&self, offload: &Offload, with_error: bool) {
        if offload.rule.is_some() {
            let error: &[u8] = if self.spec.is_memcached { b"SERVER_ERROR no\r\n" } else { b"-LOADER no\r\n" };
            return if with_error {
                self.rig.answer(offload.token, error.to_vec());
            } else {
                self.rig.pass_on(offload.token);
            };
        }
        let own = offload.arguments.iter().find_map(|argument| token::first(argument)).unwrap_or(0);
        let text = token::text(own);
        let word = String::from_utf8_lossy(&offload.arguments[0]).to_uppercase();
        let reply = match word.as_str() {
            _ if with_error => format!("-ERR no {}\r\n", if own == 0 { "" } else { &text }).into_bytes(),
            "KEYS" | "CONFIG" => wire::command(&[text]),
            "SCRIPT" => wire::bulk_of(request::DIGEST.as_bytes()),
            "FLUSHALL" => b"+OK\r\n".to_vec(),
            "WAIT" => b":1\r\n".to_vec(),
            "CLIENT" | "INFO" => wire::bulk_of(b"x"),
            _ => wire::bulk_of(text.as_bytes()),
        };
        self.rig.answer(offload.token, reply);
    }

    pub fn has_offloads(&self) -> bool {
        !self.offloads.is_empty()
    }

    pub fn describe(&self) -> String {
        let clients: String = self.clients.iter().map(Client::describe).collect();
        let nodes: String = self.nodes.iter().map(Node::describe).collect();
        format!("{:?}\n{clients}{nodes}{}", self.spec, self.rig.describe())
    }
}

/// What does not happen in peace.
const fn is_trouble(choice: u8) -> bool {
    matches!(choice, 24..=27 | 33..=38 | 44 | 53 | 56..=58)
}

const fn what(choice: u8) -> &'static str {
    match choice {
        0 | 1 => "a client comes",
        2..=11 => "a client asks",
        12 => "a client sends some",
        13 => "a client reads, or no more",
        14 => "a client reads some",
        15 => "a client half closes",
        16 => "a client closes or sends all",
        17 => "a client sends all",
        18..=23 => "a node answers",
        24 | 25 => "a node refuses",
        26 | 27 => "a node says no",
        28 | 29 => "a node reads some",
        30..=32 => "a node sends some",
        33..=35 => "a node answers ahead",
        36 | 37 => "a node says what it should not",
        38 => "a node closes a connection",
        39 | 40 => "a node unblocks",
        41..=43 => "a message is published",
        44 => "an epoch",
        45..=49 => "time passes",
        50..=52 => "the control plane answers",
        53 => "a node opens or shuts",
        54 | 55 => "a node becomes diligent or not",
        56 => "a node closes all connections",
        57 => "CLIENT PAUSE",
        58 => "CLIENT KILL",
        59 => "CLIENT UNBLOCK",
        60 => "a node is known to be busy",
        61 => "a client monitors, or no more",
        _ => "all nodes serve",
    }
}
