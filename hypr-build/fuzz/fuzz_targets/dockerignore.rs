//! Every `.dockerignore` is answered, and what is excluded takes everything below it along unless a pattern says
//! otherwise.
//!
//! `cargo +nightly fuzz run dockerignore` in the folder of the crate.

#![no_main]

use hypr_build::Ignore;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // The first line is a path, the rest the rules.
    let (path, rules) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &b""[..]),
    };
    let Ok(ignore) = Ignore::parse(rules) else { return };
    let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"." | b"..")).collect();
    let path = parts.join(&b'/');
    let excluded = ignore.excludes(&path);
    if excluded && !rules.contains(&b'!') {
        assert!(ignore.excludes(&[&path, &b"/below"[..]].concat()));
    }
});
