//! Every fixed line, once. The wording is memcached's own wherever it has one.

pub const END: &[u8] = b"END\r\n";
pub const EN: &[u8] = b"EN\r\n";
pub const MN: &[u8] = b"MN\r\n";
pub const STORED: &[u8] = b"STORED\r\n";
pub const ERROR: &[u8] = b"ERROR\r\n";
pub const BAD_FORMAT: &[u8] = b"CLIENT_ERROR bad command line format\r\n";
pub const BAD_CHUNK: &[u8] = b"CLIENT_ERROR bad data chunk\r\n";
pub const LINE_TOO_LONG: &[u8] = b"CLIENT_ERROR line too long\r\n";
pub const TOO_LARGE: &[u8] = b"SERVER_ERROR object too large for cache\r\n";
pub const MAX_CLIENTS: &[u8] = b"ERROR Too many open connections\r\n";
/// To who does not speak TLS where it is spoken, and to who does where it is not.
pub const SPEAKS_TLS: &[u8] = b"SERVER_ERROR this endpoint speaks TLS\r\n";
pub const SPEAKS_NO_TLS: &[u8] = b"SERVER_ERROR this endpoint does not speak TLS\r\n";
pub const DUPLICATE_FLAG: &[u8] = b"CLIENT_ERROR duplicate flag\r\n";
/// The same of md and ma.
pub const INVALID_OR_DUPLICATE_FLAG: &[u8] = b"CLIENT_ERROR invalid or duplicate flag\r\n";
pub const UNAUTHENTICATED: &[u8] = b"CLIENT_ERROR unauthenticated\r\n";
pub const AUTH_FAILURE: &[u8] = b"CLIENT_ERROR authentication failure\r\n";
/// No memcached has rules.
pub const COMMAND_DENIED: &[u8] = b"CLIENT_ERROR this user has no permissions to run this command\r\n";
pub const KEY_DENIED: &[u8] = b"CLIENT_ERROR this user has no permissions to access one of the keys\r\n";
pub const AUTH_FORMAT: &[u8] = b"CLIENT_ERROR bad authentication token format\r\n";
pub const AUTH_TERMINATION: &[u8] = b"CLIENT_ERROR bad command line termination\r\n";
pub const REFUSED: &[u8] = b"CLIENT_ERROR this command is refused by the proxy: ask the node itself\r\n";
pub const OUT_OF_BUFFERS: &[u8] = b"SERVER_ERROR the proxy is out of buffer memory (limits.buffers)\r\n";
pub const TOO_MANY_HANDED: &[u8] =
    b"SERVER_ERROR too many commands wait for the control plane, command not executed\r\n";
pub const MANY_FLAGS: &[u8] = b"CLIENT_ERROR options flags too long\r\n";
pub const DETAIL_USAGE: &[u8] = b"CLIENT_ERROR usage: stats detail on|off|dump\r\n";
pub const INVALID_EXPTIME: &[u8] = b"CLIENT_ERROR invalid exptime argument\r\n";
