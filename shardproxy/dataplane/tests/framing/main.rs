//! Framing by tables: bytes in, result out, each case whole, byte by byte and with more behind it.

mod keys;
mod reply;
mod request;
mod request_random;
