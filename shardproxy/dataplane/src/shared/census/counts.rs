//! The clients of one topic, by worker.

/// Most topics are one worker's.
pub enum Counts {
    One(u16, u32),
    #[allow(clippy::box_collection)] // so that the usual one is small
    Many(Box<Vec<(u16, u32)>>),
}

impl Default for Counts {
    fn default() -> Self {
        Self::One(0, 0)
    }
}

impl Counts {
    pub fn set(&mut self, worker: u16, clients: u32) {
        match self {
            Self::One(own, count) if *own == worker || *count == 0 => *self = Self::One(worker, clients),
            Self::One(..) if clients == 0 => {}
            &mut Self::One(own, count) => *self = Self::Many(Box::new(vec![(own, count), (worker, clients)])),
            Self::Many(counts) => {
                counts.retain(|&(own, _)| own != worker);
                if clients > 0 {
                    counts.push((worker, clients));
                }
                if let [(own, count)] = counts[..] {
                    *self = Self::One(own, count);
                }
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.clients() == 0
    }

    pub fn clients(&self) -> usize {
        self.sum().0
    }

    /// Clients beyond one for each worker, which the engine counts.
    pub fn correction(&self) -> i64 {
        let (clients, workers) = self.sum();
        clients as i64 - workers as i64
    }

    fn sum(&self) -> (usize, usize) {
        match self {
            &Self::One(_, clients) => (clients as usize, usize::from(clients > 0)),
            Self::Many(counts) => (counts.iter().map(|&(_, clients)| clients as usize).sum(), counts.len()),
        }
    }

    /// Bytes it takes beside itself.
    pub fn held(&self) -> usize {
        match self {
            Self::One(..) => 0,
            Self::Many(counts) => size_of::<Vec<(u16, u32)>>() + counts.capacity() * size_of::<(u16, u32)>(),
        }
    }
}
