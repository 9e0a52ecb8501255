//! RESP2 and RESP3.

mod inline;
pub mod reply;
pub mod request;
mod request_error;
pub mod write;
