//! Every text is answered, and one that parses is printed to a text that parses to the same.
//!
//! `cargo +nightly fuzz run dockerfile` in the folder of the crate.

#![no_main]

use hypr_build::dockerfile::{self, Escape, words};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(errors) = dockerfile::parse_syntax_bytes(bytes) {
        assert!(!errors.render("Dockerfile").is_empty());
    }
    match dockerfile::parse_bytes(bytes) {
        Ok(tree) => {
            let printed = tree.to_string();
            assert_eq!(dockerfile::parse(&printed).as_ref().ok(), Some(&tree), "printed as {printed:?}");
        }
        Err(errors) => assert!(!errors.render("Dockerfile").is_empty()),
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let lookup = |name: &str| name.starts_with('a').then_some("b c");
        let _ = words::process_word(text, Escape::Backslash, &lookup);
        let _ = words::process_words(text, Escape::Backtick, &lookup);
        let _ = words::process_text(text, &lookup);
    }
});
