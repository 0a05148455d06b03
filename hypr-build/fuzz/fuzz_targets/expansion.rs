//! Every word is answered within its bounds, and a word without anything to expand stays as it is.
//!
//! `cargo +nightly fuzz run expansion` in the folder of the crate.

#![no_main]

use hypr_build::dockerfile::{
    Escape,
    words::{self, MAX_EXPANSION},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    // The first line is the value of some variables, the rest the word.
    let (value, word) = text.split_once('\n').unwrap_or(("", text));
    let lookup = |name: &str| match name.chars().next() {
        Some('a'..='m') => Some(value),
        Some('n'..='t') => Some(""),
        _ => None,
    };
    for escape in [Escape::Backslash, Escape::Backtick] {
        if let Ok(found) = words::process_word(word, escape, &lookup) {
            assert!(found.text.len() <= MAX_EXPANSION + 4);
            assert!(found.undefined.is_subset(&found.unset) && found.unset.is_disjoint(&found.used));
            if !word.contains(['$', '\'', '"', escape.as_char()]) {
                assert_eq!(found.text, word);
            }
        }
        if let Ok(found) = words::process_words(word, escape, &lookup) {
            assert!(found.words.iter().all(|word| !word.is_empty()));
        }
    }
    let _ = words::process_text(word, &lookup);
});
