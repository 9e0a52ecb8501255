//! Why a copy cannot go on, or was not done: of which kind, and in words.

use std::fmt;

/// What whoever ordered it decides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not done in time: it may be yet.
    Late,
    /// A target has not what the source has.
    Differs,
    /// A target is away, or is a replica now: its shard may have failed over.
    TargetLost,
    /// A target refuses what it is sent, and will again.
    TargetRefuses,
    /// There is no source, or its history was lost too often.
    SourceLost,
    /// No source may be read, or what it does cannot be followed.
    SourceRefuses,
    /// More changes than can be copied.
    Outrun,
    /// Its lease is over, or a later copier writes to a target.
    Lapsed,
    /// It broke.
    Defect,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Differs => "differs",
            Self::TargetLost => "target_lost",
            Self::TargetRefuses => "target_refuses",
            Self::SourceLost => "source_lost",
            Self::SourceRefuses => "source_refuses",
            Self::Outrun => "outrun",
            Self::Lapsed => "lapsed",
            Self::Defect => "defect",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: Kind,
    pub why: String,
}

impl Fault {
    pub fn new(kind: Kind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}
