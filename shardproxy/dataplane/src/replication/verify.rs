//! Whether the targets have what the source has, while nothing changes: a sample key by key, and names where time allows.
//!
//! Equal values may be dumped differently, in the order their elements came: what differs is compared by its elements.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::keys::Key;
use super::node::{Node, NodeError};
use super::plan::Plan;
use super::sample::Sample;
use super::value::Value;

/// Keys compared at once.
const AT_ONCE: usize = 64;
/// At first, until it is known how long so many take.
const FEW: usize = 8;
/// Elements, or bytes of a string, up to which values are compared; of larger ones how many there are.
const SMALL: i64 = 256;
const SMALL_STRING: i64 = 16 * 1024;
/// So long is compared where there is less than a second, as clients wait then; what takes longer is left out.
const ENOUGH: Duration = Duration::from_millis(4);
const IN_A_HURRY: Duration = Duration::from_secs(1);
/// Names that are compared at most.
const NAMES: usize = 200_000;
/// So many names are walked through in a millisecond at least, or it is not begun: clients wait meanwhile.
const NAMES_PER_MS: u128 = 200;

/// A key that has no longer left is not compared; milliseconds. Clocks may be half of it apart.
const ENDING: i64 = 1000;
/// What PTTL says of a key that is not there.
const GONE: i64 = -2;

/// What became of some keys.
#[derive(Debug, Default)]
pub struct Compared {
    pub keys: u64,
    /// Of the source's values that were looked at.
    pub bytes: u64,
    /// And in what.
    pub differing: Vec<(Key, &'static str)>,
}

#[derive(Debug)]
pub enum Unequal {
    /// In these words.
    Differs(String),
    /// It could not be compared.
    Node(NodeError),
}

impl From<NodeError> for Unequal {
    fn from(error: NodeError) -> Self {
        Self::Node(error)
    }
}

/// Compare until then at the latest; how many keys were compared.
pub fn compare(
    plan: &Plan,
    source: &mut Node,
    mut targets: Vec<&mut Node>,
    sample: &Sample,
    ends: &'static [u8],
    until: Instant,
) -> Result<u64, Unequal> {
    let begun = Instant::now();
    let within = until.saturating_duration_since(begun);
    let half = begun + if within < IN_A_HURRY { (within / 2).min(ENOUGH) } else { within / 2 };
    let mut compared = 0;
    let sampled = sample.keys();
    let (mut rest, mut size) = (&sampled[..], FEW);
    while !rest.is_empty() {
        let asked = Instant::now();
        let keys;
        (keys, rest) = rest.split_at(size.min(rest.len()));
        let some = values(plan, source, &mut targets, keys, ends, until)?;
        if let Some((key, what)) = some.differing.first() {
            return Err(Unequal::Differs(differs(key, what)));
        }
        compared += some.keys;
        size = (size * 2).min(AT_ONCE);
        if Instant::now() + asked.elapsed() * 2 >= half {
            break; // twice as many take as long again, or more
        }
    }
    compared += names(plan, source, &mut targets, half, until)?;
    Ok(compared)
}

/// What the source says, and what the target does.
type Both = (Vec<u8>, Vec<u8>);

/// Ask both sides the same of each key: what the source says, and what its target does.
fn both(
    plan: &Plan,
    source: &mut Node,
    targets: &mut [&mut Node],
    asked: &[(Key, Vec<Vec<u8>>)],
    until: Instant,
) -> Result<Vec<Both>, NodeError> {
    for (key, words) in asked {
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        source.send(&words);
        if let Some(target) = plan.target_of(key) {
            targets[target].send(&words);
        }
    }
    for target in targets.iter_mut() {
        target.flush()?;
    }
    let mut told = Vec::new();
    for (key, _) in asked {
        let ours = source.reply(until)?;
        let theirs = match plan.target_of(key) {
            Some(target) => targets[target].reply(until)?,
            None => ours.clone(),
        };
        told.push((ours, theirs));
    }
    Ok(told)
}

fn words(words: &[&[u8]]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.to_vec()).collect()
}

pub fn differs(key: &Key, what: &str) -> String {
    let name: String = key.escape_ascii().to_string().chars().take(64).collect();
    format!("key {name} differs between source and target: {what}")
}

/// Compare these keys as they are now: type, end, size, and the value where it is small.
pub fn values(
    plan: &Plan,
    source: &mut Node,
    targets: &mut [&mut Node],
    keys: &[Key],
    ends: &'static [u8],
    until: Instant,
) -> Result<Compared, NodeError> {
    let keys: Vec<Key> = keys.iter().filter(|key| plan.target_of(key).is_some()).cloned().collect();
    let ask = |name: &'static [u8]| keys.iter().map(|key| (key.clone(), words(&[name, key]))).collect::<Vec<_>>();
    let mut kinds = both(plan, source, targets, &[ask(b"TYPE"), ask(ends)].concat(), until)?;
    let times = kinds.split_off(keys.len());
    let (mut sizes, mut compared) = (Vec::new(), Compared { keys: keys.len() as u64, ..Compared::default() });
    for ((key, kind), time) in keys.iter().zip(kinds).zip(times) {
        if kind.0 != kind.1 || !is_same_end(ends, &time) {
            if !is_ending(plan, source, targets, key, until)? {
                let what = if kind.0 == kind.1 { "when it ends" } else { "its type, or whether it is there" };
                compared.differing.push((key.clone(), what));
            }
            continue;
        }
        let size: &[u8] = match &*kind.0 {
            b"+string\r\n" => b"STRLEN",
            b"+list\r\n" => b"LLEN",
            b"+hash\r\n" => b"HLEN",
            b"+set\r\n" => b"SCARD",
            b"+zset\r\n" => b"ZCARD",
            b"+stream\r\n" => b"XLEN",
            _ => continue, // it is not there, or a module's
        };
        sizes.push((key.clone(), words(&[size, key]), kind.0));
    }
    let asked: Vec<_> = sizes.iter().map(|(key, words, _)| (key.clone(), words.clone())).collect();
    let told = both(plan, source, targets, &asked, until)?;
    let mut small = Vec::new();
    for ((key, _, kind), (ours, theirs)) in sizes.iter().zip(&told) {
        let count = |reply: &[u8]| Value::read(reply).and_then(|value| value.integer()).unwrap_or(i64::MAX);
        let size = count(ours).max(count(theirs));
        let is_small = size <= if kind == b"+string\r\n" { SMALL_STRING } else { SMALL };
        // fields that have ended may be counted yet, and are not among the elements
        let counts_ended = is_small && kind == b"+hash\r\n";
        if ours != theirs && !counts_ended {
            if !is_ending(plan, source, targets, key, until)? {
                compared.differing.push((key.clone(), "its size"));
            }
            continue;
        }
        if is_small {
            let all: Vec<Vec<u8>> = match &**kind {
                b"+string\r\n" => words(&[b"GET", key]),
                b"+list\r\n" => words(&[b"LRANGE", key, b"0", b"-1"]),
                b"+hash\r\n" => words(&[b"HGETALL", key]),
                b"+set\r\n" => words(&[b"SMEMBERS", key]),
                b"+zset\r\n" => words(&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"]),
                _ => words(&[b"XRANGE", key, b"-", b"+"]),
            };
            small.push((key.clone(), all, kind));
        }
    }
    let asked: Vec<_> = small.iter().map(|(key, words, _)| (key.clone(), words.clone())).collect();
    let told = both(plan, source, targets, &asked, until)?;
    for ((key, _, kind), (ours, theirs)) in small.iter().zip(&told) {
        let is_same = ours == theirs || in_order(kind, ours).is_some_and(|ours| Some(ours) == in_order(kind, theirs));
        if !is_same && !is_ending(plan, source, targets, key, until)? {
            compared.differing.push((key.clone(), "its value"));
        }
        compared.bytes += ours.len() as u64;
    }
    Ok(compared)
}

/// Which of these keys of the targets the source lacks.
pub fn extra(
    plan: &Plan,
    source: &mut Node,
    targets: &mut [&mut Node],
    keys: &[Key],
    until: Instant,
) -> Result<Compared, NodeError> {
    for key in keys {
        source.send(&[b"EXISTS", key]);
    }
    let (mut missing, mut compared) = (Vec::new(), Compared::default());
    for key in keys {
        if source.reply(until)? == b":0\r\n" {
            missing.push(key);
        }
    }
    for key in missing {
        if !is_ending(plan, source, targets, key, until)? {
            compared.differing.push((key.clone(), "only the target has it"));
        }
    }
    Ok(compared)
}

/// Whether a key that looks different has ended, or is about to: clocks that differ end it on one side first.
fn is_ending(
    plan: &Plan,
    source: &mut Node,
    targets: &mut [&mut Node],
    key: &Key,
    until: Instant,
) -> Result<bool, NodeError> {
    let told = both(plan, source, targets, &[(key.clone(), words(&[b"PTTL", key]))], until)?;
    let left = |reply: &[u8]| Value::read(reply).and_then(|value| value.integer());
    Ok(told.iter().all(|(ours, theirs)| match (left(ours), left(theirs)) {
        (Some(GONE), Some(GONE)) => true,
        (Some(ours), Some(theirs)) => (0..ENDING).contains(&ours) || (0..ENDING).contains(&theirs),
        _ => false, // one of them would not say
    }))
}

/// Whether both sides say the same of when a key ends. Where it is how long it has left, some time passes between the two.
fn is_same_end(ends: &[u8], (ours, theirs): &Both) -> bool {
    let left = |reply: &[u8]| Value::read(reply).and_then(|value| value.integer()).unwrap_or(-3);
    let (ours, theirs) = (left(ours), left(theirs));
    ours == theirs || ends == b"PTTL" && ours >= 0 && theirs >= 0 && (ours - theirs).abs() < 1000
}

/// The elements of a value that has no order of its own, in one; none of what has no elements.
fn in_order<'a>(kind: &[u8], reply: &'a [u8]) -> Option<Vec<Vec<Value<'a>>>> {
    let value = Value::read(reply)?;
    let elements = value.array()?;
    let mut parts: Vec<Vec<Value>> = match kind {
        b"+hash\r\n" => elements.chunks(2).map(<[Value]>::to_vec).collect(),
        _ => elements.iter().map(|element| vec![element.clone()]).collect(),
    };
    if matches!(kind, b"+hash\r\n" | b"+set\r\n") {
        parts.sort_by(|a, b| a[0].text().cmp(&b[0].text()));
    }
    Some(parts)
}

/// Compare which keys there are, if there is time until `soft` to walk through all of them on both sides.
fn names(
    plan: &Plan,
    source: &mut Node,
    targets: &mut [&mut Node],
    soft: Instant,
    until: Instant,
) -> Result<u64, Unequal> {
    let mut all = size(source, until)?;
    for target in targets.iter_mut() {
        all += size(target, until)?;
    }
    let left = soft.saturating_duration_since(Instant::now()).as_millis();
    if u128::from(all) > left * NAMES_PER_MS {
        return Ok(0);
    }
    let Some(ours) = walk(source, soft, until, &|key| plan.target_of(key).is_some())? else { return Ok(0) };
    let mut theirs = HashSet::new();
    for (at, target) in targets.iter_mut().enumerate() {
        match walk(target, soft, until, &|key| plan.target_of(key) == Some(at))? {
            Some(keys) => theirs.extend(keys),
            None => return Ok(0),
        }
    }
    let count = ours.len() as u64;
    let of_target_only = if plan.replaces { theirs.difference(&ours).cloned().collect() } else { Vec::new() };
    let different: Vec<Key> = ours.difference(&theirs).cloned().chain(of_target_only).collect();
    for keys in different.chunks(AT_ONCE) {
        let asked: Vec<_> = keys.iter().map(|key| (key.clone(), words(&[b"EXISTS", key]))).collect();
        for (key, (ours, theirs)) in keys.iter().zip(both(plan, source, targets, &asked, until)?) {
            if ours != theirs && !is_ending(plan, source, targets, key, until)? {
                let slot = plan.slot(key);
                let who = if ours == b":1\r\n" { "the source" } else { "the target" };
                let what = format!("only {who} has it; slot {slot}, {} keys in all", different.len());
                return Err(Unequal::Differs(differs(key, &what)));
            }
        }
    }
    Ok(count)
}

/// How many keys a node has, others' too.
fn size(node: &mut Node, until: Instant) -> Result<u64, Unequal> {
    node.send(&[b"DBSIZE"]);
    let reply = node.reply(until)?;
    let size = Value::read(&reply).and_then(|value| value.integer()).and_then(|size| u64::try_from(size).ok());
    size.ok_or_else(|| node.refused(&reply).into())
}

/// All keys of a node that are wanted; none if that takes too long, or they are too many.
fn walk(
    node: &mut Node,
    soft: Instant,
    until: Instant,
    is_wanted: &dyn Fn(&[u8]) -> bool,
) -> Result<Option<HashSet<Key>>, Unequal> {
    let mut found = HashSet::new();
    let mut cursor = b"0".to_vec();
    loop {
        if Instant::now() >= soft || found.len() > NAMES {
            return Ok(None);
        }
        node.send(&[b"SCAN", &cursor, b"COUNT", b"500"]);
        let reply = node.reply(until)?;
        let value = Value::read(&reply);
        let parts = value.as_ref().and_then(Value::array).unwrap_or_default();
        let [next, Value::Array(keys)] = parts else { return Err(node.refused(&reply).into()) };
        cursor = next.text().unwrap_or(b"0").to_vec();
        found.extend(keys.iter().filter_map(Value::text).filter(|key| is_wanted(key)).map(Key::from));
        if cursor == b"0" {
            return Ok(Some(found));
        }
    }
}
