//! What is told of one request.

/// Microseconds; none where it is not known.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Phases {
    /// For its turn: behind others of its client, behind those sent before it to its node, or for room in a queue.
    pub waited: Option<u32>,
    /// For a primary, the end of a hold or of a pause.
    pub parked: Option<u32>,
    /// Until its node, or the control plane, had answered.
    pub upstream: Option<u32>,
    /// Until its client had taken the reply.
    pub client: Option<u32>,
}

/// One request, as far as anybody is told of it.
#[derive(Clone, Default, Debug)]
pub struct Record {
    /// Later ones have higher numbers, of all workers.
    pub id: u64,
    /// Number of the cluster.
    pub cluster: usize,
    /// When it came: microseconds since 1970.
    pub at: u64,
    pub micros: u64,
    pub phases: Phases,
    /// Lower case; of a subcommand `container|subcommand`.
    pub command: String,
    /// Its name and keys, as far as they are shown.
    pub arguments: Vec<Vec<u8>>,
    /// Its first key, or the one that a trace is about.
    pub key: Option<Vec<u8>>,
    pub client_id: u64,
    pub client: String,
    pub name: Vec<u8>,
    pub user: String,
    pub db: u32,
    pub slot: Option<u16>,
    /// The number that it keeps.
    pub shard: Option<u32>,
    /// Its address; empty where none answered.
    pub node: String,
    pub request_bytes: usize,
    pub reply_bytes: usize,
    pub outcome: &'static str,
    /// The first word of an error.
    pub error: String,
}

/// What a client was answered.
pub const OK: &str = "ok";
pub const ERROR: &str = "error";
/// It went before it had taken its reply.
pub const GONE: &str = "gone";

/// A phase has an hour at most, as it is told.
pub fn bounded(micros: u64) -> u32 {
    u32::try_from(micros).unwrap_or(u32::MAX)
}

/// The first word of an error, if that is one such as errors begin with.
pub fn error_word(reply: &[u8]) -> String {
    const LONGEST: usize = 32;
    let text = reply.get(1..).unwrap_or_default();
    let text = if reply.first() == Some(&b'!') {
        memchr::memchr(b'\n', text).map_or(text, |end| &text[end + 1..])
    } else {
        text
    };
    let word = text.iter().take(LONGEST).take_while(|byte| byte.is_ascii_uppercase() || **byte == b'_');
    word.map(|&byte| char::from(byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_called_by_their_first_word() {
        for (reply, word) in [
            (&b"-WRONGTYPE Operation"[..], "WRONGTYPE"),
            (b"-ERR x", "ERR"),
            (b"!21\r\nSYNTAX invalid\r\n", "SYNTAX"),
            (b"-secret", ""),
            (b"", ""),
        ] {
            assert_eq!(error_word(reply), word);
        }
    }
}
