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
    /// Workers that engines may count, with or without clients.
    pub workers: i64,
}

impl std::ops::AddAssign for Sum {
    fn add_assign(&mut self, other: Self) {
        self.clients += other.clients;
        self.workers += other.workers;
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
            &Self::One(_, clients) => Sum { clients: i64::from(clients), workers: 1 },
            Self::Many(counts) => {
                let clients = counts.iter().map(|&(_, clients)| i64::from(clients)).sum();
                Sum { clients, workers: counts.len() as i64 }
            }
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
