//! Every text is answered, and one that parses is printed to a text that parses to the same.
//!
//! `cargo +nightly fuzz run dockerfile fuzz/corpus/dockerfile src/dockerfile/tests/seeds` in the folder of the crate.

#![no_main]

use hypr_build::dockerfile;
use libfuzzer_sys::fuzz_target;

#[path = "../../src/dockerfile/tests/harness.rs"]
mod harness;

fuzz_target!(|bytes: &[u8]| {
    harness::check(bytes);
});
