//! What the data plane itself does about a command, known by its name when the table is loaded: nobody compares names while
//! requests pass.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing: it is its route's.
    None,
    Asking,
    Auth,
    ClientCaching,
    ClientGetName,
    ClientGetRedir,
    ClientId,
    ClientNoEvict,
    ClientNoTouch,
    ClientReply,
    ClientSetInfo,
    ClientSetName,
    ClientTracking,
    ClientTrackingInfo,
    ConfigGet,
    Debug,
    Echo,
    Get,
    HGetAll,
    Hello,
    MGet,
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
    /// It waits for elements of lists, or of sorted sets, with its timeout as the last argument.
    WaitList,
    WaitSortedSet,
    /// It moves an element from one list, which it waits for, to another.
    WaitMove,
    /// It waits for one of so many keys, with its timeout as the first argument.
    WaitListOf,
    WaitSortedSetOf,
    Migrate,
    Move,
    Scan,
    ScriptFlush,
    ScriptLoad,
    SwapDb,
    Wait,
    WhoAmI,
}

const ACTS: [(&str, Act); 57] = [
    ("acl|whoami", Act::WhoAmI),
    ("asking", Act::Asking),
    ("auth", Act::Auth),
    ("client|caching", Act::ClientCaching),
    ("client|getname", Act::ClientGetName),
    ("client|getredir", Act::ClientGetRedir),
    ("client|id", Act::ClientId),
    ("client|no-evict", Act::ClientNoEvict),
    ("client|no-touch", Act::ClientNoTouch),
    ("client|reply", Act::ClientReply),
    ("client|setinfo", Act::ClientSetInfo),
    ("client|setname", Act::ClientSetName),
    ("client|tracking", Act::ClientTracking),
    ("client|trackinginfo", Act::ClientTrackingInfo),
    ("config|get", Act::ConfigGet),
    ("get", Act::Get),
    ("hgetall", Act::HGetAll),
    ("mget", Act::MGet),
    ("debug", Act::Debug),
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
    ("blpop", Act::WaitList),
    ("brpop", Act::WaitList),
    ("blmove", Act::WaitMove),
    ("brpoplpush", Act::WaitMove),
    ("bzpopmin", Act::WaitSortedSet),
    ("bzpopmax", Act::WaitSortedSet),
    ("blmpop", Act::WaitListOf),
    ("bzmpop", Act::WaitSortedSetOf),
    ("migrate", Act::Migrate),
    ("move", Act::Move),
    ("scan", Act::Scan),
    ("script|flush", Act::ScriptFlush),
    ("script|load", Act::ScriptLoad),
    ("swapdb", Act::SwapDb),
    ("wait", Act::Wait),
];

/// What CLIENT PAUSE WRITE holds beside commands that write.
const MAY_CHANGE: [&str; 6] = ["eval", "evalsha", "fcall", "publish", "spublish", "pfcount"];

/// What the control plane asks of every shard: of a cluster of one, its engine may be asked in a transaction. Not what
/// the proxy has a memory of its own for, as SCRIPT FLUSH, nor what cannot be within one, as SCRIPT KILL.
const OF_ALL_SHARDS: [&str; 15] = [
    "bgrewriteaof",
    "bgsave",
    "dbsize",
    "debug",
    "flushall",
    "flushdb",
    "info",
    "keys",
    "lastsave",
    "module|list",
    "randomkey",
    "scan",
    "wait",
    "script|exists",
    "script|load",
];
const GROUPS_OF_ALL_SHARDS: [&str; 5] = ["config|", "function|", "latency|", "memory|", "slowlog|"];

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

    /// Whether it is about its client's connection: within a transaction that answers it when EXEC is answered.
    pub const fn is_own(self) -> bool {
        matches!(
            self,
            Self::Asking
                | Self::Auth
                | Self::ClientCaching
                | Self::ClientGetName
                | Self::ClientGetRedir
                | Self::ClientId
                | Self::ClientNoEvict
                | Self::ClientSetInfo
                | Self::ClientSetName
                | Self::ClientTrackingInfo
                | Self::ReadOnly
                | Self::ReadWrite
                | Self::WhoAmI
        )
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

    /// Whether it waits for elements of lists or sorted sets.
    pub const fn waits(self) -> bool {
        matches!(self, Self::WaitList | Self::WaitSortedSet | Self::WaitMove | Self::WaitListOf | Self::WaitSortedSetOf)
    }

    /// Whether its reply within EXEC's says what only the proxy knows right.
    pub const fn is_corrected(self) -> bool {
        matches!(self, Self::ConfigGet | Self::Publish | Self::ShardPublish | Self::Scan)
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
