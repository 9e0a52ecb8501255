//! A header of the PROXY protocol is what it is whatever follows it, is no header before its last byte, and nothing panics.

#![no_main]

use libfuzzer_sys::fuzz_target;
use shardproxy_dataplane::dialect::proxy_protocol::{parse, MAX_HEADER};

fuzz_target!(|bytes: &[u8]| match parse(bytes) {
    Ok(None) => assert!(bytes.len() < MAX_HEADER),
    Ok(Some((source, length))) => {
        assert!(length > 0 && length <= bytes.len().min(MAX_HEADER));
        for end in 0..length {
            assert_eq!(parse(&bytes[..end]), Ok(None));
        }
        assert_eq!(parse(&bytes[..length]), Ok(Some((source, length))));
    }
    Err(error) => {
        let first = (0..=bytes.len()).find(|&end| parse(&bytes[..end]).is_err());
        let first = first.expect("it is wrong by now");
        assert!((first..=bytes.len()).all(|end| parse(&bytes[..end]).is_err()), "{error}");
    }
});
