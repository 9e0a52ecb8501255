//! Every byte that clients and nodes make a worker hold, in one sum; and what is done when there are too many.

use crate::shared::Buffers;

/// Unread replies of one client while memory is short.
const UNREAD_UNDER_PRESSURE: usize = 1024 * 1024;

/// How short memory is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
pub enum Pressure {
    None,
    /// Clients that hold much are not read.
    High,
    /// New requests are refused.
    Full,
}

pub struct Accounts {
    /// Bytes of this worker's clients and connections.
    held: usize,
    /// With this many bytes held the pressure is measured anew, without waiting for the tick.
    measure_at: usize,
    /// All workers' buffers are near, or at, their cap.
    pub pressure: Pressure,
    /// Bytes of requests that wait in this worker's lots.
    pub parked: usize,
    /// Some of this worker's clients have to go: it holds its share of what is at the cap even without that which is
    /// being freed.
    is_to_give: bool,
    /// They are that much over it that nothing can wait.
    is_over: bool,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { held: 0, measure_at: 0, pressure: Pressure::None, parked: 0, is_to_give: false, is_over: false }
    }
}

impl Accounts {
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Count a holder's bytes anew; `accounted` is what it was counted with.
    #[inline]
    pub fn settle(&mut self, accounted: &mut usize, now: usize) {
        if *accounted != now {
            self.held = self.held + now - *accounted;
            *accounted = now;
        }
    }

    /// Whether much was taken since the pressure was last measured.
    #[inline]
    pub const fn is_due(&self) -> bool {
        self.held >= self.measure_at
    }

    /// Whether clients are to be closed at once.
    #[inline]
    pub const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Whether this worker's greediest client is to be closed.
    pub const fn is_to_give(&self) -> bool {
        self.is_to_give
    }

    /// Compare the bytes of all workers with their cap; `own` are those that this one needs. All count for what may be
    /// taken; who is closed gives nothing of what is being freed anyhow.
    pub fn measure(&mut self, all: &Buffers, own: usize) {
        let &Buffers { held, cap, .. } = all;
        let needed = held.saturating_sub(all.spent);
        let has_share = cap > 0 && own >= all.fair_share;
        self.is_to_give = has_share && needed >= cap;
        self.is_over = has_share && needed >= cap + cap / 16;
        (self.pressure, self.measure_at) = match cap {
            0 => (Pressure::None, usize::MAX),
            _ if held >= cap => (Pressure::Full, self.held + cap / 32),
            _ if held >= cap / 4 * 3 => (Pressure::High, self.held + cap / 32),
            _ => (Pressure::None, self.held + cap / 32),
        };
    }

    /// A client that has, and will be owed, more unread replies than this is not read until it has taken some: nearly all
    /// that it may be owed, as long as there is memory. The rest is for replies that are larger than those before them.
    #[inline]
    pub fn unread_at_most(&self, client_output: usize) -> usize {
        let most = client_output - client_output / 16;
        if self.pressure == Pressure::None {
            most
        } else {
            most.min(UNREAD_UNDER_PRESSURE)
        }
    }
}
