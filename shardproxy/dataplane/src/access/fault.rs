//! What is wrong with rules, in Redis' words.

use std::fmt;

/// Why a modifier is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    Unknown,
    Syntax,
    KeyAfterAll,
    ChannelAfterAll,
    NoSuchPassword,
    NoHash,
    FirstArgumentOfSubcommand,
}

impl Wrong {
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown command or category name in ACL",
            Self::Syntax => "Syntax error",
            Self::KeyAfterAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. \
                 Try 'resetkeys' to start with an empty list of patterns"
            }
            Self::ChannelAfterAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any \
                 effect. Try 'resetchannels' to start with an empty list of channels"
            }
            Self::NoSuchPassword => "The password you are trying to remove from the user does not exist",
            Self::NoHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            Self::FirstArgumentOfSubcommand => "Allowing first-arg of a subcommand is not supported",
        }
    }
}

/// Where in a list of modifiers something is wrong.
#[derive(Clone, PartialEq, Eq)]
pub enum Fault {
    Modifier(Vec<u8>, Wrong),
    Unmatched(Vec<u8>),
}

impl Fault {
    /// As ACL SETUSER answers: only for whoever gave the modifiers, for one of them may be a password.
    pub fn in_full(&self) -> String {
        self.said(&String::from_utf8_lossy(self.word()))
    }

    fn word(&self) -> &[u8] {
        let (Self::Modifier(word, _) | Self::Unmatched(word)) = self;
        word
    }

    fn said(&self, word: &str) -> String {
        match self {
            Self::Modifier(_, wrong) => format!("Error in ACL SETUSER modifier '{word}': {}", wrong.text()),
            Self::Unmatched(_) => format!("Unmatched parenthesis in acl selector starting at '{word}'."),
        }
    }
}

/// Without what may be a password.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_secret = |word: &[u8]| matches!(word, [b'>' | b'<' | b'#' | b'!', ..]);
        let word = self.word();
        let shown = match word.first() {
            Some(&mark) if is_secret(word) => format!("{}...", char::from(mark)),
            Some(b'(') if word[1..].split(|byte| *byte == b' ').any(is_secret) => "(...)".to_owned(),
            _ => String::from_utf8_lossy(word).into_owned(),
        };
        f.write_str(&self.said(&shown))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
