//! What the data plane itself does about a command, known by its name when the table is loaded: nobody compares names while
//! requests pass.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing: it is its route's.
    None,
    Asking,
    Auth,
    ClientGetName,
    ClientId,
    ClientNoEvict,
    ClientNoTouch,
    ClientReply,
    ClientSetInfo,
    ClientSetName,
    Echo,
    Hello,
    Monitor,
    Ping,
    Quit,
    ReadOnly,
    ReadWrite,
    Reset,
    Select,
    Time,
    Discard,
    Exec,
    Multi,
    Unwatch,
    Watch,
    Publish,
    ShardPublish,
    Subscribe,
    PatternSubscribe,
    ShardSubscribe,
    Unsubscribe,
    PatternUnsubscribe,
    ShardUnsubscribe,
    /// It waits, with its timeout as the last argument, or as the first.
    WaitLast,
    WaitFirst,
    Migrate,
    Move,
    Scan,
    ScriptFlush,
    ScriptLoad,
    Wait,
}

const ACTS: [(&str, Act); 46] = [
    ("asking", Act::Asking),
    ("auth", Act::Auth),
    ("client|getname", Act::ClientGetName),
    ("client|id", Act::ClientId),
    ("client|no-evict", Act::ClientNoEvict),
    ("client|no-touch", Act::ClientNoTouch),
    ("client|reply", Act::ClientReply),
    ("client|setinfo", Act::ClientSetInfo),
    ("client|setname", Act::ClientSetName),
    ("echo", Act::Echo),
    ("hello", Act::Hello),
    ("monitor", Act::Monitor),
    ("ping", Act::Ping),
    ("quit", Act::Quit),
    ("readonly", Act::ReadOnly),
    ("readwrite", Act::ReadWrite),
    ("reset", Act::Reset),
    ("select", Act::Select),
    ("time", Act::Time),
    ("discard", Act::Discard),
    ("exec", Act::Exec),
    ("multi", Act::Multi),
    ("unwatch", Act::Unwatch),
    ("watch", Act::Watch),
    ("publish", Act::Publish),
    ("spublish", Act::ShardPublish),
    ("subscribe", Act::Subscribe),
    ("psubscribe", Act::PatternSubscribe),
    ("ssubscribe", Act::ShardSubscribe),
    ("unsubscribe", Act::Unsubscribe),
    ("punsubscribe", Act::PatternUnsubscribe),
    ("sunsubscribe", Act::ShardUnsubscribe),
    ("blpop", Act::WaitLast),
    ("brpop", Act::WaitLast),
    ("blmove", Act::WaitLast),
    ("brpoplpush", Act::WaitLast),
    ("bzpopmin", Act::WaitLast),
    ("bzpopmax", Act::WaitLast),
    ("blmpop", Act::WaitFirst),
    ("bzmpop", Act::WaitFirst),
    ("migrate", Act::Migrate),
    ("move", Act::Move),
    ("scan", Act::Scan),
    ("script|flush", Act::ScriptFlush),
    ("script|load", Act::ScriptLoad),
    ("wait", Act::Wait),
];

/// What CLIENT PAUSE WRITE holds beside commands that write.
const MAY_CHANGE: [&str; 6] = ["eval", "evalsha", "fcall", "publish", "spublish", "pfcount"];

/// What the control plane asks of every shard: of a cluster of one, its engine may be asked in a transaction. Not what
/// the proxy has a memory of its own for, as SCRIPT FLUSH, nor what cannot be within one, as SCRIPT KILL.
const OF_ALL_SHARDS: [&str; 11] = [
    "dbsize",
    "flushall",
    "flushdb",
    "info",
    "keys",
    "lastsave",
    "randomkey",
    "scan",
    "wait",
    "script|exists",
    "script|load",
];
const GROUPS_OF_ALL_SHARDS: [&str; 4] = ["function|", "latency|", "memory|", "slowlog|"];

impl Act {
    /// Of a command by its name in lower case.
    pub fn of(name: &str) -> Self {
        ACTS.iter().find(|(known, _)| *known == name).map_or(Self::None, |&(_, act)| act)
    }

    /// Whether a transaction under way does it rather than queue it.
    pub const fn is_within_multi(self) -> bool {
        matches!(self, Self::Multi | Self::Exec | Self::Discard | Self::Watch | Self::Quit | Self::Reset)
    }

    /// Whether an engine does it itself within a transaction, though the proxy does otherwise.
    pub const fn is_engines_in_multi(self) -> bool {
        matches!(self, Self::Ping | Self::Echo | Self::Time | Self::Unwatch | Self::Publish | Self::ShardPublish)
    }

    /// Whether a client that subscribes in RESP2 may say it.
    pub const fn is_subscribers(self) -> bool {
        matches!(
            self,
            Self::Subscribe
                | Self::Unsubscribe
                | Self::PatternSubscribe
                | Self::PatternUnsubscribe
                | Self::ShardSubscribe
                | Self::ShardUnsubscribe
                | Self::Ping
                | Self::Quit
                | Self::Reset
        )
    }

    /// Whether its reply within EXEC's says what only the proxy knows right.
    pub const fn is_corrected(self) -> bool {
        matches!(self, Self::Publish | Self::ShardPublish | Self::Scan)
    }

    /// Whether it gives something up: it is done however short memory is.
    pub const fn frees(self) -> bool {
        matches!(
            self,
            Self::Unsubscribe
                | Self::PatternUnsubscribe
                | Self::ShardUnsubscribe
                | Self::Discard
                | Self::Unwatch
                | Self::Quit
                | Self::Reset
        )
    }
}

/// Whether CLIENT PAUSE WRITE holds the command, beside those that write.
pub fn may_change(name: &str) -> bool {
    MAY_CHANGE.contains(&name)
}

pub fn is_of_all_shards(name: &str) -> bool {
    OF_ALL_SHARDS.contains(&name) || GROUPS_OF_ALL_SHARDS.iter().any(|group| name.starts_with(group))
}
