//! What COMMAND says a command does, as bits.

use std::ops::BitOr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(u32);

macro_rules! flags {
    ($($constant:ident = $name:literal,)*) => {
        /// Positions of the bits, in the order of the names.
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Bit { $($constant,)* }

        impl Flags {
            $(pub const $constant: Self = Self(1 << Bit::$constant as u32);)*

            const NAMES: &[(&str, Self)] = &[$(($name, Self::$constant),)*];
        }
    };
}

flags! {
    WRITE = "write",
    READONLY = "readonly",
    DENYOOM = "denyoom",
    ADMIN = "admin",
    PUBSUB = "pubsub",
    NOSCRIPT = "noscript",
    BLOCKING = "blocking",
    LOADING = "loading",
    STALE = "stale",
    FAST = "fast",
    NO_AUTH = "no_auth",
    MAY_REPLICATE = "may_replicate",
    MOVABLEKEYS = "movablekeys",
    NO_MULTI = "no_multi",
    NO_MANDATORY_KEYS = "no_mandatory_keys",
    NO_ASYNC_LOADING = "no_async_loading",
    ALLOW_BUSY = "allow_busy",
    SKIP_MONITOR = "skip_monitor",
    SKIP_SLOWLOG = "skip_slowlog",
    ASKING = "asking",
}

impl Flags {
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The flags of these names. Others are ignored: modules and newer engines have more.
    pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let known = |name: &str| Self::NAMES.iter().find(|(known, _)| *known == name).map(|&(_, flag)| flag);
        names.into_iter().filter_map(known).fold(Self::default(), BitOr::bitor)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
