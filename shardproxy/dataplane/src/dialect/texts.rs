//! Every fixed reply, once.

pub const OK: &[u8] = b"+OK\r\n";
pub const PONG: &[u8] = b"+PONG\r\n";
pub const RESET: &[u8] = b"+RESET\r\n";
pub const QUEUED: &[u8] = b"+QUEUED\r\n";
pub const CROSSSLOT: &[u8] = b"-CROSSSLOT Keys in request don't hash to the same slot\r\n";
pub const CLUSTERDOWN: &[u8] = b"-CLUSTERDOWN Hash slot not served\r\n";
pub const MAX_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";
/// To who does not speak TLS where it is spoken.
pub const SPEAKS_TLS: &[u8] = b"-ERR this endpoint speaks TLS: use rediss:// or --tls\r\n";
pub const SYNTAX: &[u8] = b"-ERR syntax error\r\n";
pub const OUT_OF_BUFFERS: &[u8] = b"-ERR the proxy is out of buffer memory (limits.buffers), command not executed\r\n";
pub const BUSY_OFFLOADS: &[u8] = b"-ERR too many commands wait for the control plane, command not executed\r\n";
pub const UNKNOWN_BY_NOW: &[u8] = b"-ERR the command is not known any more, command not executed\r\n";
pub const UNEXPECTED_REPLY: &[u8] = b"-ERR a shard sent an unexpected reply\r\n";
pub const READONLY: &[u8] = b"-READONLY You can't write against a read only replica.\r\n";
pub const EXECABORT: &[u8] = b"-EXECABORT Transaction discarded because of previous errors.\r\n";
pub const EXECABORT_STRICT: &[u8] =
    b"-EXECABORT Transaction discarded because of: the cluster has several shards now, and it needs one\r\n";
pub const NOT_A_DATABASE: &[u8] =
    b"-ERR DB index is out of range: this cluster has no such database, command not executed (SELECT 0)\r\n";
pub const NESTED_MULTI: &[u8] = b"-ERR MULTI calls can not be nested\r\n";
pub const EXEC_WITHOUT_MULTI: &[u8] = b"-ERR EXEC without MULTI\r\n";
pub const DISCARD_WITHOUT_MULTI: &[u8] = b"-ERR DISCARD without MULTI\r\n";
pub const WATCH_INSIDE_MULTI: &[u8] = b"-ERR WATCH inside MULTI is not allowed\r\n";
pub const NOT_IN_TRANSACTION: &[u8] = b"-ERR Command not allowed inside a transaction\r\n";
pub const WRONGPASS: &[u8] = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
/// To who was logged in for as long as that lasts; the connection is closed then.
pub const SESSION_OVER: &[u8] = b"-ERR the session of this user is over: connect and authenticate again\r\n";
pub const NOAUTH: &[u8] = b"-NOAUTH Authentication required.\r\n";
pub const NOT_VERIFIED_IN_MULTI: &[u8] =
    b"-ERR AUTH of a user that is verified elsewhere is not possible inside MULTI\r\n";
pub const UNBLOCKED: &[u8] = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";
/// What an engine tells who waits for entries of a stream for a group, when one or the other is no more.
pub const STREAM_GONE: &[u8] = b"-UNBLOCKED the stream key no longer exists\r\n";
pub const GROUP_GONE: &[u8] = b"-NOGROUP the consumer group this client was blocked on no longer exists\r\n";
pub const WORKER_LOST: &[u8] = b"-TRYAGAIN a thread of the proxy failed, command not executed\r\n";
pub const WORKER_LOST_IN_DOUBT: &[u8] =
    b"-ERR INDOUBT a thread of the proxy failed, command may have been executed\r\n";
pub const TOO_MANY_QUEUED: &[u8] =
    b"-ERR too many clients wait for a connection of their own (limits.dedicated), command not executed\r\n";
pub const CLOSING: &[u8] = b"-TRYAGAIN the proxy closes this connection, command not executed\r\n";
pub const EMPTY_ARRAY: &[u8] = b"*0\r\n";
/// What a transaction says around the commands it queued.
pub const MULTI_REQUEST: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
pub const PING_REQUEST: &[u8] = b"*1\r\n$4\r\nPING\r\n";
pub const EXEC_REQUEST: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";
pub const ASKING_REQUEST: &[u8] = b"*1\r\n$6\r\nASKING\r\n";
pub const READONLY_REQUEST: &[u8] = b"*1\r\n$8\r\nREADONLY\r\n";
pub const UNWATCH_REQUEST: &[u8] = b"*1\r\n$7\r\nUNWATCH\r\n";
pub const BLOCK_WHILE_WATCHING: &[u8] =
    b"-ERR a blocking command on another shard than the watched keys' is not possible before EXEC or UNWATCH\r\n";

/// Nothing, of several.
pub const fn null_array(resp: u8) -> &'static [u8] {
    if resp == 3 {
        b"_\r\n"
    } else {
        b"*-1\r\n"
    }
}

/// What waited until its time was over while its shard had no primary.
pub fn failing_over(shard: &str) -> Vec<u8> {
    format!("-TRYAGAIN shard {shard} failing over, command not executed\r\n").into_bytes()
}

/// Nobody need try again before that is mended.
pub fn not_served(shard: &str, why: &str) -> Vec<u8> {
    format!("-ERR shard {shard} is not served: {why}\r\n").into_bytes()
}
