//! Error replies that say: not executed, and it may be different in a moment. Knows nothing of connections.
//!
//! The first word tells for the engine's own commands. A script, a function or a module may say the same words after it has
//! changed data, so of those only what the engine itself says counts, in full: before it runs one, or in place of a write
//! within one. It refuses no write after the first that it let through, so then nothing was written either
//! (`scriptVerifyWriteCommandAllow` in the engines' script.c).

/// What an error says of the node, that another primary or a little time may cure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// It is a replica.
    Demoted,
    /// It is not ready yet, as it will be.
    NotReady,
    /// Too few replicas are attached.
    Replicas,
    /// It cannot write to its disk.
    Disk,
}

const WORDS: [(&[u8], Refusal); 7] = [
    (b"-READONLY", Refusal::Demoted),
    (b"-MASTERDOWN", Refusal::Demoted),
    (b"-LOADING", Refusal::NotReady),
    (b"-CLUSTERDOWN", Refusal::NotReady),
    (b"-TRYAGAIN", Refusal::NotReady),
    (b"-NOREPLICAS", Refusal::Replicas),
    (b"-MISCONF", Refusal::Disk),
];

impl Refusal {
    /// What this error reply to a command, or to a program, says, if it says that nothing was executed.
    pub fn of(reply: &[u8], is_program: bool) -> Option<Self> {
        let &(_, refusal) = WORDS.iter().find(|(word, _)| reply.starts_with(word))?;
        (!is_program || is_engines_own(reply)).then_some(refusal)
    }
}

/// What Redis 7 and Valkey say. An error raised within a script is followed by where: ` script: <sha>, on @user_script:1.`
const TEXTS: [&[u8]; 11] = [
    b"-READONLY You can't write against a read only replica.",
    b"-READONLY Can not run script with write flag on readonly replica",
    b"-LOADING Redis is loading the dataset in memory",
    b"-LOADING Valkey is loading the dataset in memory",
    b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    b"-MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is not set on the script.",
    b"-NOREPLICAS Not enough good replicas to write.",
    b"-CLUSTERDOWN The cluster is down",
    b"-CLUSTERDOWN The cluster is down and only accepts read commands",
    b"-CLUSTERDOWN Hash slot not served",
    b"-TRYAGAIN Multiple keys request during rehashing of slot",
];

/// Texts that end in what went wrong.
const OPEN_TEXTS: [&[u8]; 5] = [
    b"-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    b"-MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    b"-MISCONF Redis is configured to persist data to AOF, but it's currently unable to persist to disk.",
    b"-MISCONF Valkey is configured to persist data to AOF, but it's currently unable to persist to disk.",
    b"-MISCONF Errors writing to the AOF file: ",
];

/// Whether an engine that says so refuses reads as well.
pub fn concerns_reads(reply: &[u8]) -> bool {
    matches!(Refusal::of(reply, false), Some(Refusal::NotReady)) || reply.starts_with(b"-MASTERDOWN")
}

fn is_engines_own(reply: &[u8]) -> bool {
    let is_place = |rest: &[u8]| rest.starts_with(b" script: ") && memchr::memmem::find(rest, b", on @user_").is_some();
    let is_text = |text: &&[u8]| reply.strip_prefix(*text).is_some_and(|rest| rest == b"\r\n" || is_place(rest));
    TEXTS.iter().any(is_text) || OPEN_TEXTS.iter().any(|text| reply.starts_with(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_refused_only_in_the_engines_own_words() {
        let place = "script: db8d8f6383e1a67ce23db65efd679a334c123806, on @user_script:1.";
        for own in [
            "-NOREPLICAS Not enough good replicas to write.".to_owned(),
            format!("-NOREPLICAS Not enough good replicas to write. {place}"),
            format!("-READONLY You can't write against a read only replica. {place}"),
            "-READONLY Can not run script with write flag on readonly replica".to_owned(),
            "-LOADING Redis is loading the dataset in memory".to_owned(),
            format!("-MISCONF Errors writing to the AOF file: No space left on device {place}"),
        ] {
            for is_program in [false, true] {
                assert!(Refusal::of(format!("{own}\r\n").as_bytes(), is_program).is_some(), "{own}");
            }
        }
        for (word, refusal) in WORDS {
            let text = [word, b" of a script\r\n"].concat();
            let found = [false, true].map(|is_program| Refusal::of(&text, is_program));
            assert_eq!(found, [Some(refusal), None], "{}", String::from_utf8_lossy(&text));
            let text = [word, b" x script: 00, on @user_script:1.\r\n"].concat();
            assert_eq!(Refusal::of(&text, true), None, "{}", String::from_utf8_lossy(&text));
        }
        let doubt = b"-READONLY You can't write against a read only replica. Or can you?\r\n";
        assert_eq!(Refusal::of(doubt, true), None);
        for own in [&b"-ERR no\r\n"[..], b"-BUSY x\r\n", b"-OOM x\r\n"] {
            assert_eq!(Refusal::of(own, false), None, "the client hears it at once");
        }
    }
}
