//! Sockets: addresses, non-blocking streams, listeners and name resolution. Knows nothing of protocols.

mod address;
mod budget;
mod clock;
mod listener;
mod pass;
mod ready;
mod resolver;
mod stream;
pub mod tls;
mod wakeup;

pub use address::Address;
pub use budget::{is_out_of_descriptors, lacks_descriptors, Budget, Permit};
pub use clock::boot_time;
pub use listener::{Inherited, Listener};
#[cfg(feature = "python")]
pub use pass::copy_of;
pub use pass::{Passing, MAX_PASSAGE};
pub use ready::{wait_ready, Wanted};
pub use resolver::Resolver;
pub use stream::{Secure, Stream};
pub use wakeup::EventFd;
