//! The stream of the source: which keys changed, and commands that are sent on.

use std::time::Instant;

use super::{Copier, Ended, Turn, READ};
use crate::replication::fault::Kind;
use crate::replication::keys::{Keys, Sending};
use crate::replication::node::NodeError;
use crate::replication::stream::Change;
use crate::replication::target::{Sent, Target};

/// Marked keys, and bytes of their names, beyond which changes come faster than they can be copied.
const MARKED: usize = 4_000_000;
const MARKED_BYTES: usize = 512 << 20;

impl Copier {
    pub(super) fn hear_stream(&mut self, now: Instant) -> Turn<bool> {
        let Some(mut source) = self.source.take() else { return Ok(false) };
        let (result, mut is_busy) = match source.fill_stream(READ, now) {
            Ok(more) => (Ok(()), more),
            Err(error) => (Err(error), false),
        };
        let (Some(stream), Some(decoder)) = (&mut source.stream, &mut self.decoder) else {
            self.source = Some(source);
            return Ok(false);
        };
        let mut is_emptied = false;
        let (keys, plan, targets) = (&mut self.keys, &self.plan, &mut self.targets);
        let comparing = &mut self.comparing;
        loop {
            let step = decoder.step(stream.untaken(), &mut |change, at| match change {
                Change::Emptied => is_emptied = true,
                Change::Key(key) => {
                    if plan.target_of(key).is_some() {
                        keys.mark(key, at);
                        if let Some(comparing) = comparing {
                            comparing.changed(key);
                        }
                    }
                }
                Change::Command { key, request } => {
                    let Some(target) = plan.target_of(key) else { return };
                    if let Some(comparing) = comparing {
                        comparing.changed(key);
                    }
                    send_on(keys, &mut targets[target], (key, request, at), now);
                }
            });
            match step.map_err(|why| Ended::failed(Kind::SourceRefuses, why))? {
                Some(taken) => stream.take_bytes(taken),
                None => break,
            }
            is_busy = true;
        }
        let is_ended = stream.is_ended();
        self.source = Some(source);
        match result {
            Err(NodeError::Stopped) => return Err(Ended::Stopped),
            Err(error) => self.lose_source(error),
            Ok(()) if is_ended => self.lose_source("the source closed its stream"),
            Ok(()) => {}
        }
        if is_emptied {
            self.begin_pass();
        }
        if self.keys.dirty() > MARKED || self.keys.bytes() > MARKED_BYTES {
            return Err(Ended::failed(
                Kind::Outrun,
                "keys change faster than they can be copied: copy fewer slots at once, or later",
            ));
        }
        let offset = self.offset();
        while self.unsettled.front().is_some_and(|(at, _)| *at <= offset) {
            self.unsettled.pop_front();
        }
        Ok(is_busy)
    }
}

/// Send a command behind its key's value, if that is how the key is kept fresh. A target that cannot follow gets the value
/// again, when it can: what it is to be told does not pile up here.
fn send_on(keys: &mut Keys, target: &mut Target, (key, request, at): (&[u8], &[u8], i64), now: Instant) {
    if keys.command(key, request, at) == Sending::Not {
        return;
    }
    if target.follows() {
        let sent = Sent::Command { key: key.into(), bytes: request.len() };
        target.send_raw(request, sent, now);
    } else {
        keys.mark(key, at);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use super::*;
    use crate::replication::end::End;
    use crate::replication::keys::{Key, Next};
    use crate::replication::node::{Node, Stop};

    #[test]
    fn what_a_target_does_not_answer_does_not_pile_up() {
        let (now, listener) = (Instant::now(), TcpListener::bind("127.0.0.1:0").unwrap());
        let end = End::plain(&listener.local_addr().unwrap().to_string()).unwrap();
        let mut target = Target::new(end.clone(), now);
        target.node = Some(Node::connect(&end, &Stop::new().unwrap(), Duration::from_secs(5)).unwrap());
        let mut keys = Keys::default();
        keys.note_big(&Key::from(&b"z"[..]));
        keys.mark(b"z", 10);
        let Some(Next::Exact(key, ticket)) = keys.next() else { panic!("it is large") };
        assert_eq!(keys.settled(&key, ticket, 10, true), Ok(Some(vec![])));
        let request = vec![b'x'; 1 << 20];
        for at in 11..200 {
            send_on(&mut keys, &mut target, (b"z", &request, at), now);
        }
        assert_eq!((target.unanswered >> 20, keys.shipped(), keys.dirty()), (64, 0, 1), "it is read again");
    }
}
