//! Topics that a worker has given up a moment ago. Engines may count it among their subscribers for that long, depending on
//! what they hear first: that, or a message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::Kind;

/// By then an engine has heard of it, and what it has said before has arrived.
const HEARD: Duration = Duration::from_millis(500);
/// More of them, and more bytes of names, are not remembered: then a message that crosses may be counted once too often.
const MOST: usize = 1024;
const BYTES: usize = 1024 * 1024;

type Topic = (Kind, Arc<[u8]>);

#[derive(Default)]
pub struct Left {
    since: BTreeMap<Topic, Instant>,
    bytes: usize,
}

impl Left {
    /// Remember it; false if there is no room.
    pub fn remember(&mut self, kind: Kind, name: &Arc<[u8]>, now: Instant) -> bool {
        let length = name.len();
        if self.since.len() >= MOST || self.bytes + length > BYTES {
            return false;
        }
        if self.since.insert((kind, name.clone()), now).is_none() {
            self.bytes += length;
        }
        true
    }

    /// Those that every engine has heard of by now.
    pub fn take_heard(&mut self, now: Instant) -> Vec<Topic> {
        let is_heard = |since: Instant| now.saturating_duration_since(since) >= HEARD;
        let heard = self.since.iter().filter(|(_, &since)| is_heard(since)).map(|(topic, _)| topic.clone());
        let heard: Vec<Topic> = heard.collect();
        for topic in &heard {
            self.since.remove(topic);
            self.bytes -= topic.1.len();
        }
        heard
    }

    pub fn held(&self) -> usize {
        self.bytes + self.since.len() * 2 * size_of::<(Topic, Instant)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_anew_is_remembered_from_then_on() {
        let (mut left, start) = (Left::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let name = |text: &str| -> Arc<[u8]> { text.as_bytes().into() };
        assert!(left.remember(Kind::Channel, &name("news"), at(0)) && left.remember(Kind::Pattern, &name("n*"), at(0)));
        assert!(left.remember(Kind::Channel, &name("news"), at(300)));
        assert!(left.take_heard(at(499)).is_empty());
        assert_eq!(left.take_heard(at(500)), [(Kind::Pattern, name("n*"))]);
        assert_eq!(left.take_heard(at(900)), [(Kind::Channel, name("news"))]);
        assert_eq!(left.held(), 0);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let (mut left, now) = (Left::default(), Instant::now());
        let remembered = |left: &mut Left, length: usize| {
            (0..2000)
                .filter(|number| {
                    left.remember(Kind::Channel, &format!("{number}{}", "x".repeat(length)).into_bytes().into(), now)
                })
                .count()
        };
        assert_eq!(remembered(&mut left, 10), MOST);
        assert_eq!(left.take_heard(now + HEARD).len(), MOST);
        assert_eq!(remembered(&mut left, BYTES / 4), 3);
    }
}
