//! memcached's text and meta protocols, as bytes. Knows nothing of sockets, nodes or clients.

pub mod base64;
pub mod greeting;
pub mod kind;
pub mod reply;
pub mod request;
pub mod texts;
pub mod tokens;
pub mod verb;
