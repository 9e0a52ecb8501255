//! A ring of points: a key belongs to the first point at or behind its hash, and beyond the last to the first.
//!
//! ```text
//!   0 ──•────•──•───────•────•── 2³²     • a point of some server
//!             ↑ hash ───┘
//! ```

#[derive(Clone, Debug, Default)]
pub struct Ring {
    /// By value.
    points: Box<[(u32, u16)]>,
}

impl Ring {
    /// Of values and servers; where two share a value the first server listed has it.
    pub fn new(mut points: Vec<(u32, u16)>) -> Self {
        points.sort_by_key(|&(value, _)| value);
        Self { points: points.into() }
    }

    #[inline]
    pub fn server_of(&self, hash: u32) -> Option<usize> {
        self.walk(hash).next()
    }

    /// The servers of all points, from the one the hash belongs to on.
    #[inline]
    pub fn walk(&self, hash: u32) -> impl Iterator<Item = usize> + '_ {
        let start = self.points.partition_point(|&(value, _)| value < hash);
        let (before, behind) = self.points.split_at(start);
        behind.iter().chain(before).map(|&(_, server)| usize::from(server))
    }
}
