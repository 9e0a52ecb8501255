//! What a target's refusal of a RESTORE means, and what is to be done about it.

/// Of a key as much as an error names.
const SHOWN: usize = 100;

/// For texts: bytes that are no text are escaped, and a long key is cut.
pub fn shown(key: &[u8]) -> String {
    let cut = &key[..key.len().min(SHOWN)];
    let more = if key.len() > SHOWN { "..." } else { "" };
    format!("\"{}{more}\"", cut.escape_ascii())
}

/// `version` is that of the RDB the value is of, `kind` its type there.
pub fn told(target: &str, key: &[u8], version: u16, reply: &[u8]) -> String {
    let text = String::from_utf8_lossy(reply);
    let text = text.trim_start_matches('-').trim_end();
    let key = shown(key);
    let (code, _) = text.split_once(' ').unwrap_or((text, ""));
    match code {
        "BUSYKEY" => {
            format!("{target}: the key {key} is there already: restore into an empty cluster, or with --replace")
        }
        "OOM" => format!("{target} is full at the key {key}: raise its maxmemory, or restore into more shards"),
        "MOVED" | "ASK" | "CROSSSLOT" => {
            format!("{target} is in cluster mode and does not own the slot of the key {key}: {text}")
        }
        "NOPERM" | "NOAUTH" => format!("{target} does not let this user restore: {text}"),
        "READONLY" => format!("{target} is no primary any more: {text}"),
        _ if text.contains("DUMP payload version") => format!(
            "{target} cannot read values of RDB version {version}, as that of the key {key}: \
             its engine is older than the one that wrote them, or of another make"
        ),
        _ if text.contains("Bad data format") => {
            format!("{target} does not know the type of the key {key}, or its value is damaged: {text}")
        }
        _ => format!("{target} refuses the key {key}: {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_who_about_which_key_and_what_to_do() {
        for (reply, part) in [
            ("-BUSYKEY Target key name already exists.\r\n", "--replace"),
            ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", "maxmemory"),
            ("-MOVED 1 127.0.0.1:1\r\n", "cluster mode"),
            ("-ERR DUMP payload version or checksum are wrong\r\n", "RDB version 11"),
            ("-ERR Bad data format\r\n", "type"),
            ("-ERR else\r\n", "ERR else"),
        ] {
            let told = told("10.0.0.1:6379", b"a\nb", 11, reply.as_bytes());
            assert!(told.starts_with("10.0.0.1:6379") && told.contains("\"a\\nb\"") && told.contains(part), "{told}");
        }
        assert_eq!(shown(&[b'k'; 1000]).len(), SHOWN + 5);
    }
}
