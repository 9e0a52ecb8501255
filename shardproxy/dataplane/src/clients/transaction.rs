//! What a client has queued since MULTI, and that it watches.

/// MULTI and WATCH. Commands are kept here until EXEC; nothing is sent before.
#[derive(Default)]
pub struct Transaction {
    /// MULTI was said; otherwise only WATCH.
    pub is_open: bool,
    /// A command could not be queued: EXEC will refuse.
    pub is_broken: bool,
    pub queued: Vec<u8>,
    pub commands: u32,
    /// Some of them are scripts by their digests.
    pub calls_script: bool,
    /// Some of them are answered by what only the proxy knows right.
    pub is_corrected: bool,
    /// The slot all its keys share, those it watches included.
    pub slot: Option<u16>,
    pub is_watching: bool,
    /// The connection that watched is gone, and with it what it saw: EXEC answers null.
    pub watch_lost: bool,
}
