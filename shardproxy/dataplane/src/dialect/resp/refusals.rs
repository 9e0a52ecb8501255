//! Error replies that say: not executed, and it may be different in a moment. Knows nothing of connections.
//!
//! The first word tells for the engine's own commands. A script, a function or a module may say the same words after it has
//! changed data, so of those only what the engine itself says counts, in full: before it runs one, or in place of a write
//! within one. It refuses no write after the first that it let through, so then nothing was written either
//! (`scriptVerifyWriteCommandAllow` in the engines' script.c).

const WORDS: [&[u8]; 7] =
    [b"-READONLY", b"-LOADING", b"-MASTERDOWN", b"-NOREPLICAS", b"-MISCONF", b"-CLUSTERDOWN", b"-TRYAGAIN"];

/// What Redis 7 and Valkey say. An error raised within a script is followed by where: ` script: <sha>, on @user_script:1.`
const TEXTS: [&[u8]; 10] = [
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
];

/// Texts that end in what went wrong.
const OPEN_TEXTS: [&[u8]; 5] = [
    b"-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    b"-MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    b"-MISCONF Redis is configured to persist data to AOF, but it's currently unable to persist to disk.",
    b"-MISCONF Valkey is configured to persist data to AOF, but it's currently unable to persist to disk.",
    b"-MISCONF Errors writing to the AOF file: ",
];

/// Whether this error reply to a command, or to a program, says that nothing was executed.
pub fn is_refusal(reply: &[u8], is_program: bool) -> bool {
    WORDS.iter().any(|word| reply.starts_with(word)) && (!is_program || is_engines_own(reply))
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
            assert!(is_refusal(format!("{own}\r\n").as_bytes(), true), "{own}");
            assert!(is_refusal(format!("{own}\r\n").as_bytes(), false), "{own}");
        }
        for word in WORDS {
            let text = [word, b" of a script\r\n"].concat();
            assert!(is_refusal(&text, false) && !is_refusal(&text, true), "{}", String::from_utf8_lossy(&text));
            let text = [word, b" x script: 00, on @user_script:1.\r\n"].concat();
            assert!(!is_refusal(&text, true), "{}", String::from_utf8_lossy(&text));
        }
        assert!(!is_refusal(b"-READONLY You can't write against a read only replica. Or can you?\r\n", true));
        assert!(!is_refusal(b"-ERR no\r\n", false));
    }
}
