//! RESP2 and RESP3.

mod arguments;
pub mod identity;
pub mod inline;
pub mod invalidation;
pub mod monitor;
pub mod redirect;
pub mod refusals;
pub mod reply;
pub mod request;
mod request_error;
pub mod role;
pub mod write;

pub use arguments::{arguments_of, Request};
