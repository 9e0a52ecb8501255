//! What is said on a connection, both ways: requests until their replies are in, replies until they are out. No sockets.

mod body;
mod chain;
mod entry;
mod gather;
mod head;
mod join;
mod output;
mod pool;
mod replies;
mod requests;
mod run;
mod statistics;
mod values;
mod window;

pub use body::Body;
pub use entry::{Asked, Entry, Loads, Mark, NearAsks, Owed, MANY_MARKS, NO_MARK, WHOLE};
pub use gather::{Gather, Gathered};
pub use head::Head;
pub use join::Join;
pub use output::{Gauge, Message, Output, Parcel};
pub use pool::{trim, BufferPool};
pub use replies::ReplyQueue;
pub use requests::Exchange;
pub use run::LARGE;
pub use statistics::{asked_for, Statistic};
pub use values::Values;
