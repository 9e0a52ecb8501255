//! Copies of engines' data, made by threads of their own beside the workers: no client waits for them, and they know
//! nothing of clients.

pub mod end;
pub mod load;
pub mod node;
pub mod rdb;
pub mod snapshot;
mod told;
pub mod value;
