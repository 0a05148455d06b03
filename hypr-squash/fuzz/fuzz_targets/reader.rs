//! A hostile image.
//!
//! `cargo +nightly fuzz run reader --features libfuzzer` in the folder of the crate.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hypr_squash_fuzz::reader(bytes));
