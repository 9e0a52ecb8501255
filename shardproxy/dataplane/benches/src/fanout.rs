//! Pub/sub: one publisher, many subscribers of one channel, deliveries counted and checked to be whole and in order.
//!
//! At most `pipeline` messages are on their way to the slowest subscriber, so nobody is cut off for being slow and
//! a lost message is seen: the run stands still and says so.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::args::Args;
use crate::cpu::{self, Watch};
use crate::histogram::Histogram;
use crate::json::Object;
use crate::load::{address, seconds};
use crate::reply::resp::{bulk, elements, frame};
use crate::workload::command;

const STALLED: Duration = Duration::from_secs(5); // without any delivery: the server lost a message
const STAMP: usize = 24; // message: 8 hex digits of its number, 16 of its time

#[derive(Clone, Debug)]
pub struct Plan {
    pub address: SocketAddr,
    pub subscribers: usize,
    pub window: u64,
    pub message_size: usize,
    pub duration: Duration,
    pub channel: String,
    pub watches: Vec<Watch>,
}

#[derive(Debug)]
pub struct Report {
    pub elapsed: Duration,
    pub published: u64,
    pub deliveries: u64,
    pub latency: Histogram,
    pub cpu: Vec<(String, Duration)>,
}

impl Plan {
    pub fn from_args(args: &Args) -> Result<Self, String> {
        Ok(Self {
            address: address(args)?,
            subscribers: args.get_or("connections", 50)?,
            window: args.get_or("pipeline", 16)?,
            message_size: args.get_or("value-size", 32)?.max(STAMP),
            duration: seconds(args, "duration", 5.0)?,
            channel: args.get_or("channel", "bench".to_owned())?,
            watches: args.all("watch").map(Watch::parse).collect::<Result<_, _>>()?,
        })
    }
}

struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
    filled: usize,
    /// Messages seen by a subscriber, replies seen by the publisher.
    seen: u64,
}

pub fn run(plan: &Plan) -> io::Result<Report> {
    let mut poll = Poll::new()?;
    let mut publisher = Peer::open(plan.address)?;
    let mut subscribers = Vec::with_capacity(plan.subscribers);
    for number in 0..plan.subscribers {
        let mut peer = Peer::open(plan.address)?;
        peer.subscribe(&plan.channel)?;
        poll.registry().register(&mut peer.stream, Token(number), Interest::READABLE)?;
        subscribers.push(peer);
    }
    poll.registry().register(&mut publisher.stream, Token(plan.subscribers), Interest::READABLE)?;

    let start = Instant::now();
    let before = readings(&plan.watches)?;
    let mut report =
        Report { elapsed: Duration::ZERO, published: 0, deliveries: 0, latency: Histogram::default(), cpu: vec![] };
    let (mut complete, mut last_delivery, mut out) = (0, start, Vec::new());
    let mut events = Events::with_capacity(1024);
    loop {
        let now = start.elapsed();
        while now < plan.duration && report.published < complete + plan.window {
            let mut message = format!("{:08x}{:016x}", report.published, now.as_nanos() as u64).into_bytes();
            message.resize(plan.message_size, b'x');
            out.extend_from_slice(&command(&[b"PUBLISH", plan.channel.as_bytes(), &message]));
            report.published += 1;
        }
        publisher.send(&mut out)?;
        if now >= plan.duration && complete == report.published {
            break;
        }
        if last_delivery.elapsed() > STALLED {
            return Err(io::Error::other(format!(
                "no delivery for {STALLED:?}: {complete} of {} arrived",
                report.published
            )));
        }
        poll.poll(&mut events, Some(Duration::from_millis(20)))?;
        for event in &events {
            match subscribers.get_mut(event.token().0) {
                Some(peer) => report.deliveries += peer.messages(plan, start, &mut report.latency)?,
                None => publisher.receivers(plan.subscribers)?,
            }
            last_delivery = Instant::now();
        }
        complete = subscribers.iter().map(|s| s.seen).min().unwrap_or(0).min(publisher.seen);
    }
    report.elapsed = start.elapsed();
    let after = readings(&plan.watches)?;
    report.cpu =
        after.into_iter().zip(before).map(|((label, end), (_, begin))| (label, end.saturating_sub(begin))).collect();
    Ok(report)
}

fn readings(watches: &[Watch]) -> io::Result<Vec<(String, Duration)>> {
    let mut all = watches.iter().map(|w| Ok((w.label.clone(), w.read()?))).collect::<io::Result<Vec<_>>>()?;
    all.push(("load".to_owned(), cpu::own()));
    Ok(all)
}

impl Peer {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream: TcpStream::from_std(stream), input: vec![0; 64 * 1024], filled: 0, seen: 0 })
    }

    fn subscribe(&mut self, channel: &str) -> io::Result<()> {
        let mut out = command(&[b"SUBSCRIBE", channel.as_bytes()]);
        self.send(&mut out)?;
        let deadline = Instant::now() + STALLED;
        let mut confirmed = false;
        while !confirmed {
            if Instant::now() > deadline {
                return Err(io::Error::new(ErrorKind::TimedOut, "SUBSCRIBE was not answered"));
            }
            self.read(|value| {
                confirmed = elements(value).next().and_then(bulk) == Some(b"subscribe");
                if confirmed {
                    Ok(())
                } else {
                    Err(unexpected("SUBSCRIBE", value))
                }
            })?;
            std::thread::yield_now();
        }
        Ok(())
    }

    fn send(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        while !out.is_empty() {
            match self.stream.write(out) {
                Ok(count) => drop(out.drain(..count)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break, // again in the next turn
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Give every whole value that is there to `take`.
    fn read(&mut self, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        loop {
            let got = match self.stream.read(&mut self.input[self.filled..]) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(got) => got,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            self.filled += got;
            let mut at = 0;
            while at < self.filled {
                let bytes = &self.input[at..self.filled];
                match frame(bytes) {
                    Ok(Some(length)) => take(&bytes[..length])?,
                    Ok(None) => break,
                    Err(_) => return Err(unexpected("framing", bytes)),
                }
                at += frame(bytes).ok().flatten().unwrap_or(0);
            }
            self.input.copy_within(at..self.filled, 0);
            self.filled -= at;
        }
    }

    fn messages(&mut self, plan: &Plan, start: Instant, latency: &mut Histogram) -> io::Result<u64> {
        let (first, mut seen) = (self.seen, self.seen);
        self.read(|value| {
            let mut parts = elements(value).map(|e| bulk(e).unwrap_or_default());
            let (kind, channel, message) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
            let stamp = message.get(..STAMP).and_then(|s| std::str::from_utf8(s).ok()).unwrap_or("");
            let number = stamp.get(..8).and_then(|s| u64::from_str_radix(s, 16).ok());
            let sent = stamp.get(8..).and_then(|s| u64::from_str_radix(s, 16).ok());
            let (Some(sent), true) = (sent, number == Some(seen & 0xffff_ffff)) else {
                return Err(unexpected("a message out of order", value));
            };
            if kind != Some(b"message") || channel != Some(plan.channel.as_bytes()) {
                return Err(unexpected("a message", value));
            }
            latency.record((start.elapsed().as_nanos() as u64).saturating_sub(sent));
            seen += 1;
            Ok(())
        })?;
        self.seen = seen;
        Ok(seen - first)
    }

    fn receivers(&mut self, subscribers: usize) -> io::Result<()> {
        let expected = format!(":{subscribers}\r\n");
        let mut seen = self.seen;
        self.read(|value| {
            seen += 1;
            if value[0] == b':' && (value == expected.as_bytes() || subscribers > 0) {
                Ok(())
            } else {
                Err(unexpected("PUBLISH", value))
            }
        })?;
        self.seen = seen;
        Ok(())
    }
}

fn unexpected(what: &str, bytes: &[u8]) -> io::Error {
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
    io::Error::new(ErrorKind::InvalidData, format!("{what}: unexpected {shown:?}"))
}

impl Report {
    pub fn to_json(&self, plan: &Plan) -> String {
        let seconds = self.elapsed.as_secs_f64();
        let us = |ns: u64| ns as f64 / 1000.0;
        let mut cpu = Object::default();
        for (label, used) in &self.cpu {
            cpu = cpu.number(label, used.as_secs_f64() * 1e6 / self.deliveries.max(1) as f64);
        }
        let latency = Object::default()
            .number("mean", self.latency.mean() / 1000.0)
            .number("p50", us(self.latency.percentile(0.5)))
            .number("p99", us(self.latency.percentile(0.99)))
            .number("p99_9", us(self.latency.percentile(0.999)))
            .number("max", us(self.latency.max()));
        Object::default()
            .string("workload", "fanout")
            .integer("subscribers", plan.subscribers as u64)
            .integer("window", plan.window)
            .number("seconds", seconds)
            .integer("published", self.published)
            .integer("deliveries", self.deliveries)
            .number("deliveries_per_second", self.deliveries as f64 / seconds)
            .object("latency_us", latency)
            .object("cpu_us_per_delivery", cpu)
            .finish()
    }
}
