//! The clients of one topic, by worker.

/// Most topics are one worker's.
#[derive(Default)]
pub enum Counts {
    #[default]
    None,
    One(u16, u32),
    #[allow(clippy::box_collection)] // so that the usual one is small
    Many(Box<Vec<(u16, u32)>>),
}

/// What of a topic makes a message count.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sum {
    pub clients: i64,
    /// Workers with clients, which engines count; and without, which they may still count.
    pub workers: i64,
    pub left: i64,
}

impl Sum {
    fn of(clients: u32) -> Self {
        let has_left = i64::from(clients == 0);
        Self { clients: i64::from(clients), workers: 1 - has_left, left: has_left }
    }

    /// How many clients heard what an engine delivered so often. One that delivered it to fewer workers than there are has
    /// lost the connection of some; one that did to more also has subscribers of its own.
    pub fn receivers(self, delivered: i64) -> i64 {
        let strangers = delivered.saturating_sub(self.workers + self.left).max(0);
        let unheard = (self.workers - delivered).max(0);
        self.clients.saturating_add(strangers).saturating_sub(unheard)
    }
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.clients += other.clients;
        self.workers += other.workers;
        self.left += other.left;
    }
}

impl Counts {
    /// So many clients of the worker; none: no engine counts it any more.
    pub fn set(&mut self, worker: u16, clients: Option<u32>) {
        match (&mut *self, clients) {
            (Self::None, Some(clients)) => *self = Self::One(worker, clients),
            (Self::One(own, count), Some(clients)) if *own == worker => *count = clients,
            (Self::One(own, _), None) if *own == worker => *self = Self::None,
            (Self::None | Self::One(..), None) => {}
            (&mut Self::One(own, count), Some(clients)) => {
                *self = Self::Many(Box::new(vec![(own, count), (worker, clients)]));
            }
            (Self::Many(counts), clients) => {
                counts.retain(|&(own, _)| own != worker);
                counts.extend(clients.map(|clients| (worker, clients)));
                if let [(own, count)] = counts[..] {
                    *self = Self::One(own, count);
                }
            }
        }
    }

    pub const fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Whether an engine counts what the application does: each worker has one client.
    pub fn is_even(&self) -> bool {
        match self {
            Self::None => true,
            &Self::One(_, clients) => clients == 1,
            Self::Many(counts) => counts.iter().all(|&(_, clients)| clients == 1),
        }
    }

    pub fn sum(&self) -> Sum {
        match self {
            Self::None => Sum::default(),
            &Self::One(_, clients) => Sum::of(clients),
            Self::Many(counts) => counts.iter().fold(Sum::default(), |mut sum, &(_, clients)| {
                sum += Sum::of(clients);
                sum
            }),
        }
    }

    /// Bytes it takes beside itself.
    pub fn held(&self) -> usize {
        match self {
            Self::None | Self::One(..) => 0,
            Self::Many(counts) => size_of::<Vec<(u16, u32)>>() + counts.capacity() * size_of::<(u16, u32)>(),
        }
    }
}
