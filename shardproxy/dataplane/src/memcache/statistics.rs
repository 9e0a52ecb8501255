//! The kinds of `stats`: those whose answers end as replies do, and say nothing a client may write into. The others
//! stay with the node: `sizes_enable` has no end, and what lists keys lists line ends in them as well.

use super::gather::Gathered;
use super::wire::tokens::Tokens;

/// How the answers of all nodes are joined; none for a kind that is not passed on.
pub fn gathered(line: &[u8]) -> Option<Gathered> {
    let tokens = Tokens::of(line);
    match (tokens.get(1), tokens.get(2)) {
        (b"" | b"settings" | b"items" | b"slabs" | b"sizes" | b"conns" | b"reset", _) => Some(Gathered::Statistics),
        (b"detail", b"on" | b"off") => Some(Gathered::Line),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_without_an_end_stay_with_the_node() {
        for line in ["stats", "stats settings", " stats  reset x", "stats detail on"] {
            assert!(gathered(line.as_bytes()).is_some(), "{line}");
        }
        for line in [
            "stats sizes_enable",
            "stats sizes_disable",
            "stats cachedump 1 0",
            "stats detail dump",
            "stats detail",
            "stats x",
        ] {
            assert!(gathered(line.as_bytes()).is_none(), "{line}");
        }
    }
}
